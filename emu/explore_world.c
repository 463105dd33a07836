/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/explore_world.h"

#include <string.h>
#include <xxhash.h>

#include "coherence/gate.h"
#include "emu/base/assert.h"
#include "emu/explore_env.h"
#include "emu/mech/inspect.h"
#include "emu/mech/wb_priv.h"

/* --- configuration ---------------------------------------------------------------------------- */

static size_t align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static struct mn_cfg mn_cfg_of(const struct xw *x, unsigned node)
{
    struct mn_cfg c = {.chunk_count = 1, .plants = x->cfg.plants};

    c.chunk_pages[0] = x->wb_cfg.regions[0].chunks[node].page_count;
    return c;
}

int xw_init(struct xw *x, const struct xw_cfg *cfg, struct fl_errmsg *err)
{
    struct wb_region_cfg *r = &x->wb_cfg.regions[0];
    int rc;

    memset(x, 0, sizeof *x);
    x->cfg = *cfg;
    x->wb_cfg.region_count = 1;
    x->wb_cfg.thread_count = cfg->threads;
    x->wb_cfg.capacity_pages = cfg->capacity;
    x->wb_cfg.dclb_lines = cfg->dclb_lines;
    x->wb_cfg.buf_count = cfg->bufs;
    x->wb_cfg.log_batch_pages = cfg->log_batch;
    x->wb_cfg.retry_max = cfg->retry_max;
    x->wb_cfg.evict = cfg->evict;
    x->wb_cfg.plants = cfg->plants;
    r->page_count = cfg->pages;
    r->chunk_count = cfg->nodes;
    r->period_ns = r->op_deadline_ns = r->close_deadline_ns = 1;
    r->threshold_lines = cfg->threshold;
    r->path = cfg->path;
    r->lease_epoch = 1;
    for (uint16_t n = 0; n < cfg->nodes; n++) {
        uint32_t from = (uint32_t)n * cfg->pages / cfg->nodes;

        r->chunks[n] = (struct wb_chunk_cfg){
            .node = n, .page_count = (n + 1u) * cfg->pages / cfg->nodes - from};
    }
    rc = wb_check(&x->wb_cfg, err);
    if (rc != FL_OK) {
        return rc;
    }
    x->off_wb = align64(sizeof(struct xw_state));
    x->size = align64(x->off_wb + wb_size(&x->wb_cfg));
    for (unsigned n = 0; n < cfg->nodes; n++) {
        struct mn_cfg mc = mn_cfg_of(x, n);

        x->off_mn[n] = x->size;
        x->size = align64(x->size + mn_size(&mc));
    }
    return FL_OK;
}

unsigned xw_first(const struct xw *x, unsigned node)
{
    return node * x->cfg.pages / x->cfg.nodes;
}

unsigned xw_node_of(const struct xw *x, unsigned page)
{
    unsigned n = 0;

    while (n + 1u < x->cfg.nodes && page >= xw_first(x, n + 1)) {
        n++;
    }
    return n;
}

struct wb *xw_wb(const struct xw *x, struct xw_state *s)
{
    return (struct wb *)(void *)((char *)s + x->off_wb);
}

struct mn *xw_mn(const struct xw *x, struct xw_state *s, unsigned node)
{
    return (struct mn *)(void *)((char *)s + x->off_mn[node]);
}

void xw_start(struct xw *x, struct xw_state *s)
{
    wb_init(xw_wb(x, s), &x->wb_cfg);
    for (unsigned n = 0; n < x->cfg.nodes; n++) {
        struct mn_cfg mc = mn_cfg_of(x, n);

        mn_init(xw_mn(x, s, n), &mc);
    }
    for (unsigned p = 0; p < x->cfg.pages; p++) {
        for (unsigned l = 0; l < XW_LINES; l++) {
            s->pages[p].remote[l] = s->pages[p].shadow[l] = ++s->version;
        }
    }
    s->left = x->cfg.budget;
    xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_START});
    xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_OPEN, .ticket = XW_TICKET_OPEN});
}

/* --- what can happen -------------------------------------------------------------------------- */

struct list {
    struct xw_action *at;
    uint32_t n;
};

static void add(struct list *l, enum xw_act kind, unsigned a, unsigned b, unsigned c)
{
    FL_ASSERT(l->n < XW_ACTIONS);
    l->at[l->n++] = (struct xw_action){(uint8_t)kind, (uint8_t)a, (uint8_t)b, (uint8_t)c};
}

