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

/* --- it happens ------------------------------------------------------------------------------- */

static void remove_op(struct xw_state *s, unsigned i)
{
    memmove(&s->ops[i], &s->ops[i + 1], (size_t)(s->op_count - i - 1u) * sizeof s->ops[0]);
    memset(&s->ops[--s->op_count], 0, sizeof s->ops[0]);
}

static void remove_msg(struct xw_state *s, unsigned i)
{
    memmove(&s->msgs[i], &s->msgs[i + 1], (size_t)(s->msg_count - i - 1u) * sizeof s->msgs[0]);
    memset(&s->msgs[--s->msg_count], 0, sizeof s->msgs[0]);
}

static void miss(struct xw *x, struct xw_state *s, unsigned t)
{
    struct xw_thread *th = &s->threads[t];

    th->phase = XW_WAIT;
    th->resumed = th->failed = 0;
    xw_note(x, s,
            (struct xw_note){.kind = XW_N_MISS,
                             .ticket = (uint8_t)t,
                             .page = th->page,
                             .access = th->store ? FL_STORE : FL_LOAD});
}

static void access_done(struct xw *x, struct xw_state *s, struct xw_thread *th)
{
    struct xw_page *p = &s->pages[th->page];

    for (unsigned l = 0; l < XW_LINES; l++) {
        if (p->live[l] != p->shadow[l]) {
            xw_fail(x, "W3", "a thread sees version %u of page %u line %u, stored was %u",
                    p->live[l], th->page, l, p->shadow[l]);
        }
    }
    if (th->store) {
        p->live[th->line] = p->shadow[th->line] = ++s->version;
        p->stored |= (uint8_t)(1u << th->line);
        if (x->cfg.exact && ((p->told >> th->line) & 1) == 0) {
            p->told |= (uint8_t)(1u << th->line);
            xw_note(x, s,
                    (struct xw_note){
                        .kind = XW_N_DIRTY, .page = th->page, .mask = (uint8_t)(1u << th->line)});
        }
    }
    *th = (struct xw_thread){0};
}

/* One step of a thread; the trap handler's are those of coherence/gate.h. */
static void do_thread(struct xw *x, struct xw_state *s, unsigned t)
{
    struct xw_thread *th = &s->threads[t];
    struct xw_page *p = &s->pages[th->page];
    struct coh_gate_res r;

    switch (th->phase) {
    case XW_TRY:
        if (p->phys == FL_PROT_RW || (!th->store && p->phys == FL_PROT_READ)) {
            access_done(x, s, th);
            break;
        }
        r = coh_gate_step(p->gate, th->store ? COH_OP_TAKE : COH_OP_LOAD);
        p->gate = r.word;
        if (r.out == COH_GATE_OK) {
            th->phase = XW_TAKEN;
        } else {
            miss(x, s, t);
        }
        break;
    case XW_TAKEN:
        memcpy(p->old, p->live, sizeof p->old);
        p->twin = 1;
        p->phys = FL_PROT_RW;
        xw_note(x, s, (struct xw_note){.kind = XW_N_DIRTY, .page = th->page});
        th->phase = XW_OPENING;
        break;
    case XW_OPENING:
        p->gate = coh_gate_step(p->gate, COH_OP_OPEN).word;
        th->phase = XW_TRY;
        break;
    default: /* resumed */
        if (th->failed) {
            *th = (struct xw_thread){0};
        } else {
            th->phase = XW_TRY;
            th->resumed = 0;
        }
        break;
    }
}

static void do_note(struct xw *x, struct xw_state *s)
{
    struct xw_note n = s->notes[0];
    struct fl_event ev = {.page = n.page, .ticket = n.ticket, .access = n.access, .mask = n.mask};

    memmove(&s->notes[0], &s->notes[1], (size_t)(s->note_count - 1u) * sizeof n);
    memset(&s->notes[--s->note_count], 0, sizeof n);
    if (n.kind == XW_N_GATED) {
        ev = (struct fl_event){
            .kind = FL_EV_GATED, .tag = n.tag, .status = n.refused ? FL_ENOSPC : FL_OK};
    } else {
        ev.kind = n.kind == XW_N_MISS ? FL_EV_MISS : FL_EV_DIRTY;
    }
    xw_step_wb(x, s, &ev);
}

static void do_gate(struct xw *x, struct xw_state *s, unsigned i, bool end)
{
    struct xw_op op = s->ops[i];

    for (unsigned n = op.page; n < (unsigned)op.page + op.count; n++) {
        struct xw_page *p = &s->pages[n];
        struct coh_gate_res r =
            coh_gate_step(p->gate, end ? COH_OP_END : coh_gate_to((enum fl_prot)op.prot));

        FL_ASSERT(r.out == COH_GATE_OK);
        if (end && op.prot == FL_PROT_RW && p->phys != FL_PROT_RW) {
            memcpy(p->old, p->live, sizeof p->old);
            p->twin = 1;
        }
        p->gate = r.word;
        p->phys = end ? op.prot : p->phys;
    }
    s->ops[i].begun = 1;
    if (end) {
        remove_op(s, i);
        xw_note(x, s, (struct xw_note){.kind = XW_N_GATED, .tag = op.tag});
    }
}

