/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that are held on their way down: credits, order, bounds. */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

static struct ff *with_delay(void)
{
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = MS});
    return x;
}

static void credit(struct ff *x, enum fl_class cls)
{
    const struct tp_handler *h = tp_filters_handler(x->f);
    h->credit(h->arg, 1, cls);
}

/* The port takes one after the other; without credit the head waits for it. */
static void held_messages_wait_for_credit(void **state)
{
    (void)state;
    struct ff *x = with_delay();

    for (uint64_t seq = 1; seq <= 3; seq++)
        ff_msg(x, 1, seq, seq);
    ff_run(x, MS);
    assert_int_equal(ff_asked_count(x, FF_SEND), 1);
    ff_answer(x, FF_SEND, 0, FL_OK);
    assert_int_equal(ff_asked_count(x, FF_SEND), 2);
    ff_answer(x, FF_SEND, 1, FL_EAGAIN);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_asked_count(x, FF_SEND), 2);
    credit(x, FL_BULK);
    assert_int_equal(ff_asked_count(x, FF_SEND), 3);
    ff_answer(x, FF_SEND, 2, FL_OK);
    ff_answer(x, FF_SEND, 3, FL_ECONN); /* handed over, and lost with its connection */
    const uint64_t seqs[] = {1, 2, 2, 3};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ff_asked(x, FF_SEND, i)->a, seqs[i]);
    assert_int_equal(x->told_count, 3); /* no credit that nobody asked for */
    for (uint64_t tag = 1; tag <= 3; tag++)
        assert_int_equal(ff_status(x, tag), FL_OK);
    ff_free(x);
}

static void too_many_are_refused_until_there_is_room(void **state)
{
    (void)state;
    struct ff *x = with_delay();

    for (uint64_t tag = 1; tag <= 66; tag++)
        ff_msg(x, 1, tag, tag);
    ff_run(x, 0);
    assert_int_equal(ff_status(x, 64), FL_OK);
    assert_int_equal(ff_status(x, 65), FL_EAGAIN);
    assert_int_equal(ff_status(x, 66), FL_EAGAIN);
    ff_run(x, MS);
    for (size_t i = 0; i < 31; i++)
        ff_answer(x, FF_SEND, i, FL_OK);
    ff_run(x, 0);
    assert_null(ff_told(x, FF_CREDIT, 0));
    ff_answer(x, FF_SEND, 31, FL_OK);
    ff_run(x, 0);
    assert_int_equal(ff_told(x, FF_CREDIT, 0)->tag, FL_BULK);
    assert_int_equal(ff_told(x, FF_CREDIT, 0)->peer, 1);
    assert_null(ff_told(x, FF_CREDIT, 1));
    ff_free(x);
}

/* Refused by the port: its credit goes to the owner. */
static void credits_of_the_port_pass(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_msg(x, 1, 1, 1);
    ff_answer(x, FF_SEND, 0, FL_EAGAIN);
    assert_int_equal(ff_status(x, 1), FL_EAGAIN);
    credit(x, FL_BULK);
    assert_int_equal(ff_told(x, FF_CREDIT, 0)->tag, FL_BULK);
    ff_free(x);
}

/* The owner's credit and the one of a held message meet: both get what they wait for. */
static void one_credit_serves_both(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_msg(x, 1, 1, 1);
    ff_answer(x, FF_SEND, 0, FL_EAGAIN);
    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = MS});
    ff_msg(x, 1, 2, 2);
    ff_run(x, MS);
    ff_answer(x, FF_SEND, 1, FL_EAGAIN);
    credit(x, FL_BULK);
    ff_answer(x, FF_SEND, 2, FL_OK);
    ff_run(x, 0);
    assert_int_equal(ff_told(x, FF_CREDIT, 0)->tag, FL_BULK);
    ff_free(x);
}

static void what_cannot_be_encoded_is_refused(void **state)
{
    (void)state;
    struct ff *x = with_delay();
    static struct fl_msg m = {.type = FL_MSG_LOG_BATCH, .entry_count = 1};

    m.entries[0].mask = 1;
    x->port->ops->send(x->port, 1, &m, NULL, 5); /* lines without their page */
    ff_run(x, 0);
    assert_int_equal(ff_status(x, 5), FL_EINVAL);
    ff_run(x, 5 * MS);
    assert_int_equal(x->asked_count, 0);
    ff_free(x);
}

/* A fence between: the head that the port has already is not sent again, and nothing behind it. */
static void a_fence_drops_held_messages(void **state)
{
    (void)state;
    struct ff *x = with_delay();

    for (uint64_t tag = 1; tag <= 66; tag++)
        ff_msg(x, 1, tag, tag);
    ff_run(x, MS);
    ff_fence_op(x, 1, 100);
    ff_answer(x, FF_SEND, 0, FL_OK);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_asked_count(x, FF_SEND), 1);
    assert_int_equal(ff_told(x, FF_CREDIT, 0)->tag, FL_BULK); /* there is room now */
    ff_msg(x, 1, 7, 7000);
    ff_run(x, MS);
    assert_int_equal(ff_asked(x, FF_SEND, 1)->a, 7);
    ff_free(x);
}

static bool again;

static void done_and_again(void *arg, uint64_t tag, int status)
{
    struct ff *x = arg;
    ff_on_done(arg, tag, status);
    if (again && status == FL_EAGAIN) {
        struct fl_msg m = {.type = FL_MSG_OPEN_REQ};
        x->port->ops->send(x->port, 1, &m, NULL, tag + 1);
    }
}

/* An owner that tries again inside its callback does not keep the stack in its loop. */
static void trying_again_at_once_ends(void **state)
{
    (void)state;
    struct ff *x = calloc(1, sizeof *x), *base = ff_new();
    *x = *base; /* the same port, another owner */
    struct tp_handler h = {.arg = x, .done = done_and_again, .peer_up = ff_on_up};
    struct tp_filter_env env = {.arg = x, .now_ns = ff_now, .wake_at = ff_wake};
    x->f = tp_filters_new(&env, 0, 3, 1, &h);
    x->port = tp_filters_over(x->f, &x->below);
    ff_peer_up(x, 1);
    again = true;
    ff_arm(x, 1, (struct tp_fault){TP_FAULT_CLOG, .from = 0, .to = 1});
    for (uint64_t i = 0; i < 65; i++) {
        struct fl_msg m = {.type = FL_MSG_OPEN_REQ};
        x->port->ops->send(x->port, 1, &m, NULL, 1000 * i);
    }
    tp_filters_run(x->f);
    assert_int_equal(ff_status(x, 64000), FL_EAGAIN);
    assert_true(x->told_count <= 67);
    again = false;
    x->port->ops->close(&x->port);
    free(x);
    ff_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_messages_wait_for_credit),
        cmocka_unit_test(too_many_are_refused_until_there_is_room),
        cmocka_unit_test(credits_of_the_port_pass),
        cmocka_unit_test(one_credit_serves_both),
        cmocka_unit_test(what_cannot_be_encoded_is_refused),
        cmocka_unit_test(a_fence_drops_held_messages),
        cmocka_unit_test(trying_again_at_once_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
