/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-sided operations. tcp takes posts without bound and keeps them in its own memory, so each
 * peer has a window and a queue per class before it; urgent goes first, bulk leaves a quarter of
 * the window to the others.
 */
#include <stdlib.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"

enum { DONES_MIN = 64 };

void tpo_done(struct tpo_port *p, uint64_t tag, int status)
{
    if (p->done_tail - p->done_head == p->done_cap) {
        uint32_t cap = p->done_cap ? 2 * p->done_cap : DONES_MIN;
        struct tpo_done *bigger = malloc(cap * sizeof(*bigger));
        FL_ASSERT(bigger != NULL);
        uint32_t n = 0;
        for (uint32_t i = p->done_head; i != p->done_tail; i++)
            bigger[n++] = p->dones[i & (p->done_cap - 1)];
        free(p->dones);
        p->dones = bigger;
        p->done_cap = cap;
        p->done_head = 0;
        p->done_tail = n;
    }
    p->dones[p->done_tail++ & (p->done_cap - 1)] = (struct tpo_done){tag, status};
    tpo_soon(p);
}

static struct tpo_op *op_get(struct tpo_port *p)
{
    struct tpo_op *op = TAILQ_FIRST(&p->free_ops);

    if (op == NULL) {
        uint32_t timers = p->op_count + TPO_OPS_SLAB + 2 * (uint32_t)p->cfg.nodes;
        if (p->op_count + TPO_OPS_SLAB > TPO_OPS_MAX ||
            tpo_timers_reserve(&p->timers, timers) != FL_OK)
            return NULL;
        struct tpo_slab *slab = calloc(1, sizeof(*slab));
        if (slab == NULL)
            return NULL;
        slab->next = p->slabs;
        p->slabs = slab;
        p->op_count += TPO_OPS_SLAB;
        for (unsigned i = 0; i < TPO_OPS_SLAB; i++)
            TAILQ_INSERT_TAIL(&p->free_ops, &slab->ops[i], link);
        op = TAILQ_FIRST(&p->free_ops);
    }
    TAILQ_REMOVE(&p->free_ops, op, link);
    return op;
}

static void op_put(struct tpo_port *p, struct tpo_op *op)
{
    TAILQ_INSERT_HEAD(&p->free_ops, op, link);
}

void tpo_op_free_all(struct tpo_port *p)
{
    for (struct tpo_slab *s = p->slabs, *next; s != NULL; s = next) {
        next = s->next;
        free(s);
    }
    p->slabs = NULL;
    free(p->dones);
}

/** The operation's answer, once. From the pump only. */
static void op_answer(struct tpo_port *p, struct tpo_op *op, int status)
{
    tpo_timer_set(&p->timers, &op->timer, FL_NEVER);
    if (op->answered)
        return;
    op->answered = true;
    if (status == FL_ETIMEDOUT)
        p->ledger.timeouts++;
    else if (status != FL_OK)
        p->ledger.errors++;
    p->h.done(p->h.arg, op->r.tag, status);
}

static struct tpo_reg *find_reg(struct tpo_port *p, const struct tp_rma *r)
{
    for (unsigned i = 0; i < p->reg_count; i++) {
        struct tpo_reg *g = &p->regs[i];
        if (r->local >= g->base && r->len_bytes <= g->len_bytes &&
            (size_t)(r->local - g->base) <= g->len_bytes - r->len_bytes)
            return g;
    }
    return NULL;
}

static bool outside(const struct tpo_peer *peer, const struct tp_rma *r)
{
    return r->len_bytes > peer->rma_bytes || r->remote_off > peer->rma_bytes - r->len_bytes;
}

