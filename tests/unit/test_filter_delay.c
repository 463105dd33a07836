/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

static void arm_delay(struct ff *x, uint16_t from, uint16_t to, uint64_t by_ns)
{
    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DELAY, .from = from, .to = to, .by_ns = by_ns});
}

static void requests_wait_at_the_sender(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm_delay(x, 0, 1, 2 * MS);
    x->mem[3 * FL_PAGE_BYTES + FL_LINE_BYTES] = 0x33;
    ff_op(x, FF_WRITE, 1, FL_BULK, 1);
    ff_msg(x, 1, 3, 2);
    ff_op(x, FF_READ, 2, FL_BULK, 3); /* another link */
    assert_int_equal(x->asked_count, 1);
    memset(x->mem, 0, FF_MEM_BYTES); /* handed over: the sender's memory is free again */
    ff_run(x, 0);
    assert_int_equal(ff_status(x, 2), FL_OK);
    assert_int_equal(ff_status(x, 1), 1);
    ff_run(x, 2 * MS - 1);
    assert_int_equal(x->asked_count, 1);
    ff_run(x, 1);
    assert_int_equal(x->asked_count, 3);
    assert_int_equal(x->asked[1].kind, FF_WRITE);
    assert_int_equal(x->asked[1].r.deadline_ns, 8 * MS);
    assert_int_equal(x->asked[2].kind, FF_SEND);
    assert_int_equal(x->asked[2].a, 3);
    assert_int_equal(x->asked[2].first_byte, 0x33);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_answer(x, FF_SEND, 0, FL_OK);
    ff_answer(x, FF_READ, 0, FL_OK);
    assert_int_equal(ff_status(x, 1), FL_OK);
    assert_int_equal(tp_filters_fired(x->f, 1), 2);
    assert_int_equal(x->told_count, 3);
    ff_free(x);
}

static void acknowledgements_wait_at_the_other_end(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm_delay(x, 1, 0, 3 * MS);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 1, FL_NORMAL, 2);
    assert_int_equal(x->asked_count, 2);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    ff_run(x, MS);
    ff_answer(x, FF_READ, 0, FL_OK);
    ff_run(x, 2 * MS - 1);
    assert_int_equal(x->told_count, 0);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 1), FL_OK);
    assert_int_equal(ff_status(x, 2), 1);
    ff_run(x, MS);
    assert_int_equal(ff_status(x, 2), FL_OK);
    /* A failure is known here: it does not travel. */
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 3);
    ff_answer(x, FF_WRITE, 1, FL_ECONN);
    assert_int_equal(ff_status(x, 3), FL_ECONN);
    ff_free(x);
}

/* What comes behind waits as well, even when it is not hit itself. */
static void a_class_stays_in_order(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1,
           (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .every = 2, .by_ns = 2 * MS});
    for (uint64_t tag = 1; tag <= 4; tag++)
        ff_op(x, FF_WRITE, 1, FL_NORMAL, tag);
    ff_arm(x, 2,
           (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = 2 * MS,
                             .classes = 1 << FL_NORMAL});
    ff_op(x, FF_READ, 1, FL_URGENT, 5); /* every second, and of another class */
    assert_int_equal(x->asked_count, 0);
    ff_op(x, FF_READ, 1, FL_URGENT, 6);
    ff_run(x, 2 * MS);
    assert_int_equal(x->asked_count, 6);
    uint64_t last = 0;
    for (size_t i = 0; i < 6; i++)
        if (x->asked[i].kind == FF_WRITE) {
            assert_true((uint32_t)x->asked[i].tag >= last);
            last = (uint32_t)x->asked[i].tag;
        }
    assert_int_equal(tp_filters_fired(x->f, 1), 3);
    ff_free(x);
}

