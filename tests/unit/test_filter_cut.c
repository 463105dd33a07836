/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

static void arm(struct ff *x, enum tp_fault_kind kind, uint16_t from, uint16_t to)
{
    ff_arm(x, 1, (struct tp_fault){kind, .from = from, .to = to});
}

static void requests_vanish_at_the_sender(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 0, 1);
    assert_int_equal(ff_asked(x, FF_MUTE, 0)->a, true);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 2, FL_NORMAL, 2);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    assert_int_equal(ff_asked_count(x, FF_READ), 1);
    ff_run(x, 10 * MS - 1);
    assert_int_equal(ff_status(x, 1), 1);
    ff_disarm(x, 1); /* it is lost all the same */
    assert_int_equal(ff_asked(x, FF_MUTE, 1)->a, false);
    assert_int_equal(ff_asked_count(x, FF_SEVER), 0);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

/* A reliable connection does not outlive the loss of a message. */
static void a_lost_message_ends_the_connection(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 0, 1);
    ff_msg(x, 1, 1, 1);
    ff_run(x, 0);
    assert_int_equal(ff_status(x, 1), FL_OK); /* handed over */
    assert_int_equal(ff_asked_count(x, FF_SEND), 0);
    ff_disarm(x, 1);
    assert_int_equal(ff_asked(x, FF_SEVER, 0)->peer, 1);
    arm(x, TP_FAULT_CUT, 1, 0);
    ff_arrive(x, 1, 5, false, 0);
    assert_null(ff_told(x, FF_MSG, 0));
    ff_peer_down(x, 1, FL_ETIMEDOUT); /* noticed meanwhile */
    ff_disarm(x, 1);
    assert_int_equal(ff_asked_count(x, FF_SEVER), 1);
    assert_int_equal(tp_filters_fired(x->f, 1), 3);
    ff_free(x);
}

static void acknowledgements_do_not_come(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 1, 0);
    assert_int_equal(ff_asked_count(x, FF_MUTE), 0); /* the other end is silent */
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_answer(x, FF_WRITE, 1, FL_ECONN); /* what is known here is told */
    assert_int_equal(ff_status(x, 2), FL_ECONN);
    ff_run(x, 10 * MS - 1);
    assert_int_equal(ff_status(x, 1), 1);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    ff_free(x);
}

static void what_hangs_ends_with_the_peer(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 0, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 1, FL_BULK, 2);
    ff_peer_down(x, 1, FL_ETIMEDOUT);
    assert_int_equal(x->told[0].tag, 1);
    assert_int_equal(x->told[0].status, FL_ECONN);
    assert_int_equal(x->told[1].tag, 2);
    assert_int_equal(x->told[2].kind, FF_DOWN);
    ff_run(x, 20 * MS);
    assert_int_equal(x->told_count, 3);
    ff_free(x);
}

static void no_connection_over_a_cut(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_addr a = {.len = 4};

    arm(x, TP_FAULT_CUT, 1, 0);
    assert_int_equal(x->port->ops->connect(x->port, 1, &a, NULL), FL_OK);
    ff_run(x, 5 * MS - 1);
    assert_int_equal(x->told_count, 0);
    ff_run(x, 1);
    assert_int_equal(ff_told(x, FF_DOWN, 0)->status, FL_ETIMEDOUT);
    assert_int_equal(x->port->ops->connect(x->port, 1, &a, NULL), FL_OK);
    assert_int_equal(x->asked_count, 0);
    ff_disarm(x, 1);
    assert_int_equal(ff_asked(x, FF_CONNECT, 0)->a, 4);
    ff_run(x, 20 * MS);
    assert_int_equal(x->told_count, 1);
    assert_int_equal(tp_filters_fired(x->f, 1), 2);
    ff_free(x);
}

/* The other side's attempt may come through first: nothing is told then of this one's end. */
static void a_connect_ends_with_the_session(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_addr a = {.len = 4};

    ff_peer_down(x, 1, FL_ECONN);
    arm(x, TP_FAULT_CUT, 0, 1);
    assert_int_equal(x->port->ops->connect(x->port, 1, &a, NULL), FL_OK);
    ff_peer_up(x, 1);
    ff_run(x, 50 * MS);
    assert_null(ff_told(x, FF_DOWN, 1));
    ff_disarm(x, 1);
    assert_int_equal(ff_asked_count(x, FF_CONNECT), 0);
    ff_free(x);
}

