/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No lost write: threads store without a pause while a device cleans the same pages without a
 * pause. After each round the pool, the live memory and what the threads know they stored are the
 * same. Rounds, because a lost store shows only until the word is stored again.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu/base/rng.h"
#include "tests/support/toydev.h"

enum {
    THREADS = 3,
    PAGES = 48,
    ROUNDS = 40,
    STORES = 100000, /* a thread and round; 12 million in all */
    STORES_EVICTING = 25000,
    CLEANS = 60,   /* and on until the device has cleaned so many pages under them */
    PATIENCE = 50, /* times as many stores at most */
    PAGE_WORDS = FL_PAGE_BYTES / 8,
    WORDS = PAGES * PAGE_WORDS,
};

struct hammer {
    struct toydev *dev;
    uint32_t id;
    uint64_t *expect; /* shared; each word has one owner */
    uint64_t per_round, stores;
    pthread_barrier_t *round; /* before the stores, after them, after the compare */
};

/* Bursts at one page, then on to another: pages are dirty, being cleaned and clean again in turn. */
static void store_round(struct hammer *h, struct fl_rng *rng, uint64_t cleans)
{
    volatile uint64_t *mem = (volatile uint64_t *)(void *)h->dev->base;
    uint64_t page = 0;
    for (uint64_t i = 1; i <= h->per_round ||
                         (atomic_load(&h->dev->cleans) < cleans && i <= PATIENCE * h->per_round);
         i++) {
        uint64_t r = fl_rng_next(rng);
        if ((r & 63) == 0)
            page = (r >> 8) % PAGES;
        if ((i & 0xfff) == 0)
            sched_yield(); /* the device gets its share on a machine with few processors */
        /* Words of one line belong to different threads in turn. */
        uint64_t word = page * PAGE_WORDS + (r >> 20) % (PAGE_WORDS / THREADS) * THREADS + h->id;
        uint64_t value = ++h->stores << 8 | h->id;
        h->expect[word] = value;
        mem[word] = value;
    }
}

static void *hammer_thread(void *arg)
{
    struct hammer *h = arg;
    uint32_t ticket;
    struct fl_rng rng;
    fl_rng_init(&rng, 20, h->id, FL_RNG_WORK, 0);
    if (coh_thread_enter(h->dev->trk, &ticket, NULL) != FL_OK)
        abort();
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t cleans = atomic_load(&h->dev->cleans) + CLEANS;
        pthread_barrier_wait(h->round);
        store_round(h, &rng, cleans);
        pthread_barrier_wait(h->round);
        pthread_barrier_wait(h->round);
    }
    coh_thread_leave(h->dev->trk);
    return NULL;
}

static void report(struct toydev *dev, const struct hammer *h)
{
    struct coh_stats st;
    uint64_t stores = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        stores += h[i].stores;
    dev->trk->ops->stats(dev->trk, &st);
    print_message("stores %llu traps %llu opened %llu misses %llu cleans %llu lines %llu busy %llu "
                  "evictions %llu\n",
                  (unsigned long long)stores, (unsigned long long)st.traps,
                  (unsigned long long)st.local_dirty, (unsigned long long)st.misses,
                  (unsigned long long)dev->cleans, (unsigned long long)dev->lines,
                  (unsigned long long)dev->gates_busy, (unsigned long long)dev->evictions);
    assert_true(stores >= h->per_round * THREADS * ROUNDS);
    assert_true(st.local_dirty > ROUNDS);
}

static void run_hammer(uint32_t capacity_pages, uint64_t per_round)
{
    struct toydev dev;
    toydev_start(&dev, &(struct toydev_cfg){.threads_max = THREADS,
                                            .capacity_pages = capacity_pages,
                                            .len_bytes = (uint64_t)PAGES * FL_PAGE_BYTES,
                                            .clean = true});
    uint64_t *expect = calloc(WORDS, sizeof *expect);
    struct hammer h[THREADS];
    pthread_t th[THREADS];
    pthread_barrier_t round;
    pthread_barrier_init(&round, NULL, THREADS + 1);
    for (uint32_t i = 0; i < THREADS; i++) {
        h[i] = (struct hammer){
            .dev = &dev, .id = i, .expect = expect, .per_round = per_round, .round = &round};
        assert_int_equal(pthread_create(&th[i], NULL, hammer_thread, &h[i]), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&round);
        pthread_barrier_wait(&round);
        toydev_flush(&dev);
        assert_memory_equal(dev.remote, expect, (size_t)WORDS * 8);
        pthread_barrier_wait(&round);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    toydev_stop(&dev);
    report(&dev, h);
    for (uint32_t p = 0; p < PAGES; p++)
        if (dev.state[p])
            assert_memory_equal(dev.trk->ops->live(dev.trk, 0, p), expect + (size_t)p * PAGE_WORDS,
                                FL_PAGE_BYTES);
    toydev_free(&dev);
    pthread_barrier_destroy(&round);
    free(expect);
}

static void hammer_all_cached(void **state)
{
    (void)state;
    run_hammer(PAGES, STORES);
}

/* Less device memory than pages: pages also leave and come back under the stores. */
static void hammer_with_evictions(void **state)
{
    (void)state;
    run_hammer(PAGES - 8, STORES_EVICTING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hammer_all_cached),
        cmocka_unit_test(hammer_with_evictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
