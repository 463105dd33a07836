/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "emu/workload.h"

enum { REGION_BYTES = 64 * 1024 };

static struct plan *plan_of(enum plan_work_kind kind, uint32_t threads, uint64_t ops)
{
    struct plan *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->seed = 7;
    p->region_count = 1;
    p->regions[0].size_bytes = REGION_BYTES;
    p->workload_count = 1;
    p->workloads[0] = (struct plan_workload){
        .kind = kind,
        .threads = threads,
        .ops = ops,
        .write_percent = 50,
        .len_bytes = 100,
        .zipf_theta = 0.99,
    };
    return p;
}

static const enum plan_work_kind KINDS[] = {PLAN_SEQUENTIAL, PLAN_RANDOM, PLAN_ZIPF, PLAN_STAMP,
                                            PLAN_HAMMER};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

/* Every access stays inside the span, and no byte has two threads. */
static void bytes_have_one_owner(void **state)
{
    (void)state;
    for (int k = 0; k < KIND_COUNT; k++) {
        struct plan *p = plan_of(KINDS[k], 5, 20000);
        uint8_t *owner = calloc(1, REGION_BYTES);
        p->workloads[0].span_bytes = REGION_BYTES - 1000;
        uint64_t ops = 0, touched = 0;
        for (uint32_t t = 0; t < 5; t++) {
            struct work_gen g;
            struct work_op op;
            work_init(&g, p, &p->workloads[0], t, REGION_BYTES);
            for (; work_next(&g, &op); ops++) {
                assert_true(op.len_bytes > 0);
                assert_true(op.off + op.len_bytes <= REGION_BYTES - 1000);
                for (uint64_t i = op.off; i < op.off + op.len_bytes; i++) {
                    assert_true(owner[i] == 0 || owner[i] == t + 1);
                    touched += owner[i] == 0;
                    owner[i] = (uint8_t)(t + 1);
                }
            }
        }
        assert_int_equal(ops, 20000);
        assert_true(touched > REGION_BYTES / 8);
        free(owner);
        free(p);
    }
}

static void workloads_that_share_a_region_divide_it(void **state)
{
    (void)state;
    struct plan *p = plan_of(PLAN_RANDOM, 2, 1000);
    p->workload_count = 3;
    p->workloads[1] = p->workloads[0];
    p->workloads[1].kind = PLAN_HAMMER;
    p->workloads[2] = p->workloads[0];
    uint64_t lo[3], hi[3];
    for (int w = 0; w < 3; w++) {
        lo[w] = UINT64_MAX;
        hi[w] = 0;
        for (uint32_t t = 0; t < 2; t++) {
            struct work_gen g;
            struct work_op op;
            work_init(&g, p, &p->workloads[w], t, REGION_BYTES);
            while (work_next(&g, &op)) {
                lo[w] = op.off < lo[w] ? op.off : lo[w];
                hi[w] = op.off + op.len_bytes > hi[w] ? op.off + op.len_bytes : hi[w];
            }
        }
    }
    assert_true(hi[0] <= lo[1] && hi[1] <= lo[2] && hi[2] <= REGION_BYTES);
    assert_int_equal(lo[1] % 8, 0);
    free(p);
}

/* Hammer threads really share lines: that is what it is for. */
static void hammer_threads_share_lines(void **state)
{
    (void)state;
    struct plan *p = plan_of(PLAN_HAMMER, 3, 30000);
    uint8_t seen[REGION_BYTES / FL_LINE_BYTES] = {0};
    for (uint32_t t = 0; t < 3; t++) {
        struct work_gen g;
        struct work_op op;
        work_init(&g, p, &p->workloads[0], t, REGION_BYTES);
        while (work_next(&g, &op)) {
            assert_int_equal(op.len_bytes, 8);
            assert_int_equal(op.off % 8, 0);
            seen[op.off / FL_LINE_BYTES] |= (uint8_t)(1u << t);
        }
    }
    size_t shared = 0;
    for (size_t i = 0; i < sizeof seen; i++)
        shared += seen[i] == 7;
    assert_true(shared > sizeof seen * 9 / 10);
    free(p);
}

static void sequential_covers_every_byte_each_pass(void **state)
{
    (void)state;
    struct plan *p = plan_of(PLAN_SEQUENTIAL, 1, (REGION_BYTES + 99) / 100);
    struct work_gen g;
    struct work_op op;
    uint64_t next = 0;
    work_init(&g, p, &p->workloads[0], 0, REGION_BYTES);
    while (work_next(&g, &op)) {
        assert_int_equal(op.off, next);
        next = op.off + op.len_bytes;
    }
    assert_int_equal(next, REGION_BYTES);
    free(p);
}

