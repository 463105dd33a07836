/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sim_fixture.h"

enum { PAGE = 4096 };

static void both_sides_learn_of_each_other(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    fx_port(f, 0, 4);
    fx_port(f, 1, 9);
    fx_connect(f, 0, 1);
    fx_connect(f, 1, 0); /* both try: one connection comes of it */
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[0], FX_UP), 1);
    assert_int_equal(fx_count(&f->node[1], FX_UP), 1);
    assert_int_equal(fx_find(&f->node[0], FX_UP, 0)->tag, 9);
    assert_int_equal(fx_find(&f->node[1], FX_UP, 0)->tag, 4);
    fx_write(f, 0, 1, 0, 64, 1);
    fx_write(f, 1, 0, 64, 64, 2);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
    assert_int_equal(fx_status(&f->node[1], 2), FL_OK);
    fx_free(f);
}

static void a_peer_with_another_key_is_refused(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    fx_port(f, 0, 1);
    f->cfg.key[5] = 1;
    fx_port(f, 1, 1);
    fx_connect(f, 0, 1);
    fx_write(f, 0, 1, 0, 64, 1);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[0], FX_UP), 0);
    assert_int_equal(fx_find(&f->node[0], FX_DOWN, 0)->status, FL_EAUTH);
    assert_int_equal(fx_status(&f->node[0], 1), FL_ECONN);
    assert_int_equal(f->node[1].count, 0);
    fx_free(f);
}

static void nobody_there_and_nothing_heard_have_names(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    fx_port(f, 0, 1);
    fx_port(f, 1, 1);
    f->addr[2] = f->addr[1];
    f->addr[2].bytes[4] = 2;
    fx_connect(f, 0, 2);
    tp_simnet_cut(f->net, 0, 1, true);
    fx_connect(f, 0, 1);
    fx_run(f, FL_NS_PER_S);
    assert_int_equal(fx_count(&f->node[0], FX_DOWN), 2);
    assert_int_equal(fx_find(&f->node[0], FX_DOWN, 0)->status, FL_ECONN);
    assert_int_equal(fx_find(&f->node[0], FX_DOWN, 1)->status, FL_ETIMEDOUT);
    struct fl_errmsg err;
    struct tp_port *p = f->node[0].port;
    assert_int_equal(p->ops->connect(p, 1, &f->addr[2], &err), FL_EINVAL);
    assert_int_equal(p->ops->connect(p, 17, &f->addr[2], &err), FL_EINVAL);
    fx_free(f);
}

static void clean_close_is_told_with_ok(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    fx_send(f, 0, 1, FL_MSG_CLOSE_REQ, 1, 1);
    f->node[0].port->ops->close(&f->node[0].port);
    assert_null(f->node[0].port);
    fx_run(f, 100 * FL_NS_PER_MS);
    assert_int_equal(fx_find(&f->node[1], FX_DOWN, 0)->status, FL_OK);
    assert_int_equal(fx_find(&f->node[2], FX_DOWN, 0)->status, FL_OK);
    assert_int_equal(fx_count(&f->node[1], FX_DOWN), 1);
    fx_free(f);
}

/* W-f3: a write is stuck in the old connection. After a fence it never lands; without one, it
 * lands over newer bytes. */
