/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page miss over tcp: first load of an absent page through tracker, node and port, memory node in
 * a process of its own. Against a raw probe that makes the same hops and nothing else: SIGSEGV,
 * hand-over to a second thread (eventfd, or a flag when spinning), 4 KiB fi_read into the page,
 * mprotect, hand-back (futex, or the flag). And against the sum of a bare trap and a raw fi_read.
 *
 * All four take turns in one process, round by round, each on pages it has never touched. Spinning
 * keeps two processors busy here while the serving process sleeps; with fewer than three processors
 * somebody always waits for one, and the rows say so.
 */
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coherence/arch.h"
#include "coherence/mprotect_int.h"
#include "emu/base/clock.h"
#include "tests/bench/fig.h"
#include "tests/bench/live.h"
#include "tests/bench/rawfi.h"

enum { ROUNDS = 61, PER_ROUND = 32, WARM = 64, PAGES = WARM + ROUNDS * PER_ROUND };
#define LEN ((size_t)PAGES * FL_PAGE_BYTES)

static const char scenario[] =
    "title \"miss\"\n"
    "heartbeat \"60s\"\nheartbeat_miss \"600s\"\n"
    "node \"c0\" { role = \"compute\", device_memory = \"16M\" }\n"
    "node \"m0\" { role = \"memory\", memory = \"16M\" }\n"
    "region \"heap\" { on = \"c0\", size = \"16M\", backed_by = { \"m0\" }, sample = \"never\" }\n"
    "workload \"w\" { region = \"heap\", kind = \"random\" }\n"
    "check { \"W1\" }\n";

/* --- the raw probe --------------------------------------------------------------------------- */

enum word { IDLE, MISS, READS, QUIT, ANSWERED };

static struct {
    struct raw raw;
    uint8_t *app;
    int wake_fd;
    bool spin;
    atomic_bool active; /* the thread may spin */
    _Atomic uint32_t word;
    size_t off; /* of the page that is missing */
    double read_ns[PER_ROUND];
    pthread_t thread;
} probe;

static uint8_t *bare_app;

static void wake(void)
{
    uint64_t one = 1;
    if (write(probe.wake_fd, &one, sizeof(one)) < 0)
        abort();
}

/** Asks the second thread and waits for its answer. Async-signal-safe. */
static void ask_probe(enum word what)
{
    atomic_store(&probe.word, what);
    if (!probe.spin || !atomic_load(&probe.active))
        wake();
    while (atomic_load_explicit(&probe.word, memory_order_acquire) != ANSWERED) {
        if (probe.spin)
            coh_arch_relax();
        else
            syscall(SYS_futex, &probe.word, FUTEX_WAIT_PRIVATE, what, NULL, NULL, 0);
    }
    atomic_store(&probe.word, IDLE);
}

static void on_probe_trap(int sig, siginfo_t *si, void *uc)
{
    size_t off = (size_t)((uint8_t *)si->si_addr - probe.app);
    (void)sig;
    (void)uc;
    if (off >= LEN)
        abort();
    probe.off = off & ~(size_t)(FL_PAGE_BYTES - 1);
    ask_probe(MISS);
}

static void on_bare_trap(int sig, siginfo_t *si, void *uc)
{
    size_t off = (size_t)((uint8_t *)si->si_addr - bare_app) & ~(size_t)(FL_PAGE_BYTES - 1);
    (void)sig;
    (void)uc;
    if (off >= LEN)
        abort();
    mprotect(bare_app + off, FL_PAGE_BYTES, PROT_READ);
}

static void read_page(size_t off)
{
    raw_post(&probe.raw, false, off, FL_PAGE_BYTES);
    while (raw_reap(&probe.raw) == 0)
        raw_sleep(&probe.raw, -1);
}

static void serve_reads(void)
{
    for (int i = 0; i < PER_ROUND; i++) {
        uint64_t start = fl_clock_ns();
        read_page(0);
        probe.read_ns[i] = (double)(fl_clock_ns() - start);
    }
}

static uint32_t next_ask(void)
{
    uint64_t times;
    uint32_t w;
    while ((w = atomic_load_explicit(&probe.word, memory_order_acquire)) == IDLE || w == ANSWERED) {
        if (probe.spin && atomic_load(&probe.active)) {
            coh_arch_relax();
            continue;
        }
        struct pollfd p = {.fd = probe.wake_fd, .events = POLLIN};
        if (probe.spin)
            (void)poll(&p, 1, 10000);
        else
            raw_sleep(&probe.raw, probe.wake_fd);
        if (read(probe.wake_fd, &times, sizeof(times)) < 0)
            (void)raw_reap(&probe.raw);
    }
    return w;
}

static void *probe_main(void *arg)
{
    (void)arg;
    for (;;) {
        uint32_t w = next_ask();
        if (w == QUIT)
            return NULL;
        if (w == MISS) {
            read_page(probe.off);
            mprotect(probe.app + probe.off, FL_PAGE_BYTES, PROT_READ);
        } else {
            serve_reads();
        }
        atomic_store(&probe.word, ANSWERED);
        if (!probe.spin)
            syscall(SYS_futex, &probe.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void probe_activate(bool on)
{
    atomic_store(&probe.active, on);
    if (on && probe.spin)
        wake();
}

/* --- set-up ---------------------------------------------------------------------------------- */

static void *map(int fd, int prot)
{
    void *p = mmap(NULL, LEN, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        raw_die("mmap", -1);
    return p;
}

/** Memory with a closed view, as the tracker makes it. */
static uint8_t *closed_view(uint8_t **ret_alias)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)LEN) != 0)
        raw_die("memfd", fd);
    *ret_alias = map(fd, PROT_READ | PROT_WRITE);
    uint8_t *app = map(fd, PROT_NONE);
    close(fd);
    return app;
}

