/* SPDX-License-Identifier: Apache-2.0 */
/* Entries, lanes and answers, where faults meet. */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

/* A fault armed later reaches what is in flight. */
static void operations_in_flight_are_reached(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_arm(x, 1, (struct tp_fault){TP_FAULT_CUT, .from = 1, .to = 0});
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(x->told_count, 0);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    ff_free(x);
}

/* Slow both ways and late on top: the sum of it. */
static void faults_add_up(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = MS});
    ff_arm(x, 2, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = MS});
    ff_arm(x, 3, (struct tp_fault){TP_FAULT_DELAY, .from = 1, .to = 0, .by_ns = MS});
    ff_arm(x, 4, (struct tp_fault){TP_FAULT_DONE_LATE, .from = 0, .to = 1, .by_ns = MS});
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_run(x, 2 * MS - 1);
    assert_int_equal(x->asked_count, 0);
    ff_run(x, 1);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_run(x, 2 * MS - 1);
    assert_int_equal(x->told_count, 0);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 1), FL_OK);
    ff_free(x);
}

/* Whatever hangs wherever: answered before the fence, in the order of the calls. */
static void a_fence_finds_everything(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const enum tp_fault_kind kinds[] = {TP_FAULT_DELAY, TP_FAULT_DONE_LOST, TP_FAULT_DONE_LATE,
                                        TP_FAULT_STUCK};

    for (uint8_t i = 0; i < 4; i++) {
        size_t posted = ff_asked_count(x, FF_WRITE);
        ff_arm(x, i, (struct tp_fault){kinds[i], .from = 0, .to = 1, .count = 1, .by_ns = 50 * MS});
        ff_op(x, FF_WRITE, 1, i % FL_CLASSES, 1 + i);
        if (ff_asked_count(x, FF_WRITE) > posted)
            ff_answer(x, FF_WRITE, posted, FL_OK);
        assert_int_equal(tp_filters_fired(x->f, i), 1);
    }
    assert_int_equal(ff_asked_count(x, FF_WRITE), 2);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 5);
    ff_fence_op(x, 1, 6);
    ff_answer(x, FF_WRITE, 2, FL_EFENCED);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    assert_int_equal(x->told_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(x->told[i].tag, 1 + i);
        assert_int_equal(x->told[i].status, i < 5 ? FL_EFENCED : FL_OK);
    }
    ff_run(x, 200 * MS);
    assert_int_equal(x->told_count, 6);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 3);
    ff_free(x);
}

static void many_at_once(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_CLOG, .from = 0, .to = 1});
    for (uint64_t i = 0; i < 900; i++)
        ff_op(x, FF_WRITE, 1, FL_NORMAL, i);
    ff_disarm(x, 1);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 900);
    for (size_t i = 0; i < 900; i++)
        ff_answer(x, FF_WRITE, 899 - i, FL_OK);
    for (uint64_t i = 0; i < 900; i++)
        assert_int_equal(x->told[i].tag, 899 - i);
    ff_free(x);
}

/* Beyond the bound calls pass with their own tags, and no fault touches them. */
static void beyond_the_bound_calls_pass(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_CUT, .from = 0, .to = 1});
    for (uint64_t i = 0; i < 65536; i++)
        ff_op(x, FF_WRITE, 1, FL_NORMAL, i);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 70000);
    ff_fence_op(x, 1, 70001);
    ff_msg(x, 1, 1, 70002);
    assert_int_equal(ff_asked(x, FF_WRITE, 0)->tag, 70000);
    assert_int_equal(ff_asked(x, FF_FENCE, 0)->tag, 70001);
    assert_int_equal(ff_asked(x, FF_SEND, 0)->tag, 70002);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(x->told[0].tag, 70000);
    assert_int_equal(tp_filters_fired(x->f, 1), 65536);
    ff_free(x);
}

/* The loop may poll instead of waiting for the timer. */
static void polling_runs_what_is_due(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = MS});
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    assert_int_equal(x->wake_ns, x->now_ns + MS);
    assert_false(x->port->ops->poll(x->port));
    x->now_ns += MS;
    assert_true(x->port->ops->poll(x->port));
    assert_int_equal(ff_asked_count(x, FF_WRITE), 1);
    assert_false(x->port->ops->poll(x->port));
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_in_flight_are_reached),
        cmocka_unit_test(faults_add_up),
        cmocka_unit_test(a_fence_finds_everything),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(beyond_the_bound_calls_pass),
        cmocka_unit_test(polling_runs_what_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
