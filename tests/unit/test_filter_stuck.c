/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

#define MS FL_NS_PER_MS

static struct ff *with(uint64_t by_ns)
{
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_STUCK, .from = 0, .to = 1, .by_ns = by_ns});
    assert_int_equal(ff_asked(x, FF_REG, 0)->bytes, 256 * FL_PAGE_BYTES);
    return x;
}

/* The bytes of the time of the call, from memory of the stack, after the owner was told. */
static void lands_late(void **state)
{
    (void)state;
    struct ff *x = with(30 * MS);

    x->mem[FL_PAGE_BYTES] = 0x11;
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_READ, 1, FL_NORMAL, 2); /* reads do not get stuck */
    x->mem[FL_PAGE_BYTES] = 0x22;
    ff_run(x, 10 * MS);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    ff_disarm(x, 1); /* that frees nothing */
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    ff_run(x, 20 * MS);
    struct ff_entry *e = ff_asked(x, FF_WRITE, 0);
    assert_int_equal(e->first_byte, 0x11);
    assert_true(e->r.local < x->mem || e->r.local >= x->mem + FF_MEM_BYTES);
    assert_true(e->r.deadline_ns > 0);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(x->told_count, 1);
    ff_free(x);
}

static void in_time_it_is_only_late(void **state)
{
    (void)state;
    struct ff *x = with(3 * MS);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_run(x, 3 * MS);
    assert_int_equal(ff_asked(x, FF_WRITE, 0)->r.deadline_ns, 7 * MS);
    ff_answer(x, FF_WRITE, 0, FL_OK);
    assert_int_equal(ff_status(x, 1), FL_OK);
    ff_free(x);
}

static void never_lands_behind_a_fence(void **state)
{
    (void)state;
    struct ff *x = with(30 * MS);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 2);
    ff_run(x, 10 * MS); /* told of both */
    ff_fence_op(x, 1, 3);
    ff_answer(x, FF_FENCE, 0, FL_OK);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 4);
    ff_fence_op(x, 1, 5); /* not told yet */
    ff_answer(x, FF_FENCE, 1, FL_OK);
    ff_run(x, 100 * MS);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    assert_int_equal(ff_status(x, 1), FL_ETIMEDOUT);
    assert_int_equal(ff_status(x, 4), FL_EFENCED);
    assert_int_equal(x->told_count, 5);
    ff_free(x);
}

static void goes_with_its_connection(void **state)
{
    (void)state;
    struct ff *x = with(30 * MS);

    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1);
    ff_peer_down(x, 1, FL_ECONN);
    assert_int_equal(ff_status(x, 1), FL_ECONN);
    ff_run(x, 100 * MS);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 0);
    ff_free(x);
}

/* What is larger than a page, or one too many, passes and is not counted. */
static void copies_are_bounded(void **state)
{
    (void)state;
    struct ff *x = with(5 * MS);
    struct tp_rma r = {.tag = 1, .peer = 1, .local = x->mem, .len_bytes = 2 * FL_PAGE_BYTES};

    x->port->ops->write(x->port, &r);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 1);
    for (uint64_t i = 0; i < 300; i++)
        ff_op(x, FF_WRITE, 1, FL_NORMAL, 100 + i);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 1 + 44);
    assert_int_equal(tp_filters_fired(x->f, 1), 256);
    ff_run(x, 5 * MS);
    assert_int_equal(ff_asked_count(x, FF_WRITE), 301);
    for (size_t i = 0; i < 301; i++)
        ff_answer(x, FF_WRITE, i, FL_OK);
    assert_int_equal(x->told_count, 301);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 1000); /* there is room again */
    assert_int_equal(tp_filters_fired(x->f, 1), 257);
    ff_free(x);
}

/* After an error the port may still read a copy: its place is used again only behind a fence. */
static void a_copy_is_kept_until_it_cannot_land(void **state)
{
    (void)state;
    struct ff *x = with(MS);
    const struct tp_handler *h = tp_filters_handler(x->f);

    for (int round = 0; round < 2; round++) {
        size_t first = ff_asked_count(x, FF_WRITE);
        for (uint64_t i = 0; i < 256; i++)
            ff_op(x, FF_WRITE, 1, FL_NORMAL, 1000 * (uint64_t)round + i);
        ff_run(x, MS);
        for (size_t i = 0; i < 256; i++)
            ff_answer(x, FF_WRITE, first + i, FL_ETIMEDOUT);
        uint64_t fired = tp_filters_fired(x->f, 1);
        assert_int_equal(fired, 256 * (round + 1));
        ff_op(x, FF_WRITE, 1, FL_NORMAL, 5000);
        assert_int_equal(tp_filters_fired(x->f, 1), fired);
        if (round == 0) {
            ff_fence_op(x, 1, 9000);
            ff_answer(x, FF_FENCE, 0, FL_OK);
        } else {
            ff_peer_down(x, 1, FL_ECONN);
            ff_op(x, FF_WRITE, 1, FL_NORMAL, 5001);
            assert_int_equal(tp_filters_fired(x->f, 1), fired);
            h->peer_up(h->arg, 1, 2);
        }
    }
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 5002);
    assert_int_equal(tp_filters_fired(x->f, 1), 513);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lands_late),
        cmocka_unit_test(in_time_it_is_only_late),
        cmocka_unit_test(never_lands_behind_a_fence),
        cmocka_unit_test(goes_with_its_connection),
        cmocka_unit_test(copies_are_bounded),
        cmocka_unit_test(a_copy_is_kept_until_it_cannot_land),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
