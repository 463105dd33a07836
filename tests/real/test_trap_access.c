/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on a region that a device serves: kinds of access, threads, sizes, limits. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "coherence/mprotect_int.h"
#include "emu/base/rng.h"
#include "tests/support/toydev.h"

static void enter(struct toydev *d)
{
    uint32_t ticket;
    assert_int_equal(coh_thread_enter(d->trk, &ticket, NULL), FL_OK);
}

static void leave(struct toydev *d)
{
    coh_thread_leave(d->trk);
}

/* Ends the device and compares the pool with what the program knows. */
static void check_pool(struct toydev *d, const void *expect, size_t len_bytes)
{
    toydev_flush(d);
    toydev_stop(d);
    assert_memory_equal(d->remote, expect, len_bytes);
}

/* --- kinds of access ------------------------------------------------------------------------- */

enum { SMALL_PAGES = 24 };

/* A word at any address: one instruction, two pages. */
struct __attribute__((packed)) crooked {
    uint64_t v;
};

/* The smallest device memory there is: an access that crosses pages needs several at once. */
static void minimum_of_resident_pages(void **state)
{
    (void)state;
    enum { LEN = SMALL_PAGES * FL_PAGE_BYTES };
    static uint8_t shadow[LEN];
    struct toydev d;
    struct fl_rng rng;
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 1, .capacity_pages = 4, .len_bytes = LEN, .poll = true});
    enter(&d);
    fl_rng_init(&rng, 3, 0, FL_RNG_WORK, 0);
    memset(shadow, 0, LEN);
    for (int i = 0; i < 1500; i++) {
        size_t len = 1 + fl_rng_below(&rng, 9000), from = fl_rng_below(&rng, LEN - len),
               to = fl_rng_below(&rng, LEN - len);
        memmove(shadow + to, shadow + from, len);
        memmove(d.base + to, d.base + from, len);
        size_t w = fl_rng_below(&rng, SMALL_PAGES - 1) * FL_PAGE_BYTES + FL_PAGE_BYTES - 3;
        uint64_t v = fl_rng_next(&rng); /* one store across two pages */
        memcpy(shadow + w, &v, sizeof v);
        ((volatile struct crooked *)(d.base + w))->v = v;
    }
    assert_memory_equal(d.base, shadow, LEN);
    leave(&d);
    check_pool(&d, shadow, LEN);
    assert_true(d.evictions > 1000);
    struct coh_stats st;
    d.trk->ops->stats(d.trk, &st);
    assert_true(st.resident_pages_max <= 4);
    toydev_free(&d);
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static void wide_store(uint8_t *p, uint8_t v)
{
    _mm256_storeu_si256((void *)p, _mm256_set1_epi8((char)v));
}
enum { WIDE = 32 };

static bool has_wide(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}
#else
enum { WIDE = 16 };

static void wide_store(uint8_t *p, uint8_t v)
{
    memset(p, v, WIDE);
}

static bool has_wide(void)
{
    return true;
}
#endif

static void vector_stores_and_string_operations(void **state)
{
    (void)state;
    enum { LEN = SMALL_PAGES * FL_PAGE_BYTES };
    static uint8_t shadow[LEN];
    struct toydev d;
    struct fl_rng rng;
    bool wide = has_wide(); /* else plain stores of the same bytes */
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 1, .capacity_pages = 16, .len_bytes = LEN, .clean = true});
    enter(&d);
    fl_rng_init(&rng, 4, 0, FL_RNG_WORK, 0);
    memset(shadow, 0, LEN);
    for (int i = 0; i < 5000; i++) {
        uint8_t v = (uint8_t)fl_rng_next(&rng);
        size_t at = fl_rng_below(&rng, LEN - 600);
        if (i % 3 == 0)
            at = (at | (FL_PAGE_BYTES - 1)) + 1 - fl_rng_below(&rng, WIDE); /* across a border */
        if (at > LEN - 600)
            continue;
        if (i % 2) {
            if (wide)
                wide_store(d.base + at, v);
            else
                memset(d.base + at, v, WIDE);
            memset(shadow + at, v, WIDE);
        } else {
            memset(d.base + at, v, 300);
            memset(shadow + at, v, 300);
        }
    }
    assert_memory_equal(d.base, shadow, LEN);
    leave(&d);
    check_pool(&d, shadow, LEN);
    toydev_free(&d);
}

/* A kernel that meets a closed page says so; it never traps, and nothing is half done in secret. */
static void system_calls_get_efault(void **state)
{
    (void)state;
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 1, .capacity_pages = 4, .len_bytes = 8 * FL_PAGE_BYTES});
    enter(&d);
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, d.base, 100), -1);
    assert_int_equal(errno, EFAULT);
    *(volatile uint8_t *)d.base = 1; /* open for stores now */
    assert_int_equal(read(fd, d.base, 100), 100);
    close(fd);
    leave(&d);
    toydev_stop(&d);
    toydev_free(&d);
}