static void old_writes_land_without_a_fence_and_never_after_one(void **state)
{
    (void)state;
    for (int fenced = 0; fenced < 2; fenced++) {
        struct fx *f = fx_new(1);
        f->cfg.heartbeat_ns = 0;
        fx_start(f);
        tp_simnet_cut(f->net, 0, 1, true);
        f->node[0].mem[0] = 5;
        fx_write(f, 0, 1, 0, 64, 1);
        fx_run(f, 15 * FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 1), FL_ETIMEDOUT);
        if (fenced) {
            fx_fence(f, 0, 1, 2);
            fx_run(f, FL_NS_PER_MS);
        }
        tp_simnet_cut(f->net, 0, 1, false);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(f->node[1].mem[0], 5); /* it went ahead of the fence, or alone */
        f->node[1].mem[0] = 0;
        fx_free(f);
    }
    size_t landed_late = 0, dropped = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fx *f = fx_start(fx_new(seed));
        memset(f->node[0].mem, 5, PAGE);
        fx_write(f, 0, 1, 0, PAGE, 1);
        fx_run(f, seed * 100);
        fx_fence(f, 0, 1, 2);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 1), FL_EFENCED);
        assert_int_equal(fx_status(&f->node[0], 2), FL_OK);
        assert_true(fx_done_of(&f->node[0], 1) < fx_done_of(&f->node[0], 2));
        landed_late += f->landed_bytes > 0;
        dropped += f->landed_bytes < PAGE;
        memset(f->node[1].mem, 9, PAGE);
        fx_run(f, 100 * FL_NS_PER_MS);
        for (int i = 0; i < PAGE; i++) /* nothing after the fence was done */
            assert_int_equal(f->node[1].mem[i], 9);
        fx_write(f, 0, 1, 0, PAGE, 3);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 3), FL_OK);
        assert_memory_equal(f->node[1].mem, f->node[0].mem, PAGE);
        fx_free(f);
    }
    assert_true(dropped > 5 && landed_late > 0);
}

static void operations_during_a_fence_wait_for_it(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    fx_fence(f, 0, 1, 1);
    f->node[0].mem[0] = 5;
    fx_write(f, 0, 1, 0, 64, 2);
    fx_send(f, 0, 1, FL_MSG_OPEN_REQ, 0, 3);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
    assert_int_equal(fx_status(&f->node[0], 2), FL_OK);
    assert_int_equal(fx_status(&f->node[0], 3), FL_EAGAIN);
    assert_int_equal(fx_count(&f->node[0], FX_CREDIT), 1);
    assert_true(fx_done_of(&f->node[0], 1) < fx_done_of(&f->node[0], 2));
    assert_int_equal(f->node[1].mem[0], 5);
    assert_int_equal(fx_count(&f->node[0], FX_UP), 2); /* a fence is no new peer */
    fx_free(f);
}

static void an_unreachable_node_cannot_be_fenced(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    f->cfg.heartbeat_ns = 0;
    fx_start(f);
    tp_simnet_cut(f->net, 0, 1, true);
    fx_fence(f, 0, 1, 1);
    fx_write(f, 0, 1, 0, 64, 2);
    fx_run(f, 30 * FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 1), FL_ETIMEDOUT);
    assert_int_not_equal(fx_status(&f->node[0], 2), FL_OK);
    /* After the heal the late request changes nothing, and the next fence works. */
    tp_simnet_cut(f->net, 0, 1, false);
    fx_run(f, 5 * FL_NS_PER_MS);
    fx_fence(f, 0, 1, 3);
    fx_write(f, 0, 1, 0, 64, 4);
    fx_run(f, 5 * FL_NS_PER_MS);
    assert_int_equal(fx_status(&f->node[0], 3), FL_OK);
    assert_int_equal(fx_status(&f->node[0], 4), FL_OK);
    fx_free(f);
}

static void two_fences_at_once_both_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fx *f = fx_start(fx_new(seed));
        fx_fence(f, 0, 1, 1);
        fx_fence(f, 0, 1, 2);
        fx_fence(f, 1, 0, 3);
        fx_run(f, 5 * FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 1), FL_OK);
        assert_int_equal(fx_status(&f->node[0], 2), FL_OK);
        assert_int_equal(fx_status(&f->node[1], 3), FL_OK);
        fx_write(f, 0, 1, 0, 64, 4);
        fx_write(f, 1, 0, 0, 64, 5);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 4), FL_OK);
        assert_int_equal(fx_status(&f->node[1], 5), FL_OK);
        fx_free(f);
    }
}