static void probe_start(const uint8_t *addr, bool spin)
{
    uint8_t *alias;
    memset(&probe, 0, sizeof(probe));
    probe.spin = spin;
    probe.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    probe.app = closed_view(&alias);
    raw_connect(&probe.raw, addr, alias, LEN, spin);
    if (pthread_create(&probe.thread, NULL, probe_main, NULL))
        raw_die("thread", -1);
    bare_app = closed_view(&alias);
    memset(alias, 1, LEN); /* no memory is to be found for these pages, only opened */
}

static void probe_end(void)
{
    atomic_store(&probe.word, QUIT);
    wake();
    pthread_join(probe.thread, NULL);
}

/* --- figures ----------------------------------------------------------------------------------- */

struct side {
    const volatile uint8_t *mem;
    struct sigaction handler;
    uint32_t next; /* page never touched */
};

/** Median time of the first load of @n more pages. */
static double touch_ns(struct side *s, int n)
{
    double ns[WARM];
    sigaction(SIGSEGV, &s->handler, NULL);
    for (int i = 0; i < n; i++) {
        uint64_t start = fl_clock_ns();
        (void)s->mem[(size_t)s->next++ * FL_PAGE_BYTES];
        ns[i] = (double)(fl_clock_ns() - start);
    }
    return fig_median(ns, n);
}

struct round {
    double miss, probe, bare, read;
};

static void round_real(struct live *l, struct side *s, struct round *r, int n)
{
    if (probe.spin)
        live_resume(l);
    r->miss = touch_ns(s, n);
    if (probe.spin)
        live_pause(l);
}

static void round_raw(struct side *p, struct side *b, struct round *r, int n)
{
    probe_activate(true);
    r->probe = touch_ns(p, n);
    ask_probe(READS);
    r->read = fig_median(probe.read_ns, PER_ROUND);
    probe_activate(false);
    r->bare = touch_ns(b, n);
}

static void report(const char *mode, const double *miss, const double *by_probe,
                   const double *by_sum, const double *base, const double *sum)
{
    char id[2][64];
    const char *why = NULL;
    if (probe.spin && mp_processors() < 3)
        why = "needs 3 processors: two threads spin, one process serves";
    snprintf(id[0], sizeof(id[0]), "miss-%s-probe", mode);
    snprintf(id[1], sizeof(id[1]), "miss-%s-trap-plus-read", mode);
    struct fig f = {.unit = "us", .value = *miss / 1e3, .why = why, .n = ROUNDS * PER_ROUND};
    f.id = id[0];
    f.baseline = *base / 1e3;
    f.ratio = *by_probe;
    f.target = 1.2;
    fig_print(&f);
    f.id = id[1];
    f.baseline = *sum / 1e3;
    f.ratio = *by_sum;
    f.target = 1.6;
    fig_print(&f);
}

static void measure(struct live *l, struct side *s, const char *mode)
{
    static double miss[ROUNDS], base[ROUNDS], sum[ROUNDS], by_probe[ROUNDS], by_sum[ROUNDS];
    struct round r;
    for (int i = -1; i < ROUNDS; i++) {
        int n = i < 0 ? WARM : PER_ROUND;
        if (i % 2)
            round_real(l, &s[0], &r, n);
        round_raw(&s[1], &s[2], &r, n);
        if (i % 2 == 0)
            round_real(l, &s[0], &r, n);
        if (i < 0)
            continue;
        miss[i] = r.miss;
        base[i] = r.probe;
        sum[i] = r.bare + r.read;
        by_probe[i] = r.miss / r.probe;
        by_sum[i] = r.miss / sum[i];
    }
    double m[5] = {fig_median(miss, ROUNDS), fig_median(by_probe, ROUNDS),
                   fig_median(by_sum, ROUNDS), fig_median(base, ROUNDS), fig_median(sum, ROUNDS)};
    report(mode, &m[0], &m[1], &m[2], &m[3], &m[4]);
}

static void run_mode(const char *mode, int wait)
{
    uint8_t addr[RAW_ADDR_BYTES];
    struct side s[3] = {{0}};
    bool spin = wait == COH_WAIT_SPIN;
    pid_t server = raw_server_start(addr, LEN, false);
    struct live *l = live_new(scenario, wait);
    s[0].mem = live_open(l, 0);
    sigaction(SIGSEGV, NULL, &s[0].handler);
    probe_start(addr, spin);
    s[1].mem = probe.app;
    s[1].handler.sa_sigaction = on_probe_trap;
    s[2].mem = bare_app;
    s[2].handler.sa_sigaction = on_bare_trap;
    s[1].handler.sa_flags = s[2].handler.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (spin)
        live_pause(l);
    measure(l, s, mode);
    if (spin)
        live_resume(l);
    probe_end();
    sigaction(SIGSEGV, &s[0].handler, NULL);
    live_close(l, 0);
    if (live_metric(l, "misses") != PAGES) {
        fprintf(stderr, "not every first load was a miss\n");
        exit(1);
    }
    live_free(l);
    raw_server_end(server);
}

int main(int argc, char **argv)
{
    int child = raw_server_main(argc, argv);
    if (child < 0)
        child = live_memory_main(argc, argv);
    if (child >= 0)
        return child;
    run_mode("block", COH_WAIT_BLOCK);
    run_mode("spin", COH_WAIT_SPIN);
    return 0;
}
