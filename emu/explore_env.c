/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/explore_env.h"

#include <string.h>

#include "coherence/gate.h"
#include "emu/base/assert.h"

static struct xw_env *of(struct fl_env *e)
{
    return (struct xw_env *)(void *)e;
}

static uint64_t env_now(struct fl_env *e)
{
    (void)e;
    return 0;
}

static uint64_t env_rng(struct fl_env *e, enum fl_stream st)
{
    (void)e;
    (void)st;
    return 0;
}

/* Armed timers are a set in order: which were armed first does not matter. */
static void env_timer(struct fl_env *e, uint64_t tag, uint64_t after_ns)
{
    struct xw_state *s = of(e)->s;
    uint8_t i = 0;

    while (i < s->timer_count && s->timers[i] < tag) {
        i++;
    }
    if (i < s->timer_count && s->timers[i] == tag) {
        if (after_ns == FL_NEVER) {
            memmove(&s->timers[i], &s->timers[i + 1],
                    (size_t)(s->timer_count - i - 1) * sizeof s->timers[0]);
            s->timers[--s->timer_count] = 0;
        }
        return;
    }
    if (after_ns != FL_NEVER) {
        FL_ASSERT(s->timer_count < XW_TIMERS);
        memmove(&s->timers[i + 1], &s->timers[i],
                (size_t)(s->timer_count - i) * sizeof s->timers[0]);
        s->timers[i] = tag;
        s->timer_count++;
    }
}

static struct xw_op *add_op(struct fl_env *e, enum fl_call kind, uint16_t node, uint64_t tag)
{
    struct xw_state *s = of(e)->s;
    struct xw_op *op;

    FL_ASSERT(s->op_count < XW_OPS);
    op = &s->ops[s->op_count++];
    memset(op, 0, sizeof *op);
    op->kind = (uint8_t)kind;
    op->tag = tag;
    op->node = (uint8_t)node;
    op->is_mn = of(e)->who != XW_DEVICE;
    return op;
}

static void env_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    struct xw_env *xe = of(e);
    bool to_node = xe->who == XW_DEVICE;
    struct xw_op *op = add_op(e, FL_CALL_SEND, to_node ? node : xe->who, tag);
    struct xw_msg *w = &op->msg;

    FL_ASSERT(m->entry_count <= XW_ENTRIES && (to_node || node == XW_DEVICE));
    w->type = m->type;
    w->node = op->node;
    w->to_node = to_node;
    w->seq = m->seq;
    w->epoch = m->epoch;
    w->a = m->a;
    w->status = m->status;
    w->count = m->count;
    w->chunk = m->chunk;
    w->region = m->region;
    w->entry_count = (uint8_t)m->entry_count;
    for (uint8_t i = 0; i < w->entry_count; i++) {
        const struct fl_msg_entry *n = &m->entries[i];
        uint8_t page = (uint8_t)(n->page + xw_first(xe->x, op->node));

        w->entries[i] = (struct xw_entry){.seq = n->seq,
                                          .mask = n->mask,
                                          .chunk = n->chunk,
                                          .page = (uint8_t)n->page,
                                          .whole = n->whole != 0};
        memcpy(w->entries[i].data, xe->s->bufs[n->buf], sizeof w->entries[i].data);
        xe->x->posted |= 1u << page;
        xw_check_sent(xe->x, xe->s, page, n->mask, n->whole != 0);
    }
}

static void add_rma(struct fl_env *e, enum fl_call kind, const struct fl_rma *r)
{
    struct xw_op *op = add_op(e, kind, r->slot.node, r->tag);
    struct xw_env *xe = of(e);

    /* by the slot, not by what the core says of the page */
    op->page = (uint8_t)(r->slot.page + xw_first(xe->x, r->slot.node));
    op->buf = (uint8_t)r->buf;
    op->mask = r->mask;
    op->seq = r->seq;
    op->whole = r->whole;
}

static void env_read(struct fl_env *e, const struct fl_rma *r)
{
    add_rma(e, FL_CALL_RMA_READ, r);
}

static void env_write(struct fl_env *e, const struct fl_rma *r)
{
    struct xw_env *xe = of(e);
    uint8_t page;

    add_rma(e, FL_CALL_RMA_WRITE, r);
    page = xe->s->ops[xe->s->op_count - 1].page;
    xe->x->posted |= 1u << page;
    xw_check_sent(xe->x, xe->s, page, r->mask, r->whole != 0);
}

static void env_fence(struct fl_env *e, uint16_t node, uint64_t tag)
{
    add_op(e, FL_CALL_FENCE, node, tag);
}

static void env_gate(struct fl_env *e, uint16_t region, uint32_t page, uint32_t count,
                     enum fl_prot prot, uint64_t tag)
{
    struct xw_op *op = add_op(e, FL_CALL_GATE, 0, tag);

    (void)region;
    op->page = (uint8_t)page;
    op->count = (uint8_t)count;
    op->prot = (uint8_t)prot;
}

static fl_mask env_snap(struct fl_env *e, uint16_t region, uint32_t page, uint32_t buf)
{
    struct xw_env *xe = of(e);
    struct xw_page *p = &xe->s->pages[page];
    fl_mask m = 0;

    (void)region;
    if (p->phys == FL_PROT_RW) {
        xw_fail(xe->x, "W3", "page %u is snapped while threads may store to it", page);
    }
    for (unsigned l = 0; l < XW_LINES; l++) {
        m |= (fl_mask)(p->twin && p->live[l] != p->old[l]) << l;
    }
    memcpy(xe->s->bufs[buf], p->live, sizeof p->live);
    memset(p->old, 0, sizeof p->old);
    p->twin = p->told = 0;
    xe->x->snapped |= 1u << page;
    p->sent |= p->stored;
    p->stored = 0;
    p->gate = coh_gate_step(p->gate, COH_OP_RELEASE).word;
    return m;
}