/* A stopped peer shows nothing; heartbeats tell, within their bound. */
static void silence_is_death_after_the_heartbeat_bound(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct fx *f = fx_start(fx_new(1));
        uint64_t t0 = fl_evq_now_ns(f->q);
        if (how == 0)
            tp_simnet_pause(f->net, 1, true);
        else
            tp_simnet_cut(f->net, 1, 0, true);
        struct tp_rma op = fx_op(f, 0, 1, 0, 64, 1);
        op.deadline_ns = FL_NS_PER_S;
        fx_write_op(f, 0, &op);
        fx_run(f, 50 * FL_NS_PER_MS);
        struct fx_entry *down = fx_find(&f->node[0], FX_DOWN, 0);
        assert_non_null(down);
        assert_int_equal(down->peer, 1);
        assert_int_equal(down->status, FL_ETIMEDOUT);
        assert_true(down->t_ns - t0 >= 5 * FL_NS_PER_MS && down->t_ns - t0 <= 6 * FL_NS_PER_MS);
        assert_int_not_equal(fx_status(&f->node[0], 1), FL_OK);
        assert_int_equal(fx_count(&f->node[2], FX_DOWN), 0);
        /* The other side learns when it hears again, and a fence brings the pair up. */
        if (how == 0)
            tp_simnet_pause(f->net, 1, false);
        else
            tp_simnet_cut(f->net, 1, 0, false);
        fx_run(f, 10 * FL_NS_PER_MS);
        assert_int_equal(fx_count(&f->node[1], FX_DOWN), 1);
        fx_fence(f, 0, 1, 7);
        fx_run(f, FL_NS_PER_MS);
        assert_int_equal(fx_status(&f->node[0], 7), FL_OK);
        assert_int_equal(fx_count(&f->node[0], FX_UP), 3);
        assert_int_equal(fx_count(&f->node[1], FX_UP), 2);
        fx_free(f);
    }
}

static void short_silence_is_no_death(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    for (int i = 0; i < 5; i++) {
        tp_simnet_pause(f->net, 1, true);
        tp_simnet_cut(f->net, 2, 0, true);
        fx_run(f, 4 * FL_NS_PER_MS);
        tp_simnet_pause(f->net, 1, false);
        tp_simnet_cut(f->net, 2, 0, false);
        fx_run(f, FL_NS_PER_MS);
    }
    fx_run(f, 50 * FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[0], FX_DOWN), 0);
    fx_free(f);
}

/* A restarted node is another incarnation; nothing of the former one reaches it. */
static void a_restarted_node_is_another_incarnation(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    f->node[0].mem[0] = 5;
    fx_write(f, 0, 1, 0, 64, 1);
    tp_simnet_kill(f->net, 1);
    fx_port(f, 1, 2);
    fx_run(f, 10 * FL_NS_PER_MS);
    assert_int_equal(f->node[1].mem[0], 0);
    assert_int_equal(fx_count(&f->node[0], FX_DOWN), 1);
    fx_connect(f, 0, 1);
    fx_write(f, 0, 1, 0, 64, 2);
    fx_run(f, 10 * FL_NS_PER_MS);
    assert_int_equal(fx_find(&f->node[0], FX_UP, 2)->tag, 2);
    assert_int_equal(fx_status(&f->node[0], 2), FL_OK);
    assert_int_equal(f->node[1].mem[0], 5);
    fx_free(f);
}

/* Muted: neither side hears the other, whoever was muted, and credits wait. */
static void a_muted_port_is_silent(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct fx *f = fx_start(fx_new(1));
        struct tp_port *p = f->node[silent].port;
        for (int i = 0; i < 5; i++) {
            p->ops->mute(p, (uint16_t)!silent, true);
            fx_run(f, 4 * FL_NS_PER_MS);
            p->ops->mute(p, (uint16_t)!silent, false);
            fx_run(f, FL_NS_PER_MS);
        }
        assert_int_equal(fx_count(&f->node[0], FX_DOWN), 0);
        p->ops->mute(p, (uint16_t)!silent, true);
        fx_run(f, 20 * FL_NS_PER_MS);
        assert_int_equal(fx_find(&f->node[0], FX_DOWN, 0)->peer, 1);
        assert_int_equal(fx_count(&f->node[0], FX_DOWN), 1);
        assert_int_equal(fx_count(&f->node[1], FX_DOWN), 1);
        bool first = fx_find(&f->node[0], FX_DOWN, 0)->status == FL_ETIMEDOUT;
        bool second = fx_find(&f->node[1], FX_DOWN, 0)->status == FL_ETIMEDOUT;
        assert_true(first || second);
        fx_free(f);
    }
}

