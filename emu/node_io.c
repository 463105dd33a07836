/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node sends through its fabric port. A core's operation on lines of a page becomes one span
 * per run of lines; spans are held back to the end of the step, when neighbouring ones can be
 * merged into one larger write.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/node_priv.h"

enum { NIL = 0xffffffffU };

/* Tags in the fabric: the kind in the top byte, an index below. */
#define TAG_FLIGHT (UINT64_C(1) << 56)
#define TAG_SEND (UINT64_C(2) << 56)
#define TAG_FENCE (UINT64_C(3) << 56)
#define TAG_KIND (UINT64_C(0xff) << 56)

static struct emu_node *of(struct fl_env *e)
{
    return (struct emu_node *)(void *)e;
}

uint64_t node_remote_off(const struct plan *p, struct fl_slot slot)
{
    uint64_t pages = slot.page;

    /* Chunks lie one behind the other in the pool, in the order of their ids. */
    for (unsigned r = 0; r < p->region_count; r++) {
        for (unsigned c = 0; c < p->regions[r].chunk_count; c++) {
            const struct plan_chunk *k = &p->regions[r].chunks[c];

            if (k->node == slot.node && k->chunk < slot.chunk) {
                pages += k->page_count;
            }
        }
    }
    return pages * FL_PAGE_BYTES;
}

uint8_t *node_slot(struct emu_node *n, uint16_t chunk, uint32_t page)
{
    if (n->pool == NULL || chunk >= MN_CHUNKS_MAX || page >= n->chunk_pages[chunk]) {
        return NULL;
    }
    return n->pool + n->chunk_off[chunk] + (uint64_t)page * FL_PAGE_BYTES;
}

/* --- one-sided operations ------------------------------------------------------------------- */

static uint32_t op_take(struct emu_node *n, const struct fl_rma *rma, bool write)
{
    uint32_t i = n->op_free;

    FL_ASSERT(i != NIL); /* the core owns fewer buffers than there are operations */
    n->op_free = n->ops[i].next_free;
    n->ops[i] = (struct node_op){.rma = *rma, .write = write};
    return i;
}

static uint32_t flight_take(struct emu_node *n)
{
    uint32_t i = n->flight_free;

    if (i != NIL) {
        n->flight_free = n->flights[i].next_free;
    } else {
        FL_ASSERT(n->flights_used < n->flight_count);
        i = n->flights_used++;
    }
    n->flights[i].op_count = 0;
    return i;
}

static void span_add(struct emu_node *n, uint32_t op_idx, unsigned first, unsigned count, bool last)
{
    struct node_op *op = &n->ops[op_idx];
    const struct fl_rma *r = &op->rma;
    uint64_t len = (uint64_t)count * FL_LINE_BYTES;
    uint32_t page_off = first * FL_LINE_BYTES;
    struct node_span *s;

    if (op->write && fl_planted(&n->cfg.plan->plants, FL_PLANT_NEIGHBOUR) &&
        page_off + len < FL_PAGE_BYTES) {
        len += 8;
    }
    if (op->write && n->oracle != NULL) {
        oracle_on_span(n->oracle, r, page_off, len);
    }
    FL_ASSERT(n->span_count < n->span_cap);
    s = &n->spans[n->span_count++];
    s->flight = flight_take(n);
    n->flights[s->flight].ops[n->flights[s->flight].op_count++] = op_idx;
    s->rma = (struct tp_rma){.tag = TAG_FLIGHT | s->flight,
                             .peer = r->slot.node,
                             .cls = r->cls,
                             .last = op->write && last,
                             .announce_bytes = fl_mask_count(r->mask) * FL_LINE_BYTES,
                             .remote_off = node_remote_off(n->cfg.plan, r->slot) + page_off,
                             .local = node_buf(n, r->buf) + page_off,
                             .len_bytes = (uint32_t)len,
                             .deadline_ns = r->deadline_ns,
                             .region = r->region,
                             .page = r->page,
                             .seq = r->seq};
    op->spans_left++;
}

/* Checksums and erasure codes: no fabric of this version has them. */
static bool unbuilt(struct emu_node *n, const struct fl_rma *rma)
{
    if (!rma->want_sum && rma->share == 0) {
        return false;
    }
    node_post(n, &(struct fl_event){.kind = FL_EV_DONE,
                                    .tag = rma->tag,
                                    .status = FL_ENOSYS,
                                    .node = rma->slot.node,
                                    .region = rma->region,
                                    .page = rma->page});
    return true;
}