/* Lines of a write reach the pool. */
static void land(struct xw *x, struct xw_state *s, const struct xw_op *op, const uint16_t *data)
{
    for (unsigned l = 0; l < XW_LINES; l++) {
        if ((op->mask >> l) & 1) {
            uint16_t *r = &s->pages[op->page].remote[l];

            xw_check_landing(x, op->page, l, *r, data[l]);
            *r = data[l];
        }
    }
}

/* What is under way to and from this node is gone. */
static void vanish(struct xw *x, struct xw_state *s, unsigned node)
{
    for (unsigned i = s->op_count; i > 0; i--) {
        struct xw_op op = s->ops[i - 1];

        if (op.node != node || (!op.ghost && !op.is_mn)) {
            continue;
        }
        remove_op(s, i - 1);
        if (op.is_mn) {
            xw_step_mn(x, s, node,
                       &(struct fl_event){.kind = FL_EV_DONE, .tag = op.tag, .status = FL_ECONN});
        }
    }
    for (unsigned i = s->msg_count; i > 0; i--) {
        if (s->msgs[i - 1].node == node) {
            remove_msg(s, i - 1);
        }
    }
}

static void do_ok(struct xw *x, struct xw_state *s, unsigned i)
{
    struct xw_op op = s->ops[i];
    struct fl_event ev = {.kind = FL_EV_DONE, .tag = op.tag};

    remove_op(s, i);
    switch (op.kind) {
    case FL_CALL_RMA_READ:
        memcpy(s->bufs[op.buf], s->pages[op.page].remote, sizeof s->bufs[0]);
        break;
    case FL_CALL_RMA_WRITE:
        land(x, s, &op, s->bufs[op.buf]);
        s->pages[op.page].sent &= (uint8_t)~op.mask;
        break;
    case FL_CALL_FENCE:
        vanish(x, s, op.node);
        break;
    case FL_CALL_SEND:
        FL_ASSERT(s->msg_count < XW_MSGS);
        s->msgs[s->msg_count++] = op.msg;
        break;
    case FL_CALL_MAP:
        s->pages[op.page].present = 0;
        memset(s->pages[op.page].live, 0, sizeof s->pages[0].live);
        ev.kind = FL_EV_MAPPED;
        break;
    default:
        break;
    }
    if (op.is_mn) {
        xw_step_mn(x, s, op.node, &ev);
    } else {
        xw_step_wb(x, s, &ev);
    }
}

static void do_error(struct xw *x, struct xw_state *s, unsigned i, int status)
{
    struct xw_op op = s->ops[i];

    if (status == FL_ETIMEDOUT && (op.kind == FL_CALL_RMA_READ || op.kind == FL_CALL_RMA_WRITE)) {
        s->ops[i].ghost = 1;
        memcpy(s->ops[i].data, s->bufs[op.buf], sizeof op.data);
    } else {
        remove_op(s, i);
    }
    if (!op.is_mn) {
        xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_DONE, .tag = op.tag, .status = status});
    }
}

static void do_ghost(struct xw *x, struct xw_state *s, unsigned i)
{
    struct xw_op op = s->ops[i];

    remove_op(s, i);
    if (op.kind == FL_CALL_RMA_READ) {
        memcpy(s->bufs[op.buf], s->pages[op.page].remote, sizeof s->bufs[0]);
    } else {
        land(x, s, &op, op.data);
    }
}

/* An acknowledgement that the device takes retires lines. One that it does not know any more leaves
 * them dirty, and they may be sent again. */
static void acknowledge(struct xw *x, struct xw_state *s, struct xw_msg *m)
{
    uint64_t acks = wb_stats(xw_wb(x, s))->acks;
    uint8_t before[XW_PAGES], entries = m->entry_count;

    for (unsigned p = 0; p < x->cfg.pages; p++) {
        before[p] = s->pages[p].sent;
    }
    for (unsigned e = 0; m->type == FL_MSG_LOG_ACK && m->status == FL_OK && e < entries; e++) {
        unsigned page = m->entries[e].page + xw_first(x, m->node);

        s->pages[page].sent &= (uint8_t)~m->entries[e].mask;
    }
    m->entry_count = 0;
    xw_step_msg(x, s, m);
    for (unsigned p = 0; p < x->cfg.pages && acks == wb_stats(xw_wb(x, s))->acks; p++) {
        s->pages[p].sent |= before[p];
    }
}

static void do_msg(struct xw *x, struct xw_state *s, unsigned i, bool again)
{
    struct xw_msg m = s->msgs[i];
    uint8_t ops = s->op_count;

    if (!again) {
        remove_msg(s, i);
    }
    if (m.to_node) {
        xw_step_msg(x, s, &m);
        if (m.type == FL_MSG_LOG_BATCH && s->op_count > ops) { /* remember what it answers */
            struct xw_msg *a = &s->ops[s->op_count - 1].msg;

            memcpy(a->entries, m.entries, sizeof a->entries);
            a->entry_count = m.entry_count;
        }
        return;
    }
    acknowledge(x, s, &m);
}

