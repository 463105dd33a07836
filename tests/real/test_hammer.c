/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No lost write: threads store without a pause while a device cleans the same pages without a
 * pause. At the end the pool, the live memory and what the threads know they stored are the same.
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
    STORES = 4000000, /* a thread; 12 million in all */
    CLEANS = 3000,    /* and on until the device has cleaned so many pages under them */
    WORDS = PAGES * FL_PAGE_BYTES / 8,
    PAGE_WORDS = FL_PAGE_BYTES / 8,
};

struct hammer {
    struct toydev *dev;
    uint32_t id;
    uint64_t *expect; /* shared; each word has one owner */
    uint64_t stores;
};

/* Bursts at one page, then on to another: pages are dirty, being cleaned and clean again in turn. */
static void *hammer_thread(void *arg)
{
    struct hammer *h = arg;
    uint32_t ticket;
    struct fl_errmsg err;
    struct fl_rng rng;
    fl_rng_init(&rng, 20, h->id, FL_RNG_WORK, 0);
    if (coh_thread_enter(h->dev->trk, &ticket, &err) != FL_OK)
        abort();
    volatile uint64_t *mem = (volatile uint64_t *)h->dev->base;
    uint64_t page = 0;
    for (uint64_t i = 1; i <= STORES || atomic_load(&h->dev->cleans) < CLEANS; i++) {
        uint64_t r = fl_rng_next(&rng);
        if ((r & 63) == 0)
            page = (r >> 8) % PAGES;
        if ((i & 0xfff) == 0)
            sched_yield(); /* the device gets its share on a machine with few processors */
        /* Words of one line belong to different threads in turn. */
        uint64_t word = page * PAGE_WORDS + (r >> 20) % (PAGE_WORDS / THREADS) * THREADS + h->id;
        uint64_t value = i << 8 | h->id;
        h->expect[word] = value;
        mem[word] = value;
        h->stores++;
    }
    coh_thread_leave(h->dev->trk);
    return NULL;
}

static void run_hammer(uint32_t capacity_pages)
{
    struct toydev dev;
    toydev_start(&dev, &(struct toydev_cfg){.threads_max = THREADS,
                                            .capacity_pages = capacity_pages,
                                            .len_bytes = (uint64_t)PAGES * FL_PAGE_BYTES,
                                            .clean = true});
    uint64_t *expect = calloc(WORDS, sizeof *expect);
    struct hammer h[THREADS];
    pthread_t th[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        h[i] = (struct hammer){.dev = &dev, .id = i, .expect = expect};
        assert_int_equal(pthread_create(&th[i], NULL, hammer_thread, &h[i]), 0);
    }
    uint64_t stores = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(th[i], NULL);
        stores += h[i].stores;
    }
    toydev_flush(&dev);
    toydev_stop(&dev);
    struct coh_stats st;
    dev.trk->ops->stats(dev.trk, &st);
    print_message("stores %llu traps %llu opened %llu misses %llu cleans %llu lines %llu busy %llu "
                  "evictions %llu\n",
                  (unsigned long long)stores, (unsigned long long)st.traps,
                  (unsigned long long)st.local_dirty, (unsigned long long)st.misses,
                  (unsigned long long)dev.cleans, (unsigned long long)dev.lines,
                  (unsigned long long)dev.gates_busy, (unsigned long long)dev.evictions);
    assert_true(stores >= 10000000);
    assert_true(st.local_dirty > 100);
    assert_memory_equal(dev.remote, expect, (size_t)WORDS * 8);
    for (uint32_t p = 0; p < PAGES; p++)
        if (dev.state[p])
            assert_memory_equal(dev.trk->ops->live(dev.trk, 0, p),
                                expect + (size_t)p * FL_PAGE_BYTES / 8, FL_PAGE_BYTES);
    toydev_free(&dev);
    free(expect);
}

static void hammer_all_cached(void **state)
{
    (void)state;
    run_hammer(PAGES);
}

/* Less device memory than pages: pages also leave and come back under the stores. */
static void hammer_with_evictions(void **state)
{
    (void)state;
    run_hammer(PAGES - 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hammer_with_evictions),
        cmocka_unit_test(hammer_all_cached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