static void op_post(struct emu_node *n, const struct fl_rma *rma, bool write)
{
    uint32_t idx = op_take(n, rma, write);
    fl_mask left = rma->mask;

    FL_ASSERT(rma->mask != 0 && rma->buf < n->buf_count);
    if (n->span_count + FL_PAGE_LINES / 2 > n->span_cap) {
        node_flush_spans(n);
    }
    while (left != 0) {
        unsigned first = fl_mask_first(left);
        fl_mask run = ~(left >> first);
        unsigned count = run == 0 ? FL_PAGE_LINES - first : fl_mask_first(run);

        left &= ~fl_mask_run(first, count);
        span_add(n, idx, first, count, left == 0);
    }
}

void node_rma_read(struct fl_env *e, const struct fl_rma *op)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_RMA_READ, op->region, op->page, op->mask, op->buf);
    if (!unbuilt(n, op)) {
        op_post(n, op, false);
    }
}

void node_rma_write(struct fl_env *e, const struct fl_rma *op)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_RMA_WRITE, op->region, op->page, op->mask, op->seq);
    if (unbuilt(n, op)) {
        return;
    }
    n->page_grain_bytes += FL_PAGE_BYTES;
    if (n->oracle != NULL) {
        oracle_on_hand(n->oracle, op, node_buf(n, op->buf));
        oracle_on_post(n->oracle, op, node_buf(n, op->buf));
    }
    op_post(n, op, true);
}

static bool mergeable(const struct emu_node *n, const struct node_span *a,
                      const struct node_span *b)
{
    return a->rma.peer == b->rma.peer && a->rma.cls == b->rma.cls &&
           a->rma.remote_off + a->rma.len_bytes == b->rma.remote_off &&
           a->rma.local + a->rma.len_bytes == b->rma.local &&
           a->rma.len_bytes + b->rma.len_bytes <= n->pn->merge_bytes &&
           n->flights[a->flight].op_count < NODE_MERGE_MAX &&
           n->ops[n->flights[b->flight].ops[0]].write;
}

static void merge(struct emu_node *n, struct node_span *a, struct node_span *b)
{
    struct node_flight *fa = &n->flights[a->flight], *fb = &n->flights[b->flight];

    fa->ops[fa->op_count++] = fb->ops[0];
    a->rma.len_bytes += b->rma.len_bytes;
    if (b->rma.last) {
        a->rma.announce_bytes =
            a->rma.last ? a->rma.announce_bytes + b->rma.announce_bytes : b->rma.announce_bytes;
        a->rma.last = 1;
    }
    fb->next_free = n->flight_free;
    n->flight_free = b->flight;
}

void node_flush_spans(struct emu_node *n)
{
    uint32_t count = n->span_count;

    n->span_count = 0;
    for (uint32_t i = 0; i < count;) {
        struct node_span s = n->spans[i];
        bool write = n->ops[n->flights[s.flight].ops[0]].write;

        for (i++; i < count && write && mergeable(n, &s, &n->spans[i]); i++) {
            merge(n, &s, &n->spans[i]);
        }
        if (write) {
            n->port->ops->write(n->port, &s.rma);
        } else {
            n->port->ops->read(n->port, &s.rma);
        }
    }
}

static void op_done(struct emu_node *n, uint32_t idx, int status)
{
    struct node_op *op = &n->ops[idx];
    struct fl_rma rma = op->rma;

    if (status != FL_OK && op->status == FL_OK) {
        op->status = status;
    }
    if (--op->spans_left > 0) {
        return;
    }
    if (op->write && n->oracle != NULL) {
        oracle_on_done(n->oracle, &rma, node_buf(n, rma.buf), op->status, node_now(n));
    }
    node_post(n, &(struct fl_event){.kind = FL_EV_DONE,
                                    .tag = rma.tag,
                                    .status = op->status,
                                    .node = rma.slot.node,
                                    .region = rma.region,
                                    .page = rma.page,
                                    .a = op->write ? NODE_TOLD_WRITE : 0});
    op->next_free = n->op_free;
    n->op_free = idx;
}

/* --- messages and fences -------------------------------------------------------------------- */

static uint32_t call_take(struct emu_node *n, uint64_t tag, uint16_t node)
{
    if (n->call_free == n->call_cap) { /* none left: as many again */
        uint32_t cap = n->call_cap ? 2 * n->call_cap : 16;

        n->calls = realloc(n->calls, cap * sizeof *n->calls);
        FL_ASSERT(n->calls != NULL);
        for (uint32_t i = n->call_cap; i < cap; i++) {
            n->calls[i].next_free = i + 1;
        }
        n->call_free = n->call_cap;
        n->call_cap = cap;
    }
    uint32_t i = n->call_free;

    n->call_free = n->calls[i].next_free;
    n->calls[i] = (struct node_call){.tag = tag, .node = node};
    return i;
}