/* --- threads --------------------------------------------------------------------------------- */

enum { ADDERS = 3, ADDS = 200000, CLEANS = 100, COUNTERS = 64 };

struct adder {
    struct toydev *d;
    uint32_t id;
    bool enters;
    uint64_t added;
};

/* All threads add to the same counters, eight in each of eight pages, while these are cleaned. */
static void *add(void *arg)
{
    struct adder *a = arg;
    uint32_t ticket;
    if (a->enters && coh_thread_enter(a->d->trk, &ticket, NULL) != FL_OK)
        abort();
    for (uint32_t i = 0; i < ADDS || atomic_load(&a->d->cleans) < CLEANS; i++) {
        uint32_t c = (i * 7 + a->id * 13) % COUNTERS;
        _Atomic uint64_t *p = (_Atomic uint64_t *)(void *)(a->d->base + c * 512);
        atomic_fetch_add(p, 1);
        a->added++;
    }
    if (a->enters)
        coh_thread_leave(a->d->trk);
    return NULL;
}

static void run_adders(bool enters, int spin)
{
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){.threads_max = ADDERS,
                                          .capacity_pages = 6 * ADDERS,
                                          .len_bytes = COUNTERS * 512,
                                          .clean = true,
                                          .spin = spin});
    struct adder a[ADDERS];
    pthread_t th[ADDERS];
    for (uint32_t i = 0; i < ADDERS; i++) {
        a[i] = (struct adder){.d = &d, .id = i, .enters = enters};
        assert_int_equal(pthread_create(&th[i], NULL, add, &a[i]), 0);
    }
    uint64_t added = 0;
    for (uint32_t i = 0; i < ADDERS; i++) {
        pthread_join(th[i], NULL);
        added += a[i].added;
    }
    toydev_flush(&d);
    toydev_stop(&d);
    uint64_t sum = 0;
    for (uint32_t c = 0; c < COUNTERS; c++) {
        uint64_t v;
        memcpy(&v, d.remote + (size_t)c * 512, sizeof v);
        sum += v;
    }
    assert_int_equal(sum, added);
    toydev_free(&d);
}

static void atomics_of_several_threads_add_up(void **state)
{
    (void)state;
    run_adders(true, COH_WAIT_ADAPTIVE);
}

static void threads_that_never_entered_work_too(void **state)
{
    (void)state;
    run_adders(false, COH_WAIT_BLOCK);
}

static void spinning_threads_work_too(void **state)
{
    (void)state;
    run_adders(true, COH_WAIT_SPIN);
}

static void *touch(void *arg)
{
    struct toydev *d = arg;
    *(volatile uint8_t *)d->base = 5;
    return NULL;
}

/* A record whose thread is gone without leaving serves the next one. */
static void records_of_dead_threads_are_reused(void **state)
{
    (void)state;
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 2, .capacity_pages = 8, .len_bytes = 8 * FL_PAGE_BYTES});
    for (int i = 0; i < 10; i++) {
        pthread_t th;
        assert_int_equal(pthread_create(&th, NULL, touch, &d), 0);
        pthread_join(th, NULL);
        toydev_flush(&d); /* shut for stores, so that the next thread traps */
    }
    toydev_stop(&d);
    struct coh_stats st;
    d.trk->ops->stats(d.trk, &st);
    assert_int_equal(st.traps, 10);
    toydev_free(&d);
}

static void more_threads_than_records_are_refused(void **state)
{
    (void)state;
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 1, .capacity_pages = 8, .len_bytes = 8 * FL_PAGE_BYTES});
    struct mp_tracker *t = (struct mp_tracker *)d.trk;
    atomic_store(&t->threads[0].taken, 1); /* another thread, alive: the main thread's id */
    atomic_store(&t->threads[0].tid, getpid());
    uint32_t ticket;
    struct fl_errmsg err;
    assert_int_equal(coh_thread_enter(d.trk, &ticket, &err), FL_ENOSPC);
    assert_non_null(strstr(err.text, "raise the node's threads"));
    coh_thread_leave(d.trk); /* never entered: nothing happens */
    toydev_stop(&d);
    toydev_free(&d);
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void region_of_eight_gib(void **state)
{
    (void)state;
    const uint64_t len = UINT64_C(8) << 30;
    struct toydev d;
    struct fl_rng rng;
    toydev_start(&d, &(struct toydev_cfg){
                         .threads_max = 1, .capacity_pages = 512, .len_bytes = len, .poll = true});
    enter(&d);
    fl_rng_init(&rng, 8, 0, FL_RNG_WORK, 0);
    enum { SPOTS = 3000 };
    static uint64_t where[SPOTS];
    for (int i = 0; i < SPOTS; i++) {
        where[i] = fl_rng_below(&rng, len / 8) * 8;
        *(volatile uint64_t *)(d.base + where[i]) = where[i] + 1; // NOLINT
    }
    *(volatile uint64_t *)(d.base + len - 8) = 1; // NOLINT
    for (int i = 0; i < SPOTS; i++)
        assert_int_equal(*(volatile uint64_t *)(d.base + where[i]), where[i] + 1); // NOLINT
    leave(&d);
    toydev_flush(&d);
    toydev_stop(&d);
    for (int i = 0; i < SPOTS; i++)
        assert_memory_equal(d.remote + where[i], &(uint64_t){where[i] + 1}, 8);
    assert_true(d.evictions > 1000);
    toydev_free(&d);
}