void tpo_op_submit(struct tpo_port *p, const struct tp_rma *r, bool write)
{
    FL_ASSERT(r->peer < p->cfg.nodes && r->peer != p->cfg.self && r->cls < FL_CLASSES);
    FL_ASSERT(r->len_bytes > 0);
    struct tpo_reg *reg = find_reg(p, r);
    FL_ASSERT(reg != NULL); /* memory that may fault must never reach libfabric */
    struct tpo_peer *peer = &p->peers[r->peer];
    bool comes_up = peer->state == TPO_PARTING ||
                    (peer->state == TPO_DRAIN &&
                     (peer->after == TPO_AFTER_CONNECT || peer->after == TPO_AFTER_ACCEPT));
    if (peer->state != TPO_UP && peer->state != TPO_SETUP && !comes_up) {
        p->ledger.errors++;
        tpo_done(p, r->tag, peer->state == TPO_LIMBO ? FL_ECONN : FL_EPEERDEAD);
        return;
    }
    struct tpo_op *op = op_get(p);
    if (op == NULL) {
        p->ledger.errors++;
        tpo_done(p, r->tag, FL_ENOSPC);
        return;
    }
    op->ctx = (struct tpo_ctx){.kind = TPO_CTX_OP};
    op->r = *r;
    op->desc = reg->desc;
    op->write = write;
    op->answered = false;
    if (r->deadline_ns != FL_NEVER)
        tpo_timer_set(&p->timers, &op->timer, fl_clock_ns() + r->deadline_ns);
    TAILQ_INSERT_TAIL(&peer->queue[r->cls], op, link);
    tpo_op_kick(peer);
    if (!p->in_pump)
        tpo_arm(p);
}

static bool window_open(const struct tpo_peer *peer, const struct tpo_op *op)
{
    const struct tp_cfg *c = &peer->port->cfg;
    bool bulk = op->r.cls == FL_BULK;
    uint32_t ops = c->window_ops - (bulk ? c->window_ops / 4 : 0);
    uint64_t bytes = c->window_bytes - (bulk ? c->window_bytes / 4 : 0);

    if (peer->fly_ops == 0)
        return true; /* one operation may be larger than the window */
    return peer->fly_ops < ops && peer->fly_bytes + op->r.len_bytes <= bytes;
}

static ssize_t post_write(struct tpo_port *p, struct tpo_ep *ep, struct tpo_op *op, bool announce)
{
    const struct tpo_peer *peer = ep->peer;
    struct iovec iov = {.iov_base = op->r.local, .iov_len = op->r.len_bytes};
    struct fi_rma_iov rma = {
        .addr = peer->rma_base + op->r.remote_off, .len = op->r.len_bytes, .key = peer->rma_key};
    struct fi_msg_rma msg = {.msg_iov = &iov,
                             .desc = &op->desc,
                             .iov_count = 1,
                             .rma_iov = &rma,
                             .rma_iov_count = 1,
                             .context = &op->ctx};
    uint64_t flags = FI_DELIVERY_COMPLETE | FI_COMPLETION;

    if (announce) {
        msg.data = op->r.announce_bytes;
        if (p->landed_wide)
            msg.data |= (uint64_t)p->cfg.self << 32;
        flags |= FI_REMOTE_CQ_DATA;
    }
    return fi_writemsg(ep->fid, &msg, flags);
}

static ssize_t op_post(struct tpo_ep *ep, struct tpo_op *op)
{
    struct tpo_port *p = ep->port;
    const struct tpo_peer *peer = ep->peer;

    if (!op->write)
        return fi_read(ep->fid, op->r.local, op->r.len_bytes, op->desc, 0,
                       peer->rma_base + op->r.remote_off, peer->rma_key, &op->ctx);
    bool announce = p->cfg.announce && op->r.last && op->r.announce_bytes != 0;
    bool takes_buffer = announce && p->rx_cq_data;
    if (takes_buffer && !tpo_msg_room(ep))
        return -FI_EBUSY; /* goes on when the peer grants buffers */
    ssize_t rc = post_write(p, ep, op, announce);
    if (rc == 0 && takes_buffer)
        ep->sent++;
    return rc;
}

static void count_posted(struct tpo_port *p, const struct tpo_op *op)
{
    if (op->write) {
        p->ledger.write_ops++;
        p->ledger.write_bytes += op->r.len_bytes;
    } else {
        p->ledger.read_ops++;
        p->ledger.read_bytes += op->r.len_bytes;
    }
}

