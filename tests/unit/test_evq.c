/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "emu/base/evq.h"
#include "emu/base/rng.h"

struct seen {
    struct fl_evq *q;
    uint64_t last_ns, last_order, count;
};

static void record(void *arg, uint64_t a, uint64_t b)
{
    struct seen *s = arg;

    assert_int_equal(fl_evq_now_ns(s->q), a);
    assert_true(a > s->last_ns || (a == s->last_ns && b > s->last_order) || s->count == 0);
    s->last_ns = a;
    s->last_order = b;
    s->count++;
}

static void entries_run_in_order_of_time_then_insertion(void **state)
{
    struct seen s = {.q = fl_evq_new()};
    struct fl_rng r;

    (void)state;
    fl_rng_init(&r, 9, 0, FL_RNG_SCHED, 0);
    for (uint64_t i = 0; i < 5000; i++) {
        uint64_t t = fl_rng_below(&r, 500);

        fl_evq_at(s.q, t, record, &s, t, i);
    }
    while (fl_evq_step(s.q)) {
    }
    assert_int_equal(s.count, 5000);
    fl_evq_free(&s.q);
    assert_null(s.q);
}

static void canceled_entries_do_not_run(void **state)
{
    struct seen s = {.q = fl_evq_new()};
    uint64_t ids[100];

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        ids[i] = fl_evq_at(s.q, 10 + i, record, &s, 10 + i, i);
    }
    for (unsigned i = 0; i < 100; i += 2) {
        fl_evq_cancel(s.q, ids[i]);
        fl_evq_cancel(s.q, ids[i]); /* twice is harmless */
    }
    while (fl_evq_step(s.q)) {
    }
    assert_int_equal(s.count, 50);
    fl_evq_cancel(s.q, ids[1]); /* already ran, its slot may serve another */
    fl_evq_at(s.q, 200, record, &s, 200, 1000);
    fl_evq_cancel(s.q, ids[3]);
    assert_true(fl_evq_step(s.q));
    assert_int_equal(s.count, 51);
    fl_evq_free(&s.q);
}

static void chain(void *arg, uint64_t a, uint64_t b)
{
    struct seen *s = arg;

    s->count++;
    if (b > 0) {
        fl_evq_at(s->q, a, chain, s, a, b - 1); /* in the past by then: runs now */
    }
}

static void the_past_is_now(void **state)
{
    struct seen s = {.q = fl_evq_new()};

    (void)state;
    assert_int_equal(fl_evq_next_ns(s.q), UINT64_MAX);
    fl_evq_at(s.q, 100, chain, &s, 5, 10);
    assert_int_equal(fl_evq_next_ns(s.q), 100);
    while (fl_evq_step(s.q)) {
        assert_int_equal(fl_evq_now_ns(s.q), 100);
    }
    assert_int_equal(s.count, 11);
    fl_evq_free(&s.q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_run_in_order_of_time_then_insertion),
        cmocka_unit_test(canceled_entries_do_not_run),
        cmocka_unit_test(the_past_is_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