static void the_end_releases_in_order(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm_delay(x, 0, 1, 5 * MS);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_run(x, MS);
    assert_int_equal(x->asked_count, 0);
    ff_disarm(x, 1);
    assert_int_equal(x->asked_count, 2);
    assert_int_equal(x->asked[0].r.local - x->mem, FL_PAGE_BYTES);
    ff_free(x);
}

/* Beyond its deadline a write is answered, and goes all the same; a read does not. */
static void a_deadline_shorter_than_the_delay(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct tp_ledger l;

    arm_delay(x, 0, 1, 50 * MS);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 1, FL_NORMAL, 2);
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    assert_int_equal(ff_status(x, 2), FL_ETIMEDOUT);
    x->port->ops->ledger(x->port, &l);
    assert_int_equal(l.timeouts, 102);
    ff_run(x, 40 * MS);
    assert_int_equal(x->asked_count, 1);
    assert_int_equal(x->asked[0].kind, FF_WRITE);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(x->told_count, 2);
    ff_free(x);
}

static void a_fence_ends_what_waits(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm_delay(x, 0, 1, 5 * MS);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_msg(x, 1, 2, 2);
    ff_op(x, FF_READ, 1, FL_URGENT, 3);
    ff_fence_op(x, 1, 4);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 5);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    const uint64_t tags[] = {2, 1, 3, 4};
    const int status[] = {FL_OK, FL_EFENCED, FL_EFENCED, FL_OK};
    assert_int_equal(x->told_count, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(x->told[i].tag, tags[i]);
        assert_int_equal(x->told[i].status, status[i]);
    }
    ff_run(x, 20 * MS);
    assert_int_equal(x->asked_count, 2); /* the fence and what was written behind it */
    assert_int_equal(x->asked[1].kind, FF_WRITE);
    ff_free(x);
}

static void a_dead_peer_ends_what_waits(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    arm_delay(x, 0, 1, 5 * MS);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_msg(x, 1, 2, 2);
    ff_peer_down(x, 1, FL_EPEERDEAD);
    assert_int_equal(x->told_count, 3);
    assert_int_equal(ff_status(x, 1), FL_EPEERDEAD);
    assert_int_equal(x->told[2].kind, FF_DOWN);
    ff_run(x, 20 * MS);
    assert_int_equal(x->asked_count, 0);
    ff_free(x);
}

/* 80 Mbit/s: a page takes 409.6 us. */
static void a_slow_link_takes_its_time(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const uint64_t page_ns = 409600;

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_RATE, .from = 0, .to = 1, .rate_bps = 80000000});
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_op(x, FF_READ, 1, FL_URGENT, 3); /* a request; not behind a lower class */
    ff_run(x, 6400);
    assert_int_equal(x->asked_count, 1);
    assert_int_equal(x->asked[0].kind, FF_READ);
    ff_run(x, page_ns - 6400 - 1);
    assert_int_equal(x->asked_count, 1);
    ff_run(x, 1);
    assert_int_equal(x->asked_count, 2);
    ff_run(x, page_ns);
    assert_int_equal(x->asked_count, 3);
    ff_disarm(x, 1);
    ff_arm(x, 2, (struct tp_fault){TP_FAULT_RATE, .from = 1, .to = 0, .rate_bps = 80000000});
    ff_answer(x, FF_READ, 0, FL_OK); /* its data comes over the link */
    ff_run(x, page_ns - 1);
    assert_int_equal(ff_status(x, 3), 1);
    ff_run(x, 1);
    assert_int_equal(ff_status(x, 3), FL_OK);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_wait_at_the_sender),
        cmocka_unit_test(acknowledgements_wait_at_the_other_end),
        cmocka_unit_test(a_class_stays_in_order),
        cmocka_unit_test(the_end_releases_in_order),
        cmocka_unit_test(a_deadline_shorter_than_the_delay),
        cmocka_unit_test(a_fence_ends_what_waits),
        cmocka_unit_test(a_dead_peer_ends_what_waits),
        cmocka_unit_test(a_slow_link_takes_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