static void credits_wait_while_muted(void **state)
{
    (void)state;
    struct fx *f = fx_new(1);
    f->cfg.heartbeat_ns = 0;
    fx_start(f);
    struct tp_port *p = f->node[1].port;
    p->ops->mute(p, 0, true);
    for (uint64_t i = 0; i < 5; i++)
        fx_send(f, 0, 1, FL_MSG_OPEN_REQ, i, i);
    fx_run(f, 10 * FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[1], FX_MSG), 4);
    assert_int_equal(fx_status(&f->node[0], 4), FL_EAGAIN);
    assert_int_equal(fx_count(&f->node[0], FX_CREDIT), 0);
    p->ops->mute(p, 0, false);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[0], FX_CREDIT), 1);
    fx_send(f, 0, 1, FL_MSG_OPEN_REQ, 9, 9);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[1], FX_MSG), 5);
    fx_free(f);
}

/* A node whose peer is made only now hears nothing either. */
static void a_mute_outlives_its_peer(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    struct tp_port *p = f->node[0].port;
    tp_simnet_kill(f->net, 1);
    fx_run(f, 10 * FL_NS_PER_MS);
    p->ops->mute(p, 1, true);
    fx_port(f, 1, 2);
    fx_connect(f, 0, 1);
    fx_run(f, 20 * FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[1], FX_UP), 2);
    assert_int_equal(fx_count(&f->node[1], FX_DOWN), 1);
    fx_free(f);
}

static void severed_connections_are_told_and_can_be_made_again(void **state)
{
    (void)state;
    struct fx *f = fx_start(fx_new(1));
    struct fx_node *n = &f->node[0];
    fx_write(f, 0, 1, 0, 4096, 1);
    n->inside = true;
    n->port->ops->sever(n->port, 1, FL_ECORRUPT);
    n->port->ops->sever(n->port, 1, FL_ECORRUPT); /* once */
    n->port->ops->sever(n->port, 0, FL_ECORRUPT); /* nobody */
    n->inside = false;
    fx_run(f, 10 * FL_NS_PER_MS);
    assert_int_equal(fx_count(n, FX_DOWN), 1);
    assert_int_equal(fx_find(n, FX_DOWN, 0)->status, FL_ECORRUPT);
    assert_int_equal(fx_find(&f->node[1], FX_DOWN, 0)->status, FL_ECONN);
    assert_int_equal(fx_status(n, 1), FL_ECONN);
    fx_connect(f, 0, 1);
    fx_run(f, FL_NS_PER_MS);
    fx_write(f, 0, 1, 0, 4096, 2);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_status(n, 2), FL_OK);
    fx_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_learn_of_each_other),
        cmocka_unit_test(a_peer_with_another_key_is_refused),
        cmocka_unit_test(nobody_there_and_nothing_heard_have_names),
        cmocka_unit_test(clean_close_is_told_with_ok),
        cmocka_unit_test(old_writes_land_without_a_fence_and_never_after_one),
        cmocka_unit_test(operations_during_a_fence_wait_for_it),
        cmocka_unit_test(an_unreachable_node_cannot_be_fenced),
        cmocka_unit_test(two_fences_at_once_both_end),
        cmocka_unit_test(silence_is_death_after_the_heartbeat_bound),
        cmocka_unit_test(short_silence_is_no_death),
        cmocka_unit_test(a_restarted_node_is_another_incarnation),
        cmocka_unit_test(a_muted_port_is_silent),
        cmocka_unit_test(credits_wait_while_muted),
        cmocka_unit_test(a_mute_outlives_its_peer),
        cmocka_unit_test(severed_connections_are_told_and_can_be_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