static bool busy_in(const struct xw_state *s, const struct xw_op *op)
{
    for (unsigned p = op->page; p < op->page + op->count; p++) {
        if (coh_gate_busy(s->pages[p].gate) || (s->pages[p].gate & COH_GATE_F_CHANGING) != 0) {
            return true;
        }
    }
    return false;
}

/* Can this thread do something that changes the state? */
static bool thread_can(const struct xw_state *s, const struct xw_thread *t)
{
    const struct xw_page *p = &s->pages[t->page];
    enum coh_gate_out out;

    switch (t->phase) {
    case XW_TRY:
        if (p->phys == FL_PROT_RW || (!t->store && p->phys == FL_PROT_READ)) {
            return true;
        }
        out = coh_gate_step(p->gate, t->store ? COH_OP_TAKE : COH_OP_LOAD).out;
        return out == COH_GATE_OK || out == COH_GATE_SHUT || out == COH_GATE_HELD;
    case XW_WAIT:
        return t->resumed;
    case XW_IDLE:
        return false;
    default:
        return true;
    }
}

static void thread_actions(struct xw *x, struct xw_state *s, struct list *l)
{
    for (unsigned t = 0; t < x->cfg.threads; t++) {
        if (s->threads[t].phase != XW_IDLE) {
            if (thread_can(s, &s->threads[t])) {
                add(l, XW_A_THREAD, t, 0, 0);
            }
            continue;
        }
        for (unsigned p = 0; p < x->cfg.pages && s->left.loads > 0; p++) {
            if (s->pages[p].phys == FL_PROT_NONE) { /* others change nothing */
                add(l, XW_A_LOAD, t, p, 0);
            }
        }
        for (unsigned p = 0; p < x->cfg.pages && s->left.stores > 0; p++) {
            for (unsigned line = 0; line < XW_LINES; line++) {
                add(l, XW_A_STORE, t, p, line);
            }
        }
    }
}

static bool earlier_to_node(const struct xw_state *s, const struct xw_op *fence)
{
    for (unsigned i = 0; i < s->op_count; i++) {
        const struct xw_op *o = &s->ops[i];

        if (o->node == fence->node && !o->ghost && !o->is_mn &&
            (o->kind == FL_CALL_RMA_READ || o->kind == FL_CALL_RMA_WRITE ||
             o->kind == FL_CALL_SEND)) {
            return true;
        }
    }
    return false;
}

static void op_actions(struct xw_state *s, unsigned i, struct list *l)
{
    struct xw_op *op = &s->ops[i];
    bool to_node = op->kind == FL_CALL_RMA_READ || op->kind == FL_CALL_RMA_WRITE ||
                   op->kind == FL_CALL_SEND || op->kind == FL_CALL_FENCE;

    if (op->ghost) {
        add(l, XW_A_GHOST, i, 0, 0);
    } else if (op->kind == FL_CALL_GATE) {
        if (op->begun) {
            add(l, XW_A_GATE_END, i, 0, 0);
        } else if (!busy_in(s, op)) {
            add(l, XW_A_GATE_BEGIN, i, 0, 0);
            if (s->left.refusals > 0) {
                add(l, XW_A_GATE_REFUSE, i, 0, 0);
            }
        }
    } else if (to_node && s->dead[op->node]) {
        add(l, XW_A_DEAD, i, 0, 0);
    } else if (op->kind != FL_CALL_FENCE || !earlier_to_node(s, op)) {
        add(l, XW_A_OK, i, 0, 0);
        if (s->left.errors > 0 && to_node && !op->is_mn) {
            add(l, XW_A_ERROR, i, 0, 0);
        }
        if (s->left.refusals > 0 && op->kind == FL_CALL_SEND && !op->is_mn) {
            add(l, XW_A_NO_CREDIT, i, 0, 0);
        }
    }
}

static void timer_actions(struct xw_state *s, struct list *l)
{
    for (unsigned i = 0; i < s->timer_count; i++) {
        enum wb_tag k = wb_tag_kind(s->timers[i]);

        if ((k == WB_T_BATCH && s->left.errors == 0) || (k == WB_T_CTL && s->left.deadlines == 0)) {
            continue;
        }
        add(l, XW_A_TIMER, i, 0, 0);
    }
}

/* A timer stands for patience that has an end: when nothing else can happen, time passes. */
static void time_passes(struct xw_state *s, struct list *l)
{
    for (unsigned i = 0; l->n == 0 && i < s->timer_count; i++) {
        add(l, XW_A_TIMER, i, 0, 0);
    }
}

