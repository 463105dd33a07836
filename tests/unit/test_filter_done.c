/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

static struct ff *with(enum tp_fault_kind kind, uint64_t by_ns)
{
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){kind, .from = 0, .to = 1, .count = 1, .by_ns = by_ns});
    return x;
}

static void a_lost_one_ends_by_its_deadline(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_LOST, 0);

    ff_op(x, FF_WRITE, 2, FL_NORMAL, 9); /* not the fault's link */
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_answer(x, FF_WRITE, 1, FL_OK);
    ff_answer(x, FF_WRITE, 2, FL_OK);
    assert_int_equal(ff_status(x, 9), FL_OK);
    assert_int_equal(ff_status(x, 1), 1);
    assert_int_equal(ff_status(x, 2), FL_OK);
    ff_disarm(x, 1);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

static void a_lost_one_ends_with_a_fence(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_LOST, 0);

    ff_op(x, FF_READ, 1, FL_NORMAL, 1);
    ff_answer(x, FF_READ, 0, FL_OK);
    ff_fence_op(x, 1, 2);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    assert_int_equal(x->told[0].status, FL_EFENCED);
    assert_int_equal(x->told[1].tag, 2);
    ff_run(x, 20 * MS);
    assert_int_equal(x->told_count, 2);
    ff_free(x);
}

/* Also one that has no deadline. */
static void every_lost_one_has_an_end(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_LOST, 0);
    struct tp_rma r = {.tag = 1, .peer = 1, .local = x->mem, .len_bytes = 64};

    x->port->ops->write(x->port, &r);
    assert_int_equal(ff_asked(x, FF_WRITE, 0)->r.deadline_ns, 0);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_run(x, 10 * FL_NS_PER_S);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    ff_free(x);
}

static void a_late_one_is_overtaken(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_LATE, 3 * MS);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_answer(x, FF_WRITE, 1, FL_OK);
    ff_run(x, 3 * MS - 1);
    assert_int_equal(x->told_count, 1);
    assert_int_equal(ff_status(x, 2), FL_OK);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 1), FL_OK);
    ff_free(x);
}

static void later_than_its_deadline_it_has_timed_out(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_LATE, 50 * MS);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    ff_run(x, 100 * MS);
    assert_int_equal(x->told_count, 1);
    ff_free(x);
}

static void an_error_instead_of_success(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_ERROR, 0);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_answer(x, FF_WRITE, 0, FL_ECONN); /* failed by itself: not hit */
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_answer(x, FF_WRITE, 1, FL_OK);
    assert_int_equal(ff_status(x, 1), FL_ECONN);
    assert_int_equal(ff_status(x, 2), FL_EIO);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

/* The lie: success first, the bytes of that time later, or never behind a fence. */
static void success_before_the_operation(void **state)
{
    (void)state;
    struct ff *x = with(TP_FAULT_DONE_EARLY, 4 * MS);

    ff_op(x, FF_READ, 1, FL_NORMAL, 7); /* of writes only */
    x->mem[FL_PAGE_BYTES] = 0x11;
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    ff_run(x, 0);
    assert_int_equal(ff_status(x, 1), FL_OK);
    x->mem[FL_PAGE_BYTES] = 0x22;
    ff_run(x, 4 * MS);
    assert_int_equal(ff_asked(x, FF_WRITE, 0)->first_byte, 0x11);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(x->told_count, 1);
    ff_arm(x, 2, (struct tp_fault){TP_FAULT_DONE_EARLY, .from = 0, .to = 1, .by_ns = MS});
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_fence_op(x, 1, 3);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 2), FL_OK);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 1);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_one_ends_by_its_deadline),
        cmocka_unit_test(a_lost_one_ends_with_a_fence),
        cmocka_unit_test(every_lost_one_has_an_end),
        cmocka_unit_test(a_late_one_is_overtaken),
        cmocka_unit_test(later_than_its_deadline_it_has_timed_out),
        cmocka_unit_test(an_error_instead_of_success),
        cmocka_unit_test(success_before_the_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
