/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trap that needs no device: the first store to a clean local page, twin copy included. Against
 * the least that any such trap does: SIGSEGV, copy of 4 KiB, mprotect, on a region of its own made
 * the same way. Both take turns in one process, each with its own handler installed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coherence/tracker.h"
#include "emu/base/clock.h"
#include "emu/base/rng.h"

enum { PAGES = 2048, ROUNDS = 41, LEN = PAGES * FL_PAGE_BYTES };

static uint8_t *bare_mem, *bare_frames, *trk_mem;
static struct coh_tracker *trk;
static struct sigaction bare_action, trk_action;
static uint32_t order[PAGES];

static void bare_trap(int sig, siginfo_t *si, void *uc)
{
    (void)sig;
    (void)uc;
    size_t off = ((size_t)((uint8_t *)si->si_addr - bare_mem)) & ~(size_t)(FL_PAGE_BYTES - 1);
    if (off >= LEN)
        abort();
    memcpy(bare_frames + off, bare_mem + off, FL_PAGE_BYTES);
    mprotect(bare_mem + off, FL_PAGE_BYTES, PROT_READ | PROT_WRITE);
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint8_t *map_pages(int flags, int fd)
{
    void *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p == MAP_FAILED)
        die("mmap");
    memset(p, 1, LEN);
    return p;
}

static void set_up(void)
{
    struct fl_errmsg err;
    struct coh_cfg cfg = {
        .threads_max = 1, .cached_pages_max = PAGES, .access_deadline_ns = FL_NS_PER_S};
    struct coh_region_cfg rc = {.len_bytes = LEN};
    uint32_t ticket;
    void *base;
    if (coh_mprotect_new(&cfg, &trk, &err) != FL_OK ||
        trk->ops->region_add(trk, &rc, &base, &err) != FL_OK ||
        coh_thread_enter(trk, &ticket, &err) != FL_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    trk_mem = base;
    trk->ops->armed(trk, true); /* as under a periodic write-back */
    sigaction(SIGSEGV, NULL, &trk_action);
    int fd = memfd_create("bare", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, LEN) != 0)
        die("memfd");
    bare_mem = map_pages(MAP_SHARED | MAP_NORESERVE, fd);
    bare_frames = map_pages(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    bare_action.sa_sigaction = bare_trap;
    bare_action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (uint32_t i = 0; i < PAGES; i++)
        order[i] = i;
}

static void shuffle(struct fl_rng *rng)
{
    for (uint32_t i = PAGES - 1; i > 0; i--) {
        uint32_t j = (uint32_t)fl_rng_below(rng, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static double store_all_ns(volatile uint8_t *mem, const struct sigaction *handler)
{
    sigaction(SIGSEGV, handler, NULL);
    uint64_t start = fl_clock_ns();
    for (uint32_t i = 0; i < PAGES; i++)
        mem[(size_t)order[i] * FL_PAGE_BYTES] = (uint8_t)i;
    return (double)(fl_clock_ns() - start) / PAGES;
}

static double bare_round(void)
{
    mprotect(bare_mem, LEN, PROT_READ);
    return store_all_ns(bare_mem, &bare_action);
}

static double trk_round(void)
{
    static uint8_t snap[FL_PAGE_BYTES];
    struct coh_note n;
    trk->ops->gate(trk, 0, 0, PAGES, FL_PROT_READ);
    while (trk->ops->next(trk, &n))
        ;
    for (uint32_t p = 0; p < PAGES; p++)
        trk->ops->snap(trk, 0, p, snap);
    double ns = store_all_ns(trk_mem, &trk_action);
    return ns;
}

static int by_value(const void *x, const void *y)
{
    double p = *(const double *)x, q = *(const double *)y;
    return (p > q) - (p < q);
}

static void compare(const char *id, struct fl_rng *rng)
{
    static double value[ROUNDS], base[ROUNDS], ratio[ROUNDS];
    bare_round(); /* warm */
    trk_round();
    for (int i = 0; i < ROUNDS; i++) {
        if (rng)
            shuffle(rng);
        if (i % 2)
            base[i] = bare_round();
        value[i] = trk_round();
        if (i % 2 == 0)
            base[i] = bare_round();
        ratio[i] = value[i] / base[i];
    }
    qsort(value, ROUNDS, sizeof *value, by_value);
    qsort(base, ROUNDS, sizeof *base, by_value);
    qsort(ratio, ROUNDS, sizeof *ratio, by_value);
    double r = ratio[ROUNDS / 2];
    printf("{\"id\":\"%s\",\"value\":%.0f,\"unit\":\"ns\",\"baseline\":%.0f,\"ratio\":%.3f,"
           "\"target\":1.25,\"holds\":%s,\"n\":%d}\n",
           id, value[ROUNDS / 2], base[ROUNDS / 2], r, r <= 1.25 ? "true" : "false",
           ROUNDS * PAGES);
}

int main(void)
{
    struct fl_rng rng;
    struct coh_stats st;
    fl_rng_init(&rng, 1, 0, FL_RNG_WORK, 0);
    set_up();
    compare("trap-local-sequential", NULL);
    compare("trap-local-random", &rng);
    trk->ops->stats(trk, &st);
    if (st.local_dirty != st.traps || st.misses) {
        fprintf(stderr, "some traps went to the device\n");
        return 1;
    }
    coh_thread_leave(trk);
    trk->ops->free(&trk);
    return 0;
}
