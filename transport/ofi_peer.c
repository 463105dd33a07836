/* SPDX-License-Identifier: Apache-2.0 */
/* Life and death of peers: up, silence, fence, end. */
#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"

enum { PART_WAIT_MS = 150 };

void tpo_peer_init(struct tpo_peer *peer, struct tpo_port *p, uint16_t id)
{
    peer->port = p;
    peer->id = id;
    peer->flush_status = FL_EPEERDEAD;
    peer->t_setup.kind = TPO_T_SETUP;
    peer->t_beat.kind = TPO_T_BEAT;
    for (unsigned c = 0; c < FL_CLASSES; c++)
        TAILQ_INIT(&peer->queue[c]);
}

int tpo_peer_expose(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;

    if (p->exposed == NULL || peer->mr != NULL)
        return FL_OK;
    int err = tpo_mr_open(p, p->exposed, p->exposed_bytes, FI_REMOTE_READ | FI_REMOTE_WRITE,
                          &peer->mr, NULL);
    if (err != FL_OK)
        return err;
    bool virt = (p->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    peer->mr_key = fi_mr_key(peer->mr);
    peer->mr_base = virt ? (uint64_t)(uintptr_t)p->exposed : 0;
    return FL_OK;
}

static void revoke(struct tpo_peer *peer)
{
    if (peer->mr != NULL)
        (void)fi_close(&peer->mr->fid);
    peer->mr = NULL;
}

void tpo_peer_beat_start(struct tpo_peer *peer)
{
    const struct tp_cfg *c = &peer->port->cfg;

    if (c->heartbeat_ns != 0)
        tpo_timer_set(&peer->port->timers, &peer->t_beat, fl_clock_ns() + c->heartbeat_ns);
}

void tpo_peer_beat(struct tpo_peer *peer, uint64_t now_ns, uint64_t due_ns)
{
    struct tpo_port *p = peer->port;
    const struct tp_cfg *c = &p->cfg;

    if (peer->state == TPO_PARTING)
        tpo_peer_part(peer);
    if (peer->state != TPO_UP)
        return;
    /* Late by a period: this process was stopped itself, and its peer's silence proves nothing. */
    if (now_ns - due_ns >= c->heartbeat_ns)
        peer->last_rx_ns = now_ns;
    if (now_ns >= peer->last_rx_ns + c->heartbeat_miss_ns) {
        tpo_peer_fail(peer, FL_ETIMEDOUT);
        return;
    }
    if (now_ns >= peer->last_tx_ns + c->heartbeat_ns) {
        (void)tpo_msg_frame(peer->ep[FL_URGENT], TP_FRAME_HEARTBEAT);
        peer->last_tx_ns = now_ns; /* also when no credit is left: the peer hears nothing new */
    }
    uint64_t send_at = peer->last_tx_ns + c->heartbeat_ns;
    uint64_t miss_at = peer->last_rx_ns + c->heartbeat_miss_ns;
    tpo_timer_set(&p->timers, &peer->t_beat, send_at < miss_at ? send_at : miss_at);
}

void tpo_peer_up(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;

    peer->state = TPO_UP;
    peer->flush_status = FL_EPEERDEAD;
    peer->goodbye = false;
    peer->fence_noted = false;
    peer->last_rx_ns = peer->last_tx_ns = fl_clock_ns();
    tpo_timer_set(&p->timers, &peer->t_setup, FL_NEVER);
    tpo_peer_beat_start(peer);
    if (peer->initiator)
        (void)tpo_msg_frame(peer->ep[FL_URGENT], TP_FRAME_HEARTBEAT); /* tells that we are up */
    if (peer->fencing) {
        peer->fencing = false;
        tpo_done(p, peer->fence_tag, FL_OK);
    }
    if (peer->told_up) {
        p->ledger.reconnects++;
    } else {
        peer->told_up = true;
        peer->told_incarnation = peer->incarnation;
        p->h.peer_up(p->h.arg, peer->id, peer->incarnation);
    }
    for (unsigned c = 0; c < FL_CLASSES && peer->state == TPO_UP; c++)
        tpo_msg_tell_credit(peer->ep[c]);
    tpo_op_kick(peer);
}

void tpo_peer_retire(struct tpo_peer *peer, enum tpo_after after, int flush_status)
{
    struct tpo_port *p = peer->port;

    peer->after = after;
    peer->flush_status = flush_status;
    peer->state = TPO_DRAIN;
    tpo_timer_set(&p->timers, &peer->t_beat, FL_NEVER);
    for (unsigned c = 0; c < FL_CLASSES; c++) {
        if (peer->ep[c] == NULL)
            continue;
        tpo_ep_retire(peer->ep[c]);
        peer->ep[c] = NULL;
    }
    if (!peer->draining) {
        peer->draining = true;
        TAILQ_INSERT_TAIL(&p->drain, peer, link);
    }
    tpo_soon(p);
}

void tpo_peer_fail(struct tpo_peer *peer, int cause)
{
    if (peer->state == TPO_DOWN || (peer->state == TPO_DRAIN && peer->after == TPO_AFTER_DOWN))
        return;
    peer->down_cause = cause;
    tpo_timer_set(&peer->port->timers, &peer->t_setup, FL_NEVER);
    tpo_peer_retire(peer, TPO_AFTER_DOWN, FL_EPEERDEAD);
}

static void end_fence(struct tpo_peer *peer, int status)
{
    if (!peer->fencing)
        return;
    peer->fencing = false;
    tpo_done(peer->port, peer->fence_tag, status);
}

static void tell_down(struct tpo_peer *peer, int cause)
{
    struct tpo_port *p = peer->port;
    uint64_t incarnation = peer->told_up ? peer->told_incarnation : peer->incarnation;

    peer->told_up = peer->wants_down = peer->tell_down = false;
    tpo_run_dones(p); /* every operation has its answer before the end is told */
    p->h.peer_down(p->h.arg, peer->id, incarnation, cause);
}

static void drained_down(struct tpo_peer *peer)
{
    tpo_op_fail_queued(peer, FL_EPEERDEAD);
    tpo_conn_drop_pending(peer, FL_EPROTO);
    end_fence(peer, peer->down_cause == FL_ETIMEDOUT ? FL_ETIMEDOUT : FL_EPEERDEAD);
    peer->refused = 0;
    peer->state = TPO_DOWN;
    if (peer->told_up || peer->wants_down)
        tell_down(peer, peer->down_cause);
}

static void drained_limbo(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;

    tpo_op_fail_queued(peer, FL_ECONN);
    peer->state = TPO_LIMBO;
    /* Who fenced and ran out of time may fence again, but not for ever: then the peer is dead. */
    if (peer->initiator && p->cfg.heartbeat_ns != 0)
        tpo_timer_set(&p->timers, &peer->t_setup, fl_clock_ns() + p->cfg.heartbeat_miss_ns);
}

static void drained(struct tpo_peer *peer)
{
    revoke(peer);
    switch (peer->after) {
    case TPO_AFTER_DOWN:
        drained_down(peer);
        break;
    case TPO_AFTER_LIMBO:
        drained_limbo(peer);
        break;
    case TPO_AFTER_CONNECT:
        tpo_conn_start(peer);
        break;
    case TPO_AFTER_ACCEPT:
        if (peer->told_up && (peer->tell_down || peer->told_incarnation != peer->incarnation))
            tell_down(peer, FL_EPEERDEAD);
        if (peer->state == TPO_DRAIN && !peer->draining)
            tpo_conn_accept_pending(peer);
        break;
    }
}

bool tpo_peer_drained(struct tpo_port *p)
{
    bool any = false;
    struct tpo_peer *next;

    for (struct tpo_peer *peer = TAILQ_FIRST(&p->drain); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, link);
        if (peer->retiring != 0)
            continue;
        TAILQ_REMOVE(&p->drain, peer, link);
        peer->draining = false;
        drained(peer);
        any = true;
        break; /* callbacks may have changed the list: the pump comes back */
    }
    return any;
}

