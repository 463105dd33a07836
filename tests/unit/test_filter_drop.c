/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

static void a_lost_message_breaks_the_connection(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DROP, .from = 1, .to = 0, .every = 2, .count = 2});
    ff_arrive(x, 2, 1, true, 0);
    ff_arrive(x, 1, 2, true, 0);
    ff_arrive(x, 1, 3, true, 0);
    assert_int_equal(x->told_count, 2);
    assert_int_equal(x->told[0].a, 1);
    assert_int_equal(x->told[1].a, 3);
    assert_int_equal(ff_asked_count(x, FF_SEVER), 1);
    assert_int_equal(ff_asked(x, FF_SEVER, 0)->peer, 1);
    assert_int_equal(ff_asked(x, FF_SEVER, 0)->status, FL_ECONN);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

/* It is lost at the receiver, so that it is lost once. */
static void the_sender_does_nothing(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DROP, .from = 0, .to = 1});
    ff_msg(x, 1, 1, 1);
    assert_int_equal(ff_asked_count(x, FF_SEND), 1);
    assert_int_equal(tp_filters_fired(x->f, 1), 0);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_message_breaks_the_connection),
        cmocka_unit_test(the_sender_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