/** Posts the head of a queue; false when this queue has to wait. */
static bool kick_one(struct tpo_peer *peer, struct tpo_op *op)
{
    struct tpo_port *p = peer->port;
    struct tpo_ep *ep = peer->ep[op->r.cls];

    if (outside(peer, &op->r)) {
        /* tcp answers a wrong address by tearing the connection down: never let it get there. */
        TAILQ_REMOVE(&peer->queue[op->r.cls], op, link);
        tpo_timer_set(&p->timers, &op->timer, FL_NEVER);
        p->ledger.errors++;
        tpo_done(p, op->r.tag, FL_EPERM);
        op_put(p, op);
        return true;
    }
    if (!window_open(peer, op))
        return false;
    ssize_t rc = op_post(ep, op);
    if (rc == -FI_EAGAIN && peer->fly_ops == 0) {
        p->kick_all = true; /* no completion will bring us back */
        tpo_soon(p);
    }
    if (rc == -FI_EAGAIN || rc == -FI_EBUSY)
        return false;
    if (rc != 0) {
        tpo_peer_fail(peer, FL_EPEERDEAD);
        return false;
    }
    TAILQ_REMOVE(&peer->queue[op->r.cls], op, link);
    TAILQ_INSERT_TAIL(&ep->ops, op, link);
    op->ctx.ep = ep;
    op->ctx.posted = true;
    ep->outstanding++;
    peer->fly_ops++;
    peer->fly_bytes += op->r.len_bytes;
    p->fly_ops++;
    count_posted(p, op);
    return true;
}

void tpo_op_kick(struct tpo_peer *peer)
{
    for (unsigned c = 0; c < FL_CLASSES; c++)
        for (struct tpo_op *op;
             peer->state == TPO_UP && (op = TAILQ_FIRST(&peer->queue[c])) != NULL;)
            if (!kick_one(peer, op))
                break;
}

/** The provider no longer holds the operation. */
static void op_unpost(struct tpo_op *op)
{
    struct tpo_ep *ep = op->ctx.ep;
    struct tpo_peer *peer = ep->peer;

    FL_ASSERT(op->ctx.posted && ep->outstanding > 0);
    op->ctx.posted = false;
    ep->outstanding--;
    if (ep->state == TPO_EP_CLOSED)
        return; /* its window was given back when the endpoint was closed */
    peer->fly_ops--;
    peer->fly_bytes -= op->r.len_bytes;
    ep->port->fly_ops--;
}

void tpo_op_completed(struct tpo_op *op, int fi_err)
{
    struct tpo_ep *ep = op->ctx.ep;
    struct tpo_peer *peer = ep->peer;
    struct tpo_port *p = ep->port;
    int status = FL_OK;

    op_unpost(op);
    TAILQ_REMOVE(&ep->ops, op, link);
    if (fi_err != 0) {
        int e = tpo_err(fi_err);
        bool alive = ep->state == TPO_EP_UP || ep->state == TPO_EP_SETUP;
        if (alive && fi_err != FI_EIO && (e == FL_EPERM || e == FL_EIO)) {
            status = e; /* this operation only: the connection lives */
        } else {
            if (alive)
                tpo_conn_ended(ep);
            status = peer->flush_status;
        }
    }
    op_answer(p, op, status);
    op_put(p, op);
    if (peer->state == TPO_UP)
        tpo_op_kick(peer);
}

void tpo_op_expired(struct tpo_port *p, struct tpo_op *op)
{
    bool queued = !op->ctx.posted;

    if (queued)
        TAILQ_REMOVE(&p->peers[op->r.peer].queue[op->r.cls], op, link);
    op_answer(p, op, FL_ETIMEDOUT);
    if (queued)
        op_put(p, op); /* a posted one stays the provider's until it is flushed */
}

void tpo_op_fail_queued(struct tpo_peer *peer, int status)
{
    struct tpo_port *p = peer->port;

    for (unsigned c = 0; c < FL_CLASSES; c++)
        for (struct tpo_op *op; (op = TAILQ_FIRST(&peer->queue[c])) != NULL;) {
            TAILQ_REMOVE(&peer->queue[c], op, link);
            tpo_timer_set(&p->timers, &op->timer, FL_NEVER);
            p->ledger.errors++;
            tpo_done(p, op->r.tag, status);
            op_put(p, op);
        }
}

void tpo_op_abandon(struct tpo_ep *ep)
{
    struct tpo_peer *peer = ep->peer;
    struct tpo_op *op;

    /* They stay on the list and out of use: the completion may still come, however late. */
    TAILQ_FOREACH(op, &ep->ops, link)
    {
        peer->fly_ops--;
        peer->fly_bytes -= op->r.len_bytes;
        ep->port->fly_ops--;
        op_answer(ep->port, op, peer->flush_status);
    }
}