static void do_timer(struct xw *x, struct xw_state *s, unsigned i)
{
    uint64_t tag = s->timers[i];

    if (wb_tag_kind(tag) == WB_T_BATCH && s->left.errors > 0) {
        s->left.errors--;
    }
    if (wb_tag_kind(tag) == WB_T_CTL && s->left.deadlines > 0) {
        s->left.deadlines--;
    }
    memmove(&s->timers[i], &s->timers[i + 1], (size_t)(s->timer_count - i - 1u) * sizeof tag);
    s->timers[--s->timer_count] = 0;
    xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_TIMER, .tag = tag});
    if (wb_tag_kind(tag) == WB_T_PERIOD && wb_waits_for_period(xw_wb(x, s), 0)) {
        xw_fail(x, "W6", "a period has ended, and dirty pages wait for the next one");
    }
}

static void do_world(struct xw *x, struct xw_state *s, struct xw_action a)
{
    struct xw_page *p = &s->pages[a.a];
    uint8_t mask = 0;

    switch (a.kind) {
    case XW_A_SAMPLE:
        s->left.samples--;
        for (unsigned l = 0; l < XW_LINES; l++) {
            mask |= (uint8_t)((p->live[l] != p->old[l]) << l);
        }
        xw_note(x, s, (struct xw_note){.kind = XW_N_DIRTY, .page = a.a, .mask = mask});
        break;
    case XW_A_PRESSURE:
        s->left.pressure--;
        xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_PRESSURE, .a = 1});
        break;
    case XW_A_CREDIT:
        s->credit[a.a] = 0;
        xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_CREDIT, .node = a.a, .a = FL_BULK});
        break;
    case XW_A_CRASH:
        s->left.crashes--;
        s->dead[a.a] = 1;
        vanish(x, s, a.a);
        break;
    case XW_A_PEER_DOWN:
        s->told_dead[a.a] = 1;
        xw_step_wb(
            x, s, &(struct fl_event){.kind = FL_EV_PEER_DOWN, .node = a.a, .status = FL_EPEERDEAD});
        break;
    default: /* XW_A_CLOSE */
        s->left.closes--;
        s->closing = 1;
        xw_step_wb(x, s, &(struct fl_event){.kind = FL_EV_CLOSE, .ticket = XW_TICKET_CLOSE});
        break;
    }
}

static void do_op(struct xw *x, struct xw_state *s, struct xw_action a)
{
    struct xw_op op = s->ops[a.a];

    switch (a.kind) {
    case XW_A_GATE_BEGIN:
    case XW_A_GATE_END:
        do_gate(x, s, a.a, a.kind == XW_A_GATE_END);
        break;
    case XW_A_GATE_REFUSE:
        s->left.refusals--;
        remove_op(s, a.a);
        xw_note(x, s, (struct xw_note){.kind = XW_N_GATED, .tag = op.tag, .refused = 1});
        break;
    case XW_A_OK:
        do_ok(x, s, a.a);
        break;
    case XW_A_ERROR:
        s->left.errors--;
        do_error(x, s, a.a, FL_ETIMEDOUT);
        break;
    case XW_A_DEAD:
        do_error(x, s, a.a, FL_EPEERDEAD);
        break;
    case XW_A_NO_CREDIT:
        s->left.refusals--;
        s->credit[op.node] = 1;
        do_error(x, s, a.a, FL_EAGAIN);
        break;
    default: /* XW_A_GHOST */
        do_ghost(x, s, a.a);
        break;
    }
}

static void begin_access(struct xw_state *s, struct xw_action a)
{
    bool store = a.kind == XW_A_STORE;

    *(store ? &s->left.stores : &s->left.loads) -= 1;
    s->threads[a.a] = (struct xw_thread){.phase = XW_TRY, .store = store, .page = a.b, .line = a.c};
}

void xw_apply(struct xw *x, struct xw_state *s, struct xw_action a)
{
    switch (a.kind) {
    case XW_A_LOAD:
    case XW_A_STORE:
        begin_access(s, a);
        break;
    case XW_A_THREAD:
        do_thread(x, s, a.a);
        break;
    case XW_A_NOTE:
        do_note(x, s);
        break;
    case XW_A_MSG:
        do_msg(x, s, a.a, false);
        break;
    case XW_A_MSG_TWICE:
        s->left.dups--;
        do_msg(x, s, a.a, true);
        break;
    case XW_A_MSG_LOST:
        s->left.errors--;
        remove_msg(s, a.a);
        break;
    case XW_A_TIMER:
        do_timer(x, s, a.a);
        break;
    case XW_A_SAMPLE:
    case XW_A_PRESSURE:
    case XW_A_CREDIT:
    case XW_A_CRASH:
    case XW_A_PEER_DOWN:
    case XW_A_CLOSE:
        do_world(x, s, a);
        break;
    default:
        do_op(x, s, a);
        break;
    }
    xw_check_state(x, s);
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