void tpo_peer_part(struct tpo_peer *peer)
{
    tpo_peer_retire(peer, TPO_AFTER_CONNECT, FL_EFENCED);
}

void tpo_peer_fence(struct tpo_peer *peer, uint64_t tag)
{
    struct tpo_port *p = peer->port;
    bool gone = peer->state == TPO_DOWN ||
                (peer->state == TPO_DRAIN && !peer->fencing && peer->after == TPO_AFTER_DOWN);

    p->ledger.fences++;
    if (gone || !peer->initiator || peer->fencing) {
        tpo_done(p, tag, gone ? FL_EPEERDEAD : peer->fencing ? FL_EAGAIN : FL_ENOSYS);
        return;
    }
    tpo_op_fail_queued(peer, FL_EFENCED);
    peer->fencing = true;
    peer->fence_tag = tag;
    tpo_timer_set(&p->timers, &peer->t_setup, fl_clock_ns() + p->cfg.fence_deadline_ns);
    /* The peer is told, lest it takes the end for our death. It cannot be waited for: it may be
     * stopped, or the way to it blocked, which is why there is a fence at all. */
    if (peer->state == TPO_UP && tpo_msg_frame(peer->ep[FL_URGENT], TP_FRAME_FENCE)) {
        peer->state = TPO_PARTING;
        uint64_t wait_ns = PART_WAIT_MS * FL_NS_PER_MS;
        if (wait_ns > p->cfg.fence_deadline_ns / 4)
            wait_ns = p->cfg.fence_deadline_ns / 4;
        tpo_timer_set(&p->timers, &peer->t_beat, fl_clock_ns() + wait_ns);
    } else {
        tpo_peer_part(peer);
    }
    if (!p->in_pump)
        tpo_arm(p);
}

void tpo_peer_setup_expired(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;

    if (peer->state == TPO_UP) {
        tpo_conn_judge_end(peer); /* a connection ended a moment ago */
    } else if (peer->fencing) {
        tpo_op_fail_queued(peer, FL_ETIMEDOUT);
        p->ledger.timeouts++;
        end_fence(peer, FL_ETIMEDOUT);
        tpo_peer_retire(peer, TPO_AFTER_LIMBO, FL_EFENCED);
    } else if (peer->state == TPO_LIMBO) {
        tpo_peer_fail(peer, peer->initiator ? FL_ETIMEDOUT : FL_EPEERDEAD);
    } else if (peer->state == TPO_SETUP) {
        p->ledger.timeouts++;
        tpo_peer_fail(peer, peer->initiator ? FL_ETIMEDOUT : FL_ECONN);
    }
}