/* Every second page: each open page is a mapping of its own, and there are more of them than may
 * be. Device memory alone would hold them all. (The kernel's own limit: test_trap_limit.c.) */
static void alternate(int64_t map_limit, uint32_t touched, bool store)
{
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){.threads_max = 1,
                                          .capacity_pages = touched + 8,
                                          .len_bytes = (uint64_t)touched * 2 * FL_PAGE_BYTES,
                                          .poll = true,
                                          .map_limit = map_limit});
    enter(&d);
    volatile uint8_t *base = d.base;
    for (uint32_t i = 0; i < touched; i++) {
        volatile uint32_t *p = (volatile uint32_t *)(base + (size_t)i * 2 * FL_PAGE_BYTES);
        if (store)
            *p = i + 1;
        else
            assert_int_equal(*p, 0);
    }
    leave(&d);
    toydev_flush(&d);
    toydev_stop(&d);
    for (uint32_t i = 0; store && i < touched; i++) {
        uint32_t v;
        memcpy(&v, d.remote + (size_t)i * 2 * FL_PAGE_BYTES, sizeof v);
        assert_int_equal(v, i + 1);
    }
    struct coh_stats st;
    d.trk->ops->stats(d.trk, &st);
    struct mp_tracker *t = (struct mp_tracker *)d.trk;
    if (2 * (int64_t)touched > t->maps.limit) {
        assert_true(st.map_refusals > 0);
        assert_true(d.evictions > 0);
    }
    assert_true((int64_t)st.mappings < t->maps.limit);
    toydev_free(&d);
}

static void alternating_pages_at_a_low_limit(void **state)
{
    (void)state;
    alternate(3000, 4000, false);
    alternate(3000, 4000, true);
}

/* All pages are readable, one mapping; then a store to every second one. The stores are refused in
 * the thread, sent to the device on readable pages, and served once others have left. */
static void stores_held_back_at_the_limit_go_through_the_device(void **state)
{
    (void)state;
    enum { TOUCHED = 4000 };
    struct toydev d;
    toydev_start(&d, &(struct toydev_cfg){.threads_max = 1,
                                          .capacity_pages = TOUCHED * 2 + 8,
                                          .len_bytes = (uint64_t)TOUCHED * 2 * FL_PAGE_BYTES,
                                          .poll = true,
                                          .map_limit = 3000});
    enter(&d);
    volatile uint8_t *base = d.base;
    for (uint32_t i = 0; i < 2 * TOUCHED; i++)
        assert_int_equal(base[(size_t)i * FL_PAGE_BYTES], 0);
    struct coh_stats before, after;
    d.trk->ops->stats(d.trk, &before);
    for (uint32_t i = 0; i < TOUCHED; i++)
        base[(size_t)i * 2 * FL_PAGE_BYTES] = 9;
    d.trk->ops->stats(d.trk, &after);
    leave(&d);
    toydev_flush(&d);
    toydev_stop(&d);
    assert_true(after.local_dirty > 500);
    assert_true(after.map_refusals > before.map_refusals);
    for (uint32_t i = 0; i < TOUCHED; i++)
        assert_int_equal(d.remote[(size_t)i * 2 * FL_PAGE_BYTES], 9);
    toydev_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minimum_of_resident_pages),
        cmocka_unit_test(vector_stores_and_string_operations),
        cmocka_unit_test(system_calls_get_efault),
        cmocka_unit_test(atomics_of_several_threads_add_up),
        cmocka_unit_test(threads_that_never_entered_work_too),
        cmocka_unit_test(spinning_threads_work_too),
        cmocka_unit_test(records_of_dead_threads_are_reused),
        cmocka_unit_test(more_threads_than_records_are_refused),
        cmocka_unit_test(region_of_eight_gib),
        cmocka_unit_test(alternating_pages_at_a_low_limit),
        cmocka_unit_test(stores_held_back_at_the_limit_go_through_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
