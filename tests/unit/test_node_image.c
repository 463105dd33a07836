/* SPDX-License-Identifier: Apache-2.0 */
/* emu/node_image.c: a memory node is stopped at any site of a batch and made again from what its
 * image was at that moment. */
#include <stdlib.h>
#include <string.h>

#include "emu/node_priv.h"
#include "tests/support/plans.h"

enum { ENTRIES = 3 };

struct box {
    struct tp_port port; /* first */
    struct plan *plan;
    struct emu_node *node;
    uint8_t *image, *copy; /* copy: as it was when the node passed @stop for the @nth time */
    size_t bytes;
    enum fl_site stop;
    uint64_t nth;
    unsigned sent;
    int status;
};

static void p_send(struct tp_port *p, uint16_t peer, const struct fl_msg *m,
                   const uint8_t *const *lines, uint64_t tag)
{
    struct box *b = (struct box *)(void *)p;

    (void)peer;
    (void)lines;
    (void)tag;
    b->sent++;
    b->status = m->status;
}

static void p_close(struct tp_port **p)
{
    *p = NULL;
}

static const struct tp_port_ops port_ops = {.send = p_send, .close = p_close};

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

static void l_site(void *arg, struct emu_node *n, enum fl_site site, uint64_t nth)
{
    struct box *b = arg;

    (void)n;
    if (site == b->stop && nth == b->nth)
        memcpy(b->copy, b->image, b->bytes);
}

static struct emu_node *make(struct box *b, uint8_t *image, uint64_t incarnation)
{
    const struct emu_node_cfg c = {
        .plan = b->plan,
        .self = 1,
        .incarnation = incarnation,
        .loop = {.arg = b, .now_ns = l_now, .wake_soon = l_wake_soon, .site = l_site},
        .image = image};
    struct emu_node *n = NULL;

    assert_int_equal(emu_node_new(&c, &n, NULL), FL_OK);
    n->port = &b->port;
    return n;
}

static void box_new(struct box *b)
{
    struct fl_msg open = {.type = FL_MSG_OPEN_REQ, .chunk = 0, .a = 1, .count = 8};

    memset(b, 0, sizeof *b);
    b->port.ops = &port_ops;
    b->plan = plans_new("");
    b->bytes = emu_node_image_bytes(b->plan, 1);
    b->image = calloc(1, b->bytes);
    b->copy = calloc(1, b->bytes);
    b->node = make(b, b->image, 1);
    node_step_msg(b->node, 0, &open, NULL, 0);
    assert_int_equal(b->status, FL_OK);
}

static void box_free(struct box *b)
{
    emu_node_free(&b->node);
    free(b->image);
    free(b->copy);
    free(b->plan);
}

/** One batch: line 0 of pages 0, 1, 2 becomes @value. */
static void batch(struct box *b, uint64_t seq, int value)
{
    static uint8_t payload[ENTRIES * FL_LINE_BYTES];
    struct fl_msg m = {.type = FL_MSG_LOG_BATCH, .epoch = 1, .seq = seq, .entry_count = ENTRIES};

    memset(payload, value, sizeof payload);
    for (uint32_t i = 0; i < ENTRIES; i++)
        m.entries[i] = (struct fl_msg_entry){.page = i, .mask = 1, .seq = seq};
    node_step_msg(b->node, 0, &m, payload, sizeof payload);
    assert_int_equal(b->status, FL_OK);
}

/** The first byte of pages 0, 1, 2 as one number. */
static int pages_of(const uint8_t *pool)
{
    return pool[0] * 100 + pool[FL_PAGE_BYTES] * 10 + pool[2 * FL_PAGE_BYTES];
}

/** What a node that opens the copy finds. */
static int reopened(struct box *b, bool *ret_completed)
{
    struct emu_node *n = make(b, b->copy, 2);

    *ret_completed = n->recovered;
    emu_node_free(&n);
    return pages_of(b->copy);
}

static void a_batch_is_old_or_new_wherever_the_node_stops(void **state)
{
    static const struct {
        enum fl_site stop;
        uint64_t nth;
        int raw, found;
        bool completed;
    } stops[] = {
        {FL_SITE_LOG_RX, 2, 111, 111, false},    /* not yet recorded */
        {FL_SITE_LOG_COMMIT, 2, 111, 222, true}, /* recorded, nothing unpacked */
        {FL_SITE_LOG_APPLY, 4, 211, 222, true},  /* one page of it is there */
        {FL_SITE_LOG_APPLY, 6, 222, 222, true},  /* all of it, the record still stands */
    };

    (void)state;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        struct box b;
        bool completed;

        box_new(&b);
        b.stop = stops[i].stop;
        b.nth = stops[i].nth;
        batch(&b, 1, 1);
        batch(&b, 2, 2);
        assert_int_equal(pages_of(b.image), 222);
        assert_int_equal(pages_of(b.copy), stops[i].raw);
        assert_int_equal(reopened(&b, &completed), stops[i].found);
        assert_int_equal(completed, stops[i].completed);
        assert_int_equal(reopened(&b, &completed), stops[i].found); /* once is enough */
        assert_false(completed);
        box_free(&b);
    }
}

static void a_record_that_is_damaged_counts_as_none(void **state)
{
    struct box b;
    bool completed;

    (void)state;
    box_new(&b);
    b.stop = FL_SITE_LOG_COMMIT;
    b.nth = 2;
    batch(&b, 1, 1);
    batch(&b, 2, 2);
    size_t pool = b.plan->nodes[1].memory_bytes;
    for (size_t i = b.bytes; i > pool; i--) /* a byte of its payload */
        if (b.copy[i - 1] == 2) {
            b.copy[i - 1] = 3;
            break;
        }
    assert_int_equal(reopened(&b, &completed), 111);
    assert_false(completed);
    box_free(&b);
}

/* Entries that are not newer than what is there stay out, also when a batch is completed. */
static void a_completed_batch_leaves_stale_entries_out(void **state)
{
    struct box b;
    bool completed;

    (void)state;
    box_new(&b);
    batch(&b, 1, 1);
    batch(&b, 3, 3);
    b.stop = FL_SITE_LOG_COMMIT;
    b.nth = 3;
    batch(&b, 2, 2); /* all of it is old: no record */
    assert_int_equal(pages_of(b.image), 333);
    assert_int_equal(reopened(&b, &completed), 333);
    assert_false(completed);
    box_free(&b);
}

static void without_an_image_nothing_is_recorded(void **state)
{
    struct box b;

    (void)state;
    box_new(&b);
    emu_node_free(&b.node);
    b.node = make(&b, NULL, 1);
    assert_false(node_image_record(b.node, 0));
    assert_false(node_image_recover(b.node));
    box_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_old_or_new_wherever_the_node_stops),
        cmocka_unit_test(a_record_that_is_damaged_counts_as_none),
        cmocka_unit_test(a_completed_batch_leaves_stale_entries_out),
        cmocka_unit_test(without_an_image_nothing_is_recorded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