static void no_fence_over_a_cut(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 0, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_fence_op(x, 1, 2);
    ff_run(x, 7 * MS);
    assert_int_equal(x->told[0].status, FL_EFENCED);
    assert_int_equal(x->told[1].tag, 2);
    assert_int_equal(x->told[1].status, FL_ETIMEDOUT);
    ff_fence_op(x, 1, 3);
    assert_int_equal(ff_asked_count(x, FF_FENCE), 0);
    ff_disarm(x, 1);
    assert_int_equal(ff_asked_count(x, FF_FENCE), 1);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    assert_int_equal(ff_status(x, 3), FL_OK);
    /* With the peer goes the fence. */
    arm(x, TP_FAULT_CUT, 0, 1);
    ff_fence_op(x, 1, 4);
    ff_peer_down(x, 1, FL_ECONN);
    assert_int_equal(ff_status(x, 4), FL_EPEERDEAD);
    assert_int_equal(x->told[x->told_count - 1].kind, FF_DOWN);
    ff_free(x);
}

static void a_clog_delivers_everything_in_order(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CLOG, 0, 1);
    for (uint64_t tag = 1; tag <= 3; tag++) {
        ff_op(x, FF_WRITE, 1, FL_BULK, tag);
        ff_msg(x, 1, tag, 10 + tag);
    }
    ff_run(x, 12 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    assert_int_equal(ff_status(x, 13), FL_OK);
    assert_int_equal(x->asked_count, 1); /* muted */
    ff_disarm(x, 1);
    for (size_t i = 0; i < 3; i++) /* each message waits for the port to take the one before */
        ff_answer(x, FF_SEND, i, FL_OK);
    assert_int_equal(x->asked_count, 8);
    for (size_t i = 0, at = 1; i < 3; i++) {
        at += x->asked[at].kind == FF_MUTE;
        assert_int_equal(x->asked[at].kind, FF_WRITE);
        assert_int_equal(x->asked[at].r.local - x->mem, (i + 1) * FL_PAGE_BYTES);
        at++;
        at += x->asked[at].kind == FF_MUTE;
        assert_int_equal(x->asked[at++].a, i + 1);
    }
    assert_int_equal(ff_asked_count(x, FF_SEVER), 0);
    assert_int_equal(tp_filters_fired(x->f, 1), 6);
    ff_free(x);
}

static void a_clog_holds_acknowledgements(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CLOG, 1, 0);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 1, FL_NORMAL, 2);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_answer(x, FF_READ, 0, FL_OK);
    ff_run(x, 5 * MS);
    assert_int_equal(x->told_count, 0);
    ff_disarm(x, 1);
    ff_run(x, 0);
    assert_int_equal(x->told[0].tag, 1);
    assert_int_equal(x->told[1].tag, 2);
    assert_int_equal(x->told[1].status, FL_OK);
    ff_free(x);
}

static void two_cuts_end_with_the_second(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm(x, TP_FAULT_CUT, 0, 1);
    ff_arm(x, 2, (struct tp_fault){TP_FAULT_CUT, .from = 0, .to = 1});
    assert_int_equal(ff_asked_count(x, FF_MUTE), 1);
    ff_fence_op(x, 1, 1);
    ff_disarm(x, 1);
    assert_int_equal(ff_asked_count(x, FF_FENCE), 0);
    assert_int_equal(ff_asked_count(x, FF_MUTE), 1);
    ff_disarm(x, 2);
    assert_int_equal(ff_asked_count(x, FF_FENCE), 1);
    assert_int_equal(ff_asked(x, FF_MUTE, 1)->a, false);
    ff_free(x);
}

/* Without a session there is nothing to cut: the port says that it has none. */
static void the_port_answers_without_a_session(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_peer_down(x, 1, FL_ECONN);
    arm(x, TP_FAULT_CUT, 0, 1);
    ff_msg(x, 1, 1, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_answer(x, FF_SEND, 0, FL_EPEERDEAD);
    ff_answer(x, FF_WRITE, 0, FL_EPEERDEAD);
    assert_int_equal(ff_status(x, 1), FL_EPEERDEAD);
    assert_int_equal(ff_status(x, 2), FL_EPEERDEAD);
    assert_int_equal(tp_filters_fired(x->f, 1), 0);
    ff_peer_up(x, 1);
    ff_msg(x, 1, 1, 3);
    assert_int_equal(ff_asked_count(x, FF_SEND), 1);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_vanish_at_the_sender),
        cmocka_unit_test(a_lost_message_ends_the_connection),
        cmocka_unit_test(acknowledgements_do_not_come),
        cmocka_unit_test(what_hangs_ends_with_the_peer),
        cmocka_unit_test(no_connection_over_a_cut),
        cmocka_unit_test(a_connect_ends_with_the_session),
        cmocka_unit_test(no_fence_over_a_cut),
        cmocka_unit_test(a_clog_delivers_everything_in_order),
        cmocka_unit_test(a_clog_holds_acknowledgements),
        cmocka_unit_test(two_cuts_end_with_the_second),
        cmocka_unit_test(the_port_answers_without_a_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
