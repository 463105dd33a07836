/* SPDX-License-Identifier: Apache-2.0 */
/* What a node makes of a core's one-sided operations, seen at a port that only writes them down. */
#include <stdlib.h>
#include <string.h>

#include "coherence/tracker_actor.h"
#include "emu/node_priv.h"
#include "tests/support/plans.h"

enum { SPANS_MAX = 64 };

struct desk {
    struct tp_port port; /* first */
    struct plan *plan;
    struct emu_node *node;
    struct tp_rma spans[SPANS_MAX];
    unsigned reads, writes;
};

static void p_read(struct tp_port *p, const struct tp_rma *op)
{
    struct desk *d = (struct desk *)(void *)p;
    (void)op;
    d->reads++;
}

static void p_write(struct tp_port *p, const struct tp_rma *op)
{
    struct desk *d = (struct desk *)(void *)p;
    assert_true(d->writes < SPANS_MAX);
    d->spans[d->writes++] = *op;
}

static void p_close(struct tp_port **p)
{
    *p = NULL;
}

static const struct tp_port_ops port_ops = {.read = p_read, .write = p_write, .close = p_close};

static uint64_t l_now(void *arg)
{
    (void)arg;
    return 1000;
}

static void l_wake_soon(void *arg, struct emu_node *n)
{
    (void)arg;
    (void)n;
}

static void t_wake(void *arg, uint32_t ticket)
{
    (void)arg;
    (void)ticket;
}

static struct desk *desk_new(const char *plant)
{
    struct desk *d = calloc(1, sizeof *d);
    struct coh_tracker *trk = NULL;

    assert_non_null(d);
    d->port.ops = &port_ops;
    d->plan = plans_new("");
    if (plant != NULL) {
        assert_int_equal(fl_plant_add(&d->plan->plants, plant), FL_OK);
    }
    const struct coh_actor_cfg t = {
        .base = {.threads_max = 2, .cached_pages_max = 64}, .sight = COH_EXACT, .wake = t_wake};
    assert_int_equal(coh_actor_new(&t, &trk, NULL), FL_OK);
    const struct emu_node_cfg c = {.plan = d->plan,
                                   .self = 0,
                                   .incarnation = 1,
                                   .loop = {.now_ns = l_now, .wake_soon = l_wake_soon},
                                   .tracker = trk};
    assert_int_equal(emu_node_new(&c, &d->node, NULL), FL_OK);
    d->node->port = &d->port;
    return d;
}

static void desk_free(struct desk *d)
{
    emu_node_free(&d->node);
    free(d->plan);
    free(d);
}

static struct fl_rma rma(uint32_t buf, uint32_t page, fl_mask mask)
{
    return (struct fl_rma){.tag = 100 + buf,
                           .slot = {1, 0, page},
                           .page = page,
                           .buf = buf,
                           .mask = mask,
                           .deadline_ns = FL_NS_PER_S};
}

static void one_span_for_each_run_of_lines(void **state)
{
    struct desk *d = desk_new(NULL);
    struct fl_rma op = rma(2, 5, 0x8000000000000007U);

    (void)state;
    node_rma_write(&d->node->env, &op);
    assert_int_equal(d->writes, 0); /* held back to the end of the step */
    node_flush_spans(d->node);
    assert_int_equal(d->writes, 2);
    assert_int_equal(d->spans[0].len_bytes, 3 * FL_LINE_BYTES);
    assert_int_equal(d->spans[0].remote_off, 5 * FL_PAGE_BYTES);
    assert_ptr_equal(d->spans[0].local, node_buf(d->node, 2));
    assert_false(d->spans[0].last);
    assert_int_equal(d->spans[1].len_bytes, FL_LINE_BYTES);
    assert_int_equal(d->spans[1].remote_off, 6 * FL_PAGE_BYTES - FL_LINE_BYTES);
    assert_true(d->spans[1].last);
    assert_int_equal(d->spans[1].announce_bytes, 4 * FL_LINE_BYTES);
    desk_free(d);
}

/* An operation is answered once, after its last span, with the first error. */
static void spans_share_one_answer(void **state)
{
    struct desk *d = desk_new(NULL);
    struct tp_handler h = emu_node_handler(d->node);
    struct fl_rma op = rma(0, 1, 5);

    (void)state;
    node_rma_write(&d->node->env, &op);
    node_flush_spans(d->node);
    h.done(h.arg, d->spans[1].tag, FL_ETIMEDOUT);
    assert_int_equal(d->node->ev_count, 0);
    h.done(h.arg, d->spans[0].tag, FL_OK);
    assert_int_equal(d->node->ev_count, 1);
    assert_int_equal(d->node->events[0].kind, FL_EV_DONE);
    assert_int_equal(d->node->events[0].tag, 100);
    assert_int_equal(d->node->events[0].status, FL_ETIMEDOUT);
    desk_free(d);
}

static void neighbours_in_pool_and_buffers_are_merged(void **state)
{
    struct desk *d = desk_new(NULL);
    struct tp_handler h = emu_node_handler(d->node);
    struct fl_rma a = rma(0, 1, FL_MASK_ALL), b = rma(1, 2, FL_MASK_ALL),
                  c = rma(3, 3, FL_MASK_ALL);

    (void)state;
    node_rma_write(&d->node->env, &a);
    node_rma_write(&d->node->env, &b);
    node_rma_write(&d->node->env, &c); /* its buffer is not the next one */
    node_flush_spans(d->node);
    assert_int_equal(d->writes, 2);
    assert_int_equal(d->spans[0].len_bytes, 2 * FL_PAGE_BYTES);
    assert_int_equal(d->spans[0].announce_bytes, 2 * FL_PAGE_BYTES);
    h.done(h.arg, d->spans[0].tag, FL_OK);
    assert_int_equal(d->node->ev_count, 2); /* both are answered */
    desk_free(d);
}

static void planted_neighbour_bytes(void **state)
{
    struct desk *d = desk_new("W-neighbour");
    struct fl_rma inside = rma(0, 1, 1), at_end = rma(4, 9, UINT64_C(1) << 63);

    (void)state;
    node_rma_write(&d->node->env, &inside);
    node_rma_write(&d->node->env, &at_end);
    node_flush_spans(d->node);
    assert_int_equal(d->spans[0].len_bytes, FL_LINE_BYTES + 8);
    assert_int_equal(d->spans[1].len_bytes, FL_LINE_BYTES); /* never beyond the page */
    desk_free(d);
}

/* Nothing is posted, and the core is told. */
static void checksums_and_shares_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct desk *d = desk_new(NULL);
        struct fl_rma op = rma(0, 1, FL_MASK_ALL);

        op.want_sum = i < 2;
        op.share = i < 2 ? 0 : 1;
        if (i % 2 == 0) {
            node_rma_read(&d->node->env, &op);
        } else {
            node_rma_write(&d->node->env, &op);
        }
        node_flush_spans(d->node);
        assert_int_equal(d->reads + d->writes, 0);
        assert_int_equal(d->node->ev_count, 1);
        assert_int_equal(d->node->events[0].kind, FL_EV_DONE);
        assert_int_equal(d->node->events[0].tag, 100);
        assert_int_equal(d->node->events[0].status, FL_ENOSYS);
        assert_int_equal(d->node->page_grain_bytes, 0);
        desk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_span_for_each_run_of_lines),
        cmocka_unit_test(spans_share_one_answer),
        cmocka_unit_test(neighbours_in_pool_and_buffers_are_merged),
        cmocka_unit_test(planted_neighbour_bytes),
        cmocka_unit_test(checksums_and_shares_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