static void world_actions(struct xw *x, struct xw_state *s, struct list *l)
{
    for (unsigned p = 0; p < x->cfg.pages && s->left.samples > 0; p++) {
        if (s->pages[p].twin && s->pages[p].stored != 0) {
            add(l, XW_A_SAMPLE, p, 0, 0);
        }
    }
    if (s->left.pressure > 0) {
        add(l, XW_A_PRESSURE, 0, 0, 0);
    }
    for (unsigned n = 0; n < x->cfg.nodes; n++) {
        if (s->credit[n]) {
            add(l, XW_A_CREDIT, n, 0, 0);
        }
        if (s->left.crashes > 0 && !s->dead[n]) {
            add(l, XW_A_CRASH, n, 0, 0);
        }
        if (s->dead[n] && !s->told_dead[n]) {
            add(l, XW_A_PEER_DOWN, n, 0, 0);
        }
    }
    if (s->left.closes > 0 && !s->closing && s->open == 1) {
        add(l, XW_A_CLOSE, 0, 0, 0);
    }
}

uint32_t xw_actions(struct xw *x, struct xw_state *s, struct xw_action *ret)
{
    struct list l = {ret, 0};

    if (s->note_count > 0) {
        add(&l, XW_A_NOTE, 0, 0, 0);
    }
    if (s->open == 1) {
        thread_actions(x, s, &l);
    }
    for (unsigned i = 0; i < s->op_count; i++) {
        op_actions(s, i, &l);
    }
    for (unsigned i = 0; i < s->msg_count; i++) {
        add(&l, XW_A_MSG, i, 0, 0);
        if (s->left.dups > 0) {
            add(&l, XW_A_MSG_TWICE, i, 0, 0);
        }
        if (s->left.errors > 0 && s->open == 1) {
            add(&l, XW_A_MSG_LOST, i, 0, 0);
        }
    }
    timer_actions(s, &l);
    world_actions(x, s, &l);
    time_passes(s, &l);
    return l.n;
}

/* --- canonical form --------------------------------------------------------------------------- */

/* What is under way is a set: sorted, so that the order of its making does not count. */
static void sort_ops(struct xw_state *s)
{
    for (unsigned i = 1; i < s->op_count; i++) {
        for (unsigned k = i; k > 0; k--) {
            struct xw_op t = s->ops[k];

            if (memcmp(&s->ops[k - 1], &t, sizeof t) <= 0) {
                break;
            }
            s->ops[k] = s->ops[k - 1];
            s->ops[k - 1] = t;
        }
    }
    for (unsigned i = 1; i < s->msg_count; i++) {
        for (unsigned k = i; k > 0; k--) {
            struct xw_msg t = s->msgs[k];

            if (memcmp(&s->msgs[k - 1], &t, sizeof t) <= 0) {
                break;
            }
            s->msgs[k] = s->msgs[k - 1];
            s->msgs[k - 1] = t;
        }
    }
}

static void canon_msg(struct wb *w, struct xw_msg *m, const uint64_t *page_seq, unsigned first)
{
    if (m->type == FL_MSG_LOG_BATCH || m->type == FL_MSG_LOG_ACK) {
        m->seq = wb_batch_seq(w) - m->seq;
    }
    for (unsigned e = 0; e < m->entry_count; e++) {
        m->entries[e].seq = page_seq[first + m->entries[e].page] - m->entries[e].seq;
    }
}

