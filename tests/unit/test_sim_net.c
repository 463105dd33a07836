/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sim_fixture.h"

enum { PAGE = 4096 };

/* Bytes of the page at 0 that hold @value: always a prefix, in whole lines. */
static size_t prefix(const uint8_t *mem, uint8_t value)
{
    size_t n = 0;
    while (n < PAGE && mem[n] == value)
        n++;
    for (size_t i = n; i < PAGE; i++)
        assert_int_not_equal(mem[i], value);
    assert_int_equal(n % 64, 0);
    return n;
}

/* A read by another node in the middle of a write sees some of its lines. */
static void a_write_lands_in_pieces(void **state)
{
    (void)state;
    size_t partial = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct fx *f = fx_start(fx_new(seed));
        fx_connect(f, 2, 1);
        fx_run(f, FL_NS_PER_MS);
        memset(f->node[0].mem, 7, PAGE);
        fx_write(f, 0, 1, 0, PAGE, 1);
        fx_run(f, 1000 + seed * 60);
        fx_read(f, 2, 1, 0, PAGE, 2);
        fx_run(f, FL_NS_PER_MS);
        size_t n = prefix(f->node[2].mem, 7);
        partial += n > 0 && n < PAGE;
        assert_int_equal(fx_status(&f->node[2], 2), FL_OK);
        assert_int_equal(prefix(f->node[1].mem, 7), PAGE);
        assert_int_equal(f->landed_bytes, PAGE);
        fx_free(f);
    }
    assert_true(partial >= 5);
}

static void killing_the_writer_cuts_its_write(void **state)
{
    (void)state;
    size_t none = 0, some = 0, all = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct fx *f = fx_start(fx_new(seed));
        memset(f->node[0].mem, 7, PAGE);
        fx_write(f, 0, 1, 0, PAGE, 1);
        fx_send(f, 0, 1, FL_MSG_LOG_BATCH, 1, 2);
        fx_run(f, seed * 40);
        tp_simnet_kill(f->net, 0);
        memset(f->node[0].mem, 1, PAGE); /* its memory is gone: nobody may read it */
        fx_run(f, 10 * FL_NS_PER_MS);
        size_t n = prefix(f->node[1].mem, 7);
        none += n == 0;
        some += n > 0 && n < PAGE;
        all += n == PAGE;
        assert_null(fx_done_of(&f->node[0], 1)); /* the dead are told nothing */
        assert_int_equal(fx_count(&f->node[1], FX_DOWN), 1);
        assert_int_equal(fx_find(&f->node[1], FX_DOWN, 0)->status, FL_EPEERDEAD);
        if (n < PAGE) { /* what was not sent before is not sent after either */
            assert_int_equal(fx_count(&f->node[1], FX_MSG), 0);
            assert_int_equal(fx_count(&f->node[1], FX_LANDED), 0);
        }
        fx_free(f);
    }
    assert_true(none + some + all == 100 && some > 20 && all > 1);
}

/* Completions are flushed and the death is told, in any order, each once, and soon. */
static void killing_the_target_ends_everything_in_a_seeded_order(void **state)
{
    (void)state;
    size_t down_first = 0, down_last = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fx *f = fx_start(fx_new(seed));
        for (uint64_t i = 0; i < 6; i++)
            fx_write(f, 0, 1, i * PAGE, PAGE, i);
        fx_run(f, 6000);
        tp_simnet_kill(f->net, 1);
        uint64_t t0 = fl_evq_now_ns(f->q);
        fx_run(f, 100 * FL_NS_PER_MS);
        struct fx_entry *down = fx_find(&f->node[0], FX_DOWN, 0);
        assert_non_null(down);
        assert_int_equal(down->status, FL_EPEERDEAD);
        assert_int_equal(down->tag, 1);
        assert_true(down->t_ns - t0 < 2 * FL_NS_PER_MS);
        size_t before = 0, after = 0;
        for (uint64_t i = 0; i < 6; i++) {
            int st = fx_status(&f->node[0], i);
            assert_true(st == FL_ECONN || st == FL_EPEERDEAD);
            before += fx_done_of(&f->node[0], i) < down;
            after += fx_done_of(&f->node[0], i) > down;
        }
        down_first += before == 0;
        down_last += after == 0;
        assert_int_equal(fx_count(&f->node[0], FX_DOWN), 1);
        fx_write(f, 0, 1, 0, 64, 50);
        fx_send(f, 0, 1, FL_MSG_OPEN_REQ, 0, 51);
        fx_fence(f, 0, 1, 52);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 50), FL_EPEERDEAD);
        assert_int_equal(fx_status(&f->node[0], 51), FL_EPEERDEAD);
        assert_int_equal(fx_status(&f->node[0], 52), FL_EPEERDEAD);
        fx_free(f);
    }
    assert_true(down_first >= 2 && down_last >= 2);
}