static void share_of_writes_follows_write_percent(void **state)
{
    (void)state;
    const uint32_t percents[] = {0, 10, 50, 100};
    for (int i = 0; i < 4; i++) {
        struct plan *p = plan_of(PLAN_RANDOM, 1, 20000);
        struct work_gen g;
        struct work_op op;
        uint64_t stores = 0;
        p->workloads[0].write_percent = percents[i];
        work_init(&g, p, &p->workloads[0], 0, REGION_BYTES);
        while (work_next(&g, &op))
            stores += op.store;
        assert_true(stores + 600 >= 200u * percents[i] && stores <= 200u * percents[i] + 600);
        if (percents[i] == 0 || percents[i] == 100)
            assert_int_equal(stores, 200u * percents[i]);
        free(p);
    }
}

static int by_count_down(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

/* With theta 0.99 the hottest of 655 items gets about 1 / zeta(655) = 14 percent of the draws, the
 * hottest tenth more than half; a uniform draw would give 0.15 and 10 percent. */
static void zipf_is_skewed_as_its_theta_says(void **state)
{
    (void)state;
    enum { DRAWS = 100000, ITEMS = REGION_BYTES / 100 };
    struct plan *p = plan_of(PLAN_ZIPF, 1, DRAWS);
    static uint64_t count[ITEMS];
    struct work_gen g;
    struct work_op op;
    work_init(&g, p, &p->workloads[0], 0, REGION_BYTES);
    while (work_next(&g, &op)) {
        assert_int_equal(op.off % 100, 0);
        count[op.off / 100]++;
    }
    qsort(count, ITEMS, sizeof *count, by_count_down);
    uint64_t tenth = 0;
    for (int i = 0; i < ITEMS / 10; i++)
        tenth += count[i];
    assert_true(count[0] > DRAWS / 100 * 12 && count[0] < DRAWS / 100 * 18);
    assert_true(tenth > DRAWS / 100 * 55 && tenth < DRAWS / 100 * 85);
    free(p);
}

static void same_seed_same_accesses_other_seed_others(void **state)
{
    (void)state;
    for (int k = 0; k < KIND_COUNT; k++) {
        struct plan *p = plan_of(KINDS[k], 2, 2000), *q = plan_of(KINDS[k], 2, 2000);
        struct work_gen a, b, c;
        struct work_op x, y, z;
        uint64_t differ = 0;
        q->seed = 8;
        work_init(&a, p, &p->workloads[0], 1, REGION_BYTES);
        work_init(&b, p, &p->workloads[0], 1, REGION_BYTES);
        work_init(&c, q, &q->workloads[0], 1, REGION_BYTES);
        while (work_next(&a, &x)) {
            assert_true(work_next(&b, &y) && work_next(&c, &z));
            assert_true(x.store == y.store && x.off == y.off && x.value == y.value &&
                        x.len_bytes == y.len_bytes);
            differ += x.store != z.store || x.off != z.off;
        }
        assert_true(differ > 100);
        free(p);
        free(q);
    }
}

/* Golden figures: any machine and compiler must draw exactly these accesses. */
static void accesses_are_the_same_on_every_machine(void **state)
{
    (void)state;
    static const uint64_t want[KIND_COUNT] = {
        UINT64_C(0x39ea30f6c6c6f2ce), UINT64_C(0x74f5677898c36cac), UINT64_C(0x78d40e57c374db20),
        UINT64_C(0x3a5a9d2e9a30b83b), UINT64_C(0x59bfe76e1ff7cbf0),
    };
    for (int k = 0; k < KIND_COUNT; k++) {
        struct plan *p = plan_of(KINDS[k], 3, 6000);
        struct work_gen g;
        struct work_op op;
        uint64_t h = 0;
        uint8_t bytes[100];
        work_init(&g, p, &p->workloads[0], 2, REGION_BYTES);
        while (work_next(&g, &op)) {
            work_bytes(&op, bytes);
            h = (h ^ op.off ^ op.store) * UINT64_C(0x100000001b3);
            for (uint32_t i = 0; i < op.len_bytes; i++)
                h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
        }
        if (h != want[k])
            print_message("kind %d: 0x%llx\n", k, (unsigned long long)h);
        assert_true(h == want[k]);
        free(p);
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void values_are_never_repeated(void **state)
{
    (void)state;
    enum { THREADS = 4, OPS = 40000 };
    static uint64_t value[OPS * 2];
    size_t n = 0;
    struct plan *p = plan_of(PLAN_RANDOM, THREADS, OPS);
    p->workload_count = 2;
    p->workloads[1] = p->workloads[0];
    for (int w = 0; w < 2; w++)
        for (uint32_t t = 0; t < THREADS; t++) {
            struct work_gen g;
            struct work_op op;
            work_init(&g, p, &p->workloads[w], t, REGION_BYTES);
            while (work_next(&g, &op))
                value[n++] = op.value;
        }
    assert_int_equal(n, OPS * 2);
    qsort(value, n, sizeof *value, by_value);
    for (size_t i = 1; i < n; i++)
        assert_true(value[i] != value[i - 1]);
    free(p);
}

/* A byte depends on value and offset only, not on where the access began. */
static void bytes_depend_on_value_and_offset_only(void **state)
{
    (void)state;
    uint8_t whole[64], part[64];
    struct work_op op = {.store = true, .off = 1000, .len_bytes = 64, .value = 12345};
    work_bytes(&op, whole);
    for (uint32_t skip = 0; skip < 64; skip++) {
        struct work_op sub = op;
        sub.off += skip;
        sub.len_bytes -= skip;
        work_bytes(&sub, part);
        assert_memory_equal(part, whole + skip, 64 - skip);
    }
    op.value++;
    work_bytes(&op, part);
    assert_memory_not_equal(part, whole, 64);
}

static uint64_t le64(const uint8_t *b)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | b[i];
    return v;
}

static void stamps_name_their_address_thread_and_counter(void **state)
{
    (void)state;
    struct plan *p = plan_of(PLAN_STAMP, 3, 300);
    struct work_gen g;
    struct work_op op;
    uint8_t bytes[100];
    uint64_t n = 0;
    work_init(&g, p, &p->workloads[0], 2, REGION_BYTES);
    for (; work_next(&g, &op); n++) {
        uint64_t at = (op.off + 15) & ~UINT64_C(15);
        work_bytes(&op, bytes);
        assert_int_equal(le64(bytes + (at - op.off)), at);
        uint64_t who = le64(bytes + (at - op.off) + 8);
        assert_int_equal(who >> 44 & 0xfff, 2);
        assert_int_equal(who & ((UINT64_C(1) << 44) - 1), n);
    }
    assert_int_equal(n, 100);
    free(p);
}

/* Spans smaller than the threads or the access need: shorter accesses or none, never outside. */
static void tiny_spans_stay_inside(void **state)
{
    (void)state;
    for (int k = 0; k < KIND_COUNT; k++)
        for (uint64_t span = 1; span <= 70; span++) {
            struct plan *p = plan_of(KINDS[k], 4, 40);
            p->workloads[0].span_bytes = span;
            for (uint32_t t = 0; t < 4; t++) {
                struct work_gen g;
                struct work_op op;
                work_init(&g, p, &p->workloads[0], t, REGION_BYTES);
                while (work_next(&g, &op))
                    assert_true(op.len_bytes && op.off + op.len_bytes <= span);
            }
            free(p);
        }
}

static void programs_are_no_generators(void **state)
{
    (void)state;
    assert_false(work_is_actor(PLAN_SQLITE));
    assert_false(work_is_actor(PLAN_LUA));
    for (int k = 0; k < KIND_COUNT; k++)
        assert_true(work_is_actor(KINDS[k]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_have_one_owner),
        cmocka_unit_test(workloads_that_share_a_region_divide_it),
        cmocka_unit_test(hammer_threads_share_lines),
        cmocka_unit_test(sequential_covers_every_byte_each_pass),
        cmocka_unit_test(share_of_writes_follows_write_percent),
        cmocka_unit_test(zipf_is_skewed_as_its_theta_says),
        cmocka_unit_test(same_seed_same_accesses_other_seed_others),
        cmocka_unit_test(accesses_are_the_same_on_every_machine),
        cmocka_unit_test(values_are_never_repeated),
        cmocka_unit_test(bytes_depend_on_value_and_offset_only),
        cmocka_unit_test(stamps_name_their_address_thread_and_counter),
        cmocka_unit_test(tiny_spans_stay_inside),
        cmocka_unit_test(programs_are_no_generators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
