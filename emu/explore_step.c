/* SPDX-License-Identifier: Apache-2.0 */
/* What an action does to the explorer's world. */
#include <string.h>

#include "coherence/gate.h"
#include "emu/base/assert.h"
#include "emu/explore_env.h"
#include "emu/mech/inspect.h"
#include "emu/mech/wb_priv.h"

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
    uint8_t before[XW_PAGES] = {0}, entries = m->entry_count;

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
