/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "transport/sim_int.h"

static struct tp_simnet net;
static struct sim_port port;
static struct sim_half half;

static int setup(void **state)
{
    (void)state;
    memset(&net, 0, sizeof net);
    memset(&half, 0, sizeof half);
    port.net = &net;
    half.port = &port;
    half.peer = 3;
    return 0;
}

static void packets_and_buffers_are_used_again(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct sim_pkt *a = sim_pkt_new(&net, SIM_WRITE, &half);
        struct sim_pkt *b = sim_pkt_new(&net, SIM_MSG, &half);
        assert_true(a != b && a->dst == 3);
        sim_pkt_buf(&net, b, (size_t)i * 7 + 1);
        memset(b->buf, 1, b->buf_bytes);
        sim_pkt_free(&net, a);
        sim_pkt_free(&net, b);
    }
    assert_int_equal(net.block_count, 1);
    sim_pool_free(&net);
}

/* The first that waits is known, whichever is taken out. */
static void waiting_operations_keep_their_order(void **state)
{
    (void)state;
    struct sim_pkt *p[4];
    struct sim_ops *l = &half.ops[FL_NORMAL];
    for (int i = 0; i < 4; i++) {
        p[i] = sim_pkt_new(&net, SIM_WRITE, &half);
        p[i]->cls = FL_NORMAL;
        sim_op_link(p[i]);
    }
    assert_ptr_equal(l->waiting, p[0]);
    l->waiting = p[1]; /* the first is posted */
    p[0]->stage = SIM_OUT;
    sim_pkt_free(&net, p[1]);
    assert_ptr_equal(l->waiting, p[2]);
    sim_pkt_free(&net, p[0]);
    assert_ptr_equal(l->head, p[2]);
    sim_pkt_free(&net, p[3]);
    assert_ptr_equal(l->tail, p[2]);
    sim_pkt_free(&net, p[2]);
    assert_null(l->head);
    assert_null(l->waiting);
    sim_pool_free(&net);
}

/* What nobody takes stays until its owner has been told. */
static void lost_packets_wait_for_their_owner(void **state)
{
    (void)state;
    struct sim_pkt *p = sim_pkt_new(&net, SIM_READ, &half);
    sim_op_link(p);
    half.ops[p->cls].waiting = NULL;
    p->stage = SIM_OUT;
    sim_pkt_lost(&net, p);
    assert_int_equal(p->stage, SIM_LOST);
    assert_ptr_equal(half.ops[p->cls].head, p);
    p->reported = true;
    sim_pkt_lost(&net, p);
    assert_null(half.ops[p->cls].head);
    sim_pool_free(&net);
}

static void fifos_give_back_in_order(void **state)
{
    (void)state;
    struct sim_list l = {0};
    struct sim_pkt p[3];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++)
            sim_fifo_add(&l, &p[i]);
        for (int i = 0; i < 3; i++)
            assert_ptr_equal(sim_fifo_take(&l), &p[i]);
        assert_null(sim_fifo_take(&l));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(packets_and_buffers_are_used_again, setup),
        cmocka_unit_test_setup(waiting_operations_keep_their_order, setup),
        cmocka_unit_test_setup(lost_packets_wait_for_their_owner, setup),
        cmocka_unit_test_setup(fifos_give_back_in_order, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
