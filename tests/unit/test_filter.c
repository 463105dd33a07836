/* SPDX-License-Identifier: Apache-2.0 */
/* The stack itself: what passes, what is answered when, bounds of arming. */
#include "tests/unit/filter_fixture.h"

static void nothing_armed_passes_everything(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const struct tp_handler *h = tp_filters_handler(x->f);

    ff_op(x, FF_READ, 2, FL_URGENT, 12);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 11);
    ff_msg(x, 1, 5, 13);
    ff_fence_op(x, 2, 14);
    assert_int_equal(x->asked_count, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(x->asked[i].kind, i);
    assert_int_equal(x->asked[0].r.deadline_ns, 10 * FL_NS_PER_MS);
    assert_int_equal(x->told_count, 0);
    ff_answer(x, FF_SEND, 0, FL_OK);
    ff_answer(x, FF_READ, 0, FL_EFENCED);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_arrive(x, 2, 77, true, 9);
    h->credit(h->arg, 1, FL_BULK);
    h->landed(h->arg, 1, 4096);
    h->peer_up(h->arg, 2, 3);
    ff_peer_down(x, 2, FL_ECONN);
    const uint64_t tags[] = {13, 12, 14, 11};
    const int status[] = {FL_OK, FL_EFENCED, FL_OK, FL_OK};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(x->told[i].tag, tags[i]);
        assert_int_equal(x->told[i].status, status[i]);
    }
    assert_int_equal(x->told[4].kind, FF_MSG);
    assert_int_equal(x->told[4].first_byte, 9);
    const enum ff_told rest[] = {FF_MSG, FF_CREDIT, FF_LANDED, FF_UP, FF_DOWN};
    for (int i = 0; i < 5; i++)
        assert_int_equal(x->told[4 + i].kind, rest[i]);
    assert_int_equal(x->told_count, 9);
    assert_int_equal(x->wake_ns, FL_NEVER);
    ff_free(x);
}

/* The port's own refusals reach the owner with the owner's tag. */
static void what_is_wrong_is_left_to_the_port(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct fl_msg m = {.type = 99};

    x->port->ops->send(x->port, 1, &m, NULL, 5);
    assert_int_equal(ff_asked(x, FF_SEND, 0)->tag, 5);
    ff_answer(x, FF_SEND, 0, FL_EINVAL);
    assert_int_equal(ff_status(x, 5), FL_EINVAL);
    ff_op(x, FF_READ, 9, FL_NORMAL, 6);
    assert_int_equal(ff_asked(x, FF_READ, 0)->tag, 6);
    ff_fence_op(x, 9, 7);
    assert_int_equal(ff_asked(x, FF_FENCE, 0)->tag, 7);
    ff_free(x);
}

static void an_answer_counts_once(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const struct tp_handler *h = tp_filters_handler(x->f);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    uint64_t old = ff_asked(x, FF_WRITE, 0)->tag;
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2); /* takes the same entry */
    assert_int_not_equal(ff_asked(x, FF_WRITE, 1)->tag, old);
    assert_int_equal((uint32_t)ff_asked(x, FF_WRITE, 1)->tag, (uint32_t)old);
    ff_answer(x, FF_WRITE, 1, FL_OK);
    assert_int_equal(ff_status(x, 1), FL_OK);
    assert_int_equal(ff_status(x, 2), FL_OK);
    (void)h;
    ff_free(x);
}

static void arming_is_checked(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_fault t = {.kind = TP_FAULT_DELAY, .from = 0, .to = 1};

    assert_int_equal(tp_filters_arm(x->f, 1, &t), FL_OK);
    assert_int_equal(tp_filters_arm(x->f, 1, &t), FL_EINVAL);
    t.to = 3;
    assert_int_equal(tp_filters_arm(x->f, 2, &t), FL_EINVAL);
    t.to = t.from;
    assert_int_equal(tp_filters_arm(x->f, 2, &t), FL_EINVAL);
    t = (struct tp_fault){.kind = TP_FAULT_RATE, .from = 0, .to = 1};
    assert_int_equal(tp_filters_arm(x->f, 2, &t), FL_EINVAL);
    t.kind = TP_FAULT_COUNT;
    assert_int_equal(tp_filters_arm(x->f, 2, &t), FL_EINVAL);
    assert_null(tp_fault_info(TP_FAULT_COUNT));
    assert_string_equal(tp_fault_info(TP_FAULT_STUCK)->name, "stick");
    tp_filters_disarm(x->f, 99);
    assert_int_equal(tp_filters_fired(x->f, 99), 0);
    ff_free(x);
}

/* every, count and classes say which are hit; the count stays when the fault has ended. */
static void hits_are_chosen_and_counted(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_fault t = {.kind = TP_FAULT_DUPLICATE,
                         .from = 1,
                         .to = 0,
                         .classes = 1 << FL_NORMAL,
                         .every = 3,
                         .count = 2};

    ff_arm(x, 4, t);
    for (uint64_t seq = 0; seq < 12; seq++) {
        ff_arrive(x, 1, seq, false, 0);
        ff_arrive(x, 1, 100 + seq, true, 0);  /* another class */
        ff_arrive(x, 2, 200 + seq, false, 0); /* another link */
    }
    assert_int_equal(x->told_count, 36 + 2);
    assert_int_equal(tp_filters_fired(x->f, 4), 2);
    assert_int_equal(x->told[0].a, 0);
    assert_int_equal(x->told[1].a, 0);
    ff_disarm(x, 4);
    assert_int_equal(tp_filters_fired(x->f, 4), 2);
    ff_arm(x, 4, t);
    ff_arrive(x, 1, 50, false, 0);
    assert_int_equal(tp_filters_fired(x->f, 4), 3);
    ff_free(x);
}

static void set_up_is_passed_on(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_addr a = {.len = 7};
    struct tp_ledger l;

    assert_int_equal(x->port->ops->reg(x->port, x->mem, 4096, NULL), FL_OK);
    assert_int_equal(x->port->ops->expose(x->port, x->mem, 8192, NULL), FL_OK);
    assert_int_equal(ff_asked(x, FF_REG, 1)->bytes, 8192);
    assert_int_equal(x->port->ops->connect(x->port, 1, &a, NULL), FL_OK);
    assert_int_equal(ff_asked(x, FF_CONNECT, 0)->a, 7);
    assert_int_equal(x->port->ops->listen(x->port, &a, NULL), FL_OK);
    assert_int_equal(a.len, 1);
    x->port->ops->mute(x->port, 2, true);
    x->port->ops->sever(x->port, 2, FL_EPROTO);
    assert_int_equal(ff_asked(x, FF_MUTE, 0)->a, true);
    assert_int_equal(ff_asked(x, FF_SEVER, 0)->status, FL_EPROTO);
    x->port->ops->ledger(x->port, &l);
    assert_int_equal(l.timeouts, 100);
    assert_false(x->port->ops->poll(x->port));
    ff_free(x);
}

static void a_stack_without_a_port_is_freed(void **state)
{
    (void)state;
    struct tp_handler h = {0};
    struct tp_filter_env env = {0};
    struct tp_filters *f = tp_filters_new(&env, 0, 2, 1, &h);

    tp_filters_free(&f);
    assert_null(f);
    tp_filters_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_armed_passes_everything),
        cmocka_unit_test(what_is_wrong_is_left_to_the_port),
        cmocka_unit_test(an_answer_counts_once),
        cmocka_unit_test(arming_is_checked),
        cmocka_unit_test(hits_are_chosen_and_counted),
        cmocka_unit_test(set_up_is_passed_on),
        cmocka_unit_test(a_stack_without_a_port_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