uint64_t xw_hash(const struct xw *x, const struct xw_state *s, struct xw_state *c)
{
    uint64_t page_seq[XW_PAGES], applied[XW_PAGES];
    struct wb *w = xw_wb(x, c);
    size_t skip = offsetof(struct wb, stats);
    uint64_t h;

    memcpy(c, s, x->size);
    for (unsigned p = 0; p < x->cfg.pages; p++) {
        unsigned node = xw_node_of(x, p);
        unsigned first = xw_first(x, node);

        page_seq[p] = wb_page_seq(w, 0, p);
        applied[p] = page_seq[p] - mn_applied_seq(xw_mn(x, c, node), 0, p - first);
        c->pages[p].gate &= (1u << COH_GATE_EPOCH_SHIFT) - 1;
    }
    for (unsigned i = 0; i < c->op_count; i++) {
        struct xw_op *o = &c->ops[i];

        o->seq = 0;
        canon_msg(w, &o->msg, page_seq, xw_first(x, o->node));
    }
    for (unsigned i = 0; i < c->msg_count; i++) {
        canon_msg(w, &c->msgs[i], page_seq, xw_first(x, c->msgs[i].node));
    }
    c->bytes_sent = 0;
    sort_ops(c);
    wb_canon(w);
    for (unsigned b = 0; b < x->cfg.bufs; b++) {
        if (*wb_buf_link(w, b) == UINT16_MAX) { /* free: nobody reads it */
            memset(c->bufs[b], 0, sizeof c->bufs[b]);
        }
    }
    h = XXH64(c, offsetof(struct xw_state, ops), 0);
    h = XXH64(c->ops, c->op_count * sizeof c->ops[0], h);
    h = XXH64(c->msgs, c->msg_count * sizeof c->msgs[0], h);
    h = XXH64(c->timers, sizeof c->timers, h);
    h = XXH64(applied, x->cfg.pages * sizeof applied[0], h);
    h = XXH64((char *)w + skip, wb_size(&x->wb_cfg) - skip, h);
    for (unsigned n = 0; n < x->cfg.nodes; n++) {
        struct mn_cfg mc = mn_cfg_of(x, n);

        mn_canon(xw_mn(x, c, n));
        h = XXH64(xw_mn(x, c, n), mn_size(&mc), h);
    }
    return h;
}

/* --- words ------------------------------------------------------------------------------------ */

static const char *const act_names[XW_A_COUNT] = {
    [XW_A_LOAD] = "thread %u loads from page %u",
    [XW_A_STORE] = "thread %u stores to page %u line %u",
    [XW_A_THREAD] = "thread %u goes on",
    [XW_A_NOTE] = "the device hears",
    [XW_A_GATE_BEGIN] = "gate begins:",
    [XW_A_GATE_END] = "gate ends:",
    [XW_A_GATE_REFUSE] = "gate is refused:",
    [XW_A_OK] = "done:",
    [XW_A_ERROR] = "fails, fate open:",
    [XW_A_DEAD] = "fails, node dead:",
    [XW_A_GHOST] = "lands late:",
    [XW_A_NO_CREDIT] = "no credit:",
    [XW_A_CREDIT] = "credit from node %u",
    [XW_A_MSG] = "message arrives:",
    [XW_A_MSG_TWICE] = "message arrives, and will once more:",
    [XW_A_MSG_LOST] = "message is lost:",
    [XW_A_TIMER] = "timer",
    [XW_A_SAMPLE] = "page %u is sampled",
    [XW_A_PRESSURE] = "memory pressure",
    [XW_A_CRASH] = "node %u dies",
    [XW_A_PEER_DOWN] = "the device learns that node %u is dead",
    [XW_A_CLOSE] = "close",
};

void xw_describe(const struct xw *x, const struct xw_state *s, struct xw_action a, char *dst,
                 size_t cap)
{
    const struct xw_op *o = &s->ops[a.a];
    int n;

    (void)x;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    n = snprintf(dst, cap, act_names[a.kind], a.a, a.b, a.c);
#pragma GCC diagnostic pop
    if (n < 0 || (size_t)n >= cap) {
        return;
    }
    dst += n;
    cap -= (size_t)n;
    if (a.kind == XW_A_NOTE) {
        static const char *const kinds[] = {"MISS", "DIRTY", "GATED"};

        snprintf(dst, cap, " %s page %u", kinds[s->notes[0].kind],
                 s->notes[0].kind == XW_N_GATED ? wb_tag_lo(s->notes[0].tag) : s->notes[0].page);
    } else if (a.kind >= XW_A_MSG && a.kind <= XW_A_MSG_LOST) {
        snprintf(dst, cap, " %s", fl_msg_name(s->msgs[a.a].type));
    } else if (a.kind == XW_A_TIMER) {
        snprintf(dst, cap, " of kind %d", wb_tag_kind(s->timers[a.a]));
    } else if (a.kind >= XW_A_GATE_BEGIN && a.kind <= XW_A_NO_CREDIT) {
        snprintf(dst, cap, " %s%s%s page %u lines %llx prot %u buf %u",
                 fl_call_name((enum fl_call)o->kind), o->kind == FL_CALL_SEND ? " " : "",
                 o->kind == FL_CALL_SEND ? fl_msg_name(o->msg.type) : "", o->page,
                 (unsigned long long)o->mask, o->prot, o->buf);
    }
}