static void a_paused_target_serves_nothing_and_then_everything_in_order(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    f->cfg.heartbeat_ns = 0;
    fx_start(f);
    tp_simnet_pause(f->net, 1, true);
    for (uint64_t i = 0; i < 4; i++) {
        f->node[0].mem[i] = (uint8_t)(i + 1);
        struct tp_rma op = fx_op(f, 0, 1, 0, 1, i);
        op.local = f->node[0].mem + i; /* all to the same byte */
        fx_write_op(f, 0, &op);
        fx_send(f, 0, 1, FL_MSG_OPEN_REQ, i, 10 + i);
    }
    fx_run(f, 5 * FL_NS_PER_MS);
    assert_int_equal(f->landed_bytes, 0);
    assert_int_equal(fx_count(&f->node[1], FX_MSG), 0);
    tp_simnet_pause(f->net, 1, false);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(f->node[1].mem[0], 4);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(fx_status(&f->node[0], i), FL_OK);
        assert_int_equal(fx_find(&f->node[1], FX_MSG, i)->seq, i);
    }
    fx_free(f);
}

static void a_paused_node_hears_after_it_goes_on(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    fx_write(f, 0, 1, 0, 64, 1);
    tp_simnet_pause(f->net, 0, true);
    size_t before = f->node[0].count;
    fx_run(f, 2 * FL_NS_PER_MS);
    assert_int_equal(f->node[0].count, before);
    tp_simnet_pause(f->net, 0, false);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
    assert_int_equal(fx_count(&f->node[0], FX_DOWN), 0);
    fx_free(f);
}

static void pause_during_a_landing_stops_it(void **state)
{
    (void)state;
    struct fx *f = fx_new(4);
    f->cfg.heartbeat_ns = 0;
    fx_start(f);
    tp_simnet_link(f->net, 0, 1, 1000, 100 * 1000 * 1000); /* 4 KiB take 330 us */
    memset(f->node[0].mem, 7, PAGE);
    fx_write(f, 0, 1, 0, PAGE, 1);
    fx_run(f, 150 * FL_NS_PER_US);
    tp_simnet_pause(f->net, 1, true);
    size_t at_pause = prefix(f->node[1].mem, 7);
    assert_true(at_pause > 0 && at_pause < PAGE);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(prefix(f->node[1].mem, 7), at_pause);
    tp_simnet_pause(f->net, 1, false);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(prefix(f->node[1].mem, 7), PAGE);
    assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
    fx_free(f);
}

/* Cut the answers only: the write lands, its completion waits for the heal. */
static void a_cut_is_one_way(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    f->cfg.heartbeat_ns = 0;
    fx_start(f);
    f->node[0].mem[0] = 5;
    tp_simnet_cut(f->net, 1, 0, true);
    fx_write(f, 0, 1, 0, 64, 1);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(f->node[1].mem[0], 5);
    assert_null(fx_done_of(&f->node[0], 1));
    tp_simnet_cut(f->net, 1, 0, false);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
    fx_free(f);
}

/* What was held keeps its order against what is sent after the heal. */
static void order_survives_cut_and_heal(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct fx *f = fx_new(seed);
        f->cfg.heartbeat_ns = 0;
        f->cfg.window_ops = 100;
        fx_start(f);
        for (uint64_t i = 0; i < 60; i++) {
            struct tp_rma op = fx_op(f, 0, 1, 0, 512, i);
            op.local = f->node[0].mem + PAGE + i * 512;
            memset(op.local, (int)(i + 1), 512);
            fx_write_op(f, 0, &op);
            fx_run(f, seed * 97);
            if (i % 20 == 5)
                tp_simnet_cut(f->net, 0, 1, true);
            if (i % 20 == 12)
                tp_simnet_cut(f->net, 0, 1, false);
            assert_int_equal(f->land_before <= f->land_after, 1);
        }
        fx_run(f, FL_NS_PER_MS);
        for (int i = 0; i < 512; i++)
            assert_int_equal(f->node[1].mem[i], 60);
        fx_free(f);
    }
}

static void rate_and_delay_are_those_of_the_link(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    tp_simnet_link(f->net, 0, 1, 100 * FL_NS_PER_US, 1000 * 1000 * 1000);
    uint64_t t0 = fl_evq_now_ns(f->q);
    for (uint64_t i = 0; i < 8; i++) /* 8 pages at 1 Gbit/s share the wire: 33 us each */
        fx_write(f, 0, 1, i * PAGE, PAGE, i);
    fx_run(f, 10 * FL_NS_PER_MS);
    uint64_t last = fx_done_of(&f->node[0], 7)->t_ns - t0;
    assert_true(last > (200 + 8 * 33) * FL_NS_PER_US && last < (225 + 8 * 34) * FL_NS_PER_US);
    fx_free(f);
}

static void land_hook_sees_old_and_new_bytes(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    memset(f->node[0].mem + 640, 9, 64);
    memset(f->node[1].mem + 640, 3, 64);
    fx_write(f, 0, 1, 640, 64, 1);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(f->land_calls, 1);
    assert_int_equal(f->land_last_off, 640);
    assert_int_equal(f->land_before, 3);
    assert_int_equal(f->land_after, 9);
    fx_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_lands_in_pieces),
        cmocka_unit_test(killing_the_writer_cuts_its_write),
        cmocka_unit_test(killing_the_target_ends_everything_in_a_seeded_order),
        cmocka_unit_test(a_paused_target_serves_nothing_and_then_everything_in_order),
        cmocka_unit_test(a_paused_node_hears_after_it_goes_on),
        cmocka_unit_test(pause_during_a_landing_stops_it),
        cmocka_unit_test(a_cut_is_one_way),
        cmocka_unit_test(order_survives_cut_and_heal),
        cmocka_unit_test(rate_and_delay_are_those_of_the_link),
        cmocka_unit_test(land_hook_sees_old_and_new_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