static struct node_call call_give(struct emu_node *n, uint32_t i)
{
    struct node_call c;

    FL_ASSERT(i < n->call_cap);
    c = n->calls[i];
    n->calls[i].next_free = n->call_free;
    n->call_free = i;
    return c;
}

static struct fl_rma entry_rma(const struct node_batch *b, unsigned i)
{
    const struct fl_msg_entry *en = &b->entries[i];

    return (struct fl_rma){.tag = b->seq,
                           .slot = {b->node, en->chunk, en->page},
                           .region = en->region,
                           .page = b->slots[i].page,
                           .mask = en->mask,
                           .whole = (uint8_t)en->whole,
                           .buf = en->buf,
                           .seq = en->seq};
}

/* Page of the region that a page of a chunk backs. */
static uint32_t region_page(const struct plan_region *g, uint16_t node, uint16_t chunk,
                            uint32_t page)
{
    uint32_t first = 0;

    for (unsigned c = 0; c < g->chunk_count; c++) {
        if (g->chunks[c].node == node && g->chunks[c].chunk == chunk) {
            break;
        }
        first += g->chunks[c].page_count;
    }
    return first + page;
}

static void batch_remember(struct emu_node *n, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    struct node_batch *b = NULL;

    for (uint32_t i = 0; i < n->batch_count && b == NULL; i++) {
        b = n->batches[i].seq == 0 ? &n->batches[i] : NULL;
    }
    if (b == NULL) {
        n->batches = realloc(n->batches, (n->batch_count + 1) * sizeof *b);
        FL_ASSERT(n->batches != NULL);
        b = &n->batches[n->batch_count++];
        *b = (struct node_batch){.bytes = malloc((size_t)FL_MSG_ENTRIES_MAX * FL_PAGE_BYTES)};
        FL_ASSERT(b->bytes != NULL);
    }
    b->seq = m->seq;
    b->tag = tag;
    b->accepted = b->doubtful = false;
    b->node = node;
    b->entry_count = m->entry_count;
    memcpy(b->entries, m->entries, m->entry_count * sizeof m->entries[0]);
    for (unsigned i = 0; i < m->entry_count; i++) {
        const struct fl_msg_entry *en = &m->entries[i];
        const struct plan_region *g = &n->cfg.plan->regions[en->region];

        b->slots[i] = (struct fl_slot){node, en->chunk, region_page(g, node, en->chunk, en->page)};
        memcpy(b->bytes + (size_t)i * FL_PAGE_BYTES, node_buf(n, en->buf), FL_PAGE_BYTES);
        struct fl_rma rma = entry_rma(b, i);

        oracle_on_hand(n->oracle, &rma, b->bytes + (size_t)i * FL_PAGE_BYTES);
    }
}

/* The fabric took a batch (or not: then it was never posted). */
static void batch_accept(struct emu_node *n, struct node_batch *b, int status)
{
    if (b->accepted) {
        return;
    }
    b->accepted = true;
    if (status != FL_OK) {
        b->seq = 0;
        return;
    }
    for (unsigned i = 0; i < b->entry_count; i++) {
        struct fl_rma rma = entry_rma(b, i);

        oracle_on_post(n->oracle, &rma, b->bytes + (size_t)i * FL_PAGE_BYTES);
    }
}

static void batch_sent(struct emu_node *n, uint64_t tag, int status)
{
    for (uint32_t i = 0; i < n->batch_count; i++) {
        if (n->batches[i].seq != 0 && !n->batches[i].accepted && n->batches[i].tag == tag) {
            batch_accept(n, &n->batches[i], status);
        }
    }
}

static void batch_done(struct emu_node *n, uint16_t node, uint64_t seq, int status)
{
    for (uint32_t k = 0; k < n->batch_count; k++) {
        struct node_batch *b = &n->batches[k];

        if (b->seq == 0 || b->node != node || (seq != 0 && b->seq != seq)) {
            continue;
        }
        batch_accept(n, b, FL_OK);
        for (unsigned i = 0; i < b->entry_count; i++) {
            struct fl_rma rma = entry_rma(b, i);

            oracle_on_done(n->oracle, &rma, b->bytes + (size_t)i * FL_PAGE_BYTES, status,
                           node_now(n));
            if (b->doubtful && status == FL_OK) {
                oracle_on_doubt(n->oracle, &rma);
            }
        }
        b->seq = 0;
    }
}