static void env_install(struct fl_env *e, uint16_t region, uint32_t page, fl_mask mask,
                        struct fl_src src)
{
    struct xw_env *xe = of(e);
    struct xw_state *s = xe->s;
    unsigned cached = 0, first = xw_first(xe->x, xe->who);

    (void)region;
    for (unsigned l = 0; l < XW_LINES; l++) {
        if (((mask >> l) & 1) == 0) {
            continue;
        }
        if (xe->who == XW_DEVICE) {
            s->pages[page].live[l] = s->bufs[src.idx][l];
        } else {
            uint16_t *r = &s->pages[first + page].remote[l], v = xe->msg->entries[src.idx].data[l];

            xw_check_landing(xe->x, first + page, l, *r, v);
            *r = v;
        }
    }
    if (xe->who != XW_DEVICE) {
        return;
    }
    s->pages[page].present = 1;
    for (unsigned p = 0; p < xe->x->cfg.pages; p++) {
        cached += s->pages[p].present;
    }
    if (cached > xe->x->cfg.capacity) {
        xw_fail(xe->x, "W8", "%u pages are cached, capacity is %u", cached, xe->x->cfg.capacity);
    }
}

static void env_map(struct fl_env *e, uint16_t region, uint32_t page, enum fl_map_kind kind,
                    struct fl_slot slot, uint64_t tag)
{
    struct xw_env *xe = of(e);

    (void)region;
    (void)slot;
    FL_ASSERT(kind == FL_MAP_HOLE);
    xw_check_drop(xe->x, xe->s, page);
    add_op(e, FL_CALL_MAP, 0, tag)->page = (uint8_t)page;
}

static void env_resume(struct fl_env *e, uint32_t ticket, int status)
{
    struct xw_env *xe = of(e);

    if (ticket == XW_TICKET_OPEN) {
        xe->s->open = status == FL_OK ? 1 : 2;
    } else if (ticket == XW_TICKET_CLOSE) {
        xe->s->closed = status == FL_OK ? 1 : 2;
        if (status == FL_OK) {
            xw_check_closed(xe->x, xe->s);
        }
    } else {
        struct xw_thread *t = &xe->s->threads[ticket];

        FL_ASSERT(ticket < xe->x->cfg.threads);
        if (t->phase != XW_WAIT || t->resumed) {
            xw_fail(xe->x, "W-end", "thread %u is resumed, but does not wait", ticket);
        }
        t->resumed = 1;
        t->failed = status != FL_OK;
    }
}

static void env_site(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a, uint64_t b)
{
    (void)e;
    (void)id;
    (void)region;
    (void)a;
    (void)b;
}

static const struct fl_env_ops ops = {
    .now = env_now,
    .rng = env_rng,
    .timer = env_timer,
    .send = env_send,
    .rma_read = env_read,
    .rma_write = env_write,
    .fence = env_fence,
    .gate = env_gate,
    .snap = env_snap,
    .install = env_install,
    .map = env_map,
    .resume = env_resume,
    .site = env_site,
};

void xw_step_wb(struct xw *x, struct xw_state *s, const struct fl_event *ev)
{
    struct xw_env e = {.env = {&ops}, .x = x, .s = s, .who = XW_DEVICE};
    struct wb *w = xw_wb(x, s);

    x->snapped = x->posted = 0;
    wb_rows_clear(w);
    wb_step(w, &e.env, ev);
    for (unsigned p = 0; p < x->cfg.pages; p++) {
        if ((x->snapped & ~x->posted) >> p & 1) {
            xw_check_snapped(x, s, p, (wb_rows_taken(w) >> WB_R9B) & 1);
        }
    }
    for (unsigned r = 0; r < WB_ROW_COUNT; r++) {
        x->rows[r] += (wb_rows_taken(w) >> r) & 1;
    }
}

void xw_step_mn(struct xw *x, struct xw_state *s, unsigned node, const struct fl_event *ev)
{
    struct xw_env e = {.env = {&ops}, .x = x, .s = s, .who = (uint8_t)node};

    mn_step(xw_mn(x, s, node), &e.env, ev);
}

void xw_step_msg(struct xw *x, struct xw_state *s, const struct xw_msg *m)
{
    struct xw_env e = {.env = {&ops}, .x = x, .s = s, .msg = m, .who = m->node};
    struct fl_msg f = {.type = m->type,
                       .chunk = m->chunk,
                       .region = m->region,
                       .entry_count = m->entry_count,
                       .status = m->status,
                       .count = m->count,
                       .epoch = m->epoch,
                       .seq = m->seq,
                       .a = m->a};
    struct fl_event ev = {.kind = FL_EV_MSG, .msg = &f};

    for (uint8_t i = 0; i < m->entry_count; i++) {
        f.entries[i] = (struct fl_msg_entry){.chunk = m->entries[i].chunk,
                                             .region = m->region,
                                             .page = m->entries[i].page,
                                             .mask = m->entries[i].mask,
                                             .seq = m->entries[i].seq,
                                             .whole = m->entries[i].whole};
    }
    if (m->to_node) {
        ev.node = XW_DEVICE;
        mn_step(xw_mn(x, s, m->node), &e.env, &ev);
    } else {
        ev.node = m->node;
        xw_step_wb(x, s, &ev);
    }
}

void xw_note(struct xw *x, struct xw_state *s, struct xw_note n)
{
    (void)x;
    FL_ASSERT(s->note_count < XW_NOTES);
    s->notes[s->note_count++] = n;
}