void node_batches_doubtful(struct emu_node *n, uint16_t node)
{
    for (uint32_t k = 0; k < n->batch_count; k++) {
        struct node_batch *b = &n->batches[k];

        if (b->seq != 0 && b->node == node) {
            batch_accept(n, b, FL_OK); /* it was called for before */
            b->doubtful = b->seq != 0;
        }
    }
}

void node_batches_fenced(struct emu_node *n, uint16_t node)
{
    batch_done(n, node, 0, FL_EFENCED);
}

void node_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    struct emu_node *n = of(e);
    const uint8_t *lines[FL_MSG_ENTRIES_MAX];

    node_trace(n, FL_TR_CALL, FL_CALL_SEND, m->region, node, m->type, m->seq);
    for (unsigned i = 0; i < m->entry_count; i++) {
        lines[i] = m->entries[i].mask != 0 ? node_buf(n, m->entries[i].buf) : NULL;
    }
    if (m->type == FL_MSG_LOG_BATCH) {
        n->page_grain_bytes += (uint64_t)m->entry_count * FL_PAGE_BYTES;
        if (n->oracle != NULL) {
            batch_remember(n, node, m, tag);
        }
    }
    n->port->ops->send(n->port, node, m, lines, TAG_SEND | call_take(n, tag, node));
}

void node_fence(struct fl_env *e, uint16_t node, uint64_t tag)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_FENCE, 0, node, tag, 0);
    if (n->oracle != NULL) {
        node_batches_doubtful(n, node);
        oracle_on_error(n->oracle, node);
    }
    node_flush_spans(n);
    n->port->ops->fence(n->port, node, TAG_FENCE | call_take(n, tag, node));
}

/* --- what the port tells -------------------------------------------------------------------- */

static void on_done(void *arg, uint64_t tag, int status)
{
    struct emu_node *n = arg;
    struct fl_event ev = {.kind = FL_EV_DONE, .status = status};

    if ((tag & TAG_KIND) == TAG_FLIGHT) {
        uint32_t f = (uint32_t)tag;
        struct node_flight *fl = &n->flights[f];

        for (unsigned i = 0; i < fl->op_count; i++) {
            op_done(n, fl->ops[i], status);
        }
        fl->next_free = n->flight_free;
        n->flight_free = f;
        n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
        return;
    }
    struct node_call call = call_give(n, (uint32_t)tag);

    ev.tag = call.tag;
    if ((tag & TAG_KIND) == TAG_FENCE) {
        ev.node = call.node;
        ev.a = NODE_TOLD_FENCE;
    } else if (n->oracle != NULL) {
        batch_sent(n, ev.tag, status);
    }
    node_post(n, &ev);
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

static void on_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                   size_t payload_bytes)
{
    struct emu_node *n = arg;

    if (m->type == FL_MSG_LOG_ACK && n->oracle != NULL) {
        batch_done(n, peer, m->seq, m->status);
    }
    node_step_msg(n, peer, m, payload, payload_bytes);
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

static void post_peer(struct emu_node *n, enum fl_ev_kind kind, uint16_t peer, uint64_t a,
                      int status)
{
    node_post(n, &(struct fl_event){.kind = kind, .node = peer, .a = a, .status = status});
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

static void on_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    post_peer(arg, FL_EV_CREDIT, peer, cls, FL_OK);
}

static void tell_peer(struct emu_node *n, uint16_t peer, bool up, int cause)
{
    if (n->cfg.loop.peer != NULL) {
        n->cfg.loop.peer(n->cfg.loop.arg, n, peer, up, cause);
    }
}

static void on_peer_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    post_peer(arg, FL_EV_PEER_UP, peer, incarnation, FL_OK);
    tell_peer(arg, peer, true, FL_OK);
}

static void on_peer_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    struct emu_node *n = arg;

    if (n->oracle != NULL && cause != FL_OK) {
        batch_done(n, peer, 0, cause); /* their answers went with the connection */
        oracle_on_peer_down(n->oracle, peer);
    }
    post_peer(n, FL_EV_PEER_DOWN, peer, incarnation, cause);
    tell_peer(n, peer, false, cause);
}

static void on_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    struct emu_node *n = arg;

    (void)peer;
    n->landed_bytes += bytes;
}

struct tp_handler emu_node_handler(struct emu_node *n)
{
    return (struct tp_handler){.arg = n,
                               .done = on_done,
                               .msg = on_msg,
                               .credit = on_credit,
                               .peer_up = on_peer_up,
                               .peer_down = on_peer_down,
                               .landed = on_landed};
}
