/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump: drains both queues, runs what is due, and goes back to sleep only when fi_trywait has
 * said that nothing was missed and the wait descriptors are armed. Events of the completion queue
 * come first: tcp notices a peer's end while the completion queue is read.
 */
#include <poll.h>
#include <stdlib.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"

enum { POLL_CLOCK_EVERY = 64, POLL_EQ_EVERY = 1024, SPIN_CLOCK_EVERY = 16 };

/* --- completions ------------------------------------------------------------------------------- */

/** Takes the context back from the provider; op contexts do that themselves. */
static void unpost(struct tpo_ctx *c)
{
    FL_ASSERT(c->posted && c->ep->outstanding > 0);
    c->posted = false;
    c->ep->outstanding--;
}

static void landed(struct tpo_port *p, uint64_t data)
{
    uint64_t from = data >> 32;

    if (from >= p->cfg.nodes || from == p->cfg.self)
        return; /* a peer's number is never trusted */
    struct tpo_peer *peer = &p->peers[from];
    tpo_conn_frame_seen(peer);
    if (peer->state != TPO_UP)
        return;
    p->ledger.rx_announced_bytes += (uint32_t)data;
    if (p->h.landed != NULL)
        p->h.landed(p->h.arg, (uint16_t)from, (uint32_t)data);
}

static void on_completion(struct tpo_port *p, const struct fi_cq_data_entry *e)
{
    /* sockets also marks the writer's own completion with FI_REMOTE_CQ_DATA. */
    const uint64_t ours = FI_RECV | FI_SEND | FI_READ | FI_WRITE;
    bool arrival = (e->flags & FI_REMOTE_CQ_DATA) != 0 && (e->flags & ours) == 0;

    if (arrival && !p->rx_cq_data) {
        landed(p, e->data); /* the context means nothing here */
        return;
    }
    if (e->op_context == NULL)
        return;
    struct tpo_ctx *c = e->op_context;
    struct tpo_buf *b = (struct tpo_buf *)c;
    switch ((enum tpo_ctx_kind)c->kind) {
    case TPO_CTX_OP:
        tpo_op_completed((struct tpo_op *)c, 0);
        break;
    case TPO_CTX_RX:
        unpost(c);
        if ((e->flags & FI_REMOTE_CQ_DATA) != 0)
            tpo_msg_landed(b, (uint32_t)e->data);
        else
            tpo_msg_received(b, e->len);
        break;
    case TPO_CTX_TX:
        unpost(c);
        tpo_msg_sent(b);
        break;
    }
}

static void on_failure(struct tpo_port *p)
{
    struct fi_cq_err_entry e = {0};

    if (fi_cq_readerr(p->cq, &e, 0) < 0 || e.op_context == NULL)
        return; /* tcp reports failed injects without a context; prov_errno is stale there */
    struct tpo_ctx *c = e.op_context;
    if (c->kind == TPO_CTX_OP) {
        tpo_op_completed((struct tpo_op *)c, e.err);
        return;
    }
    unpost(c);
    struct tpo_ep *ep = c->ep;
    if (ep->state != TPO_EP_UP)
        return;
    if (e.err == FI_ETRUNC)
        tpo_peer_fail(ep->peer, FL_EPROTO); /* longer than any frame of ours */
    else
        tpo_conn_ended(ep);
}

/** Reads until nothing is left; true if there was anything. */
static bool cq_drain(struct tpo_port *p)
{
    struct fi_cq_data_entry e[TPO_CQ_BATCH];
    bool any = false;

    for (int rounds = 0; rounds < TPO_PUMP_ROUNDS; rounds++) {
        ssize_t n = fi_cq_read(p->cq, e, TPO_CQ_BATCH);
        if (n == -FI_EAVAIL) {
            on_failure(p);
            any = true;
            continue;
        }
        if (n <= 0)
            return any;
        any = true;
        for (ssize_t i = 0; i < n; i++)
            on_completion(p, &e[i]);
        if (n < TPO_CQ_BATCH)
            return true; /* empty now; fi_trywait finds out otherwise */
    }
    return any;
}

/* --- what else is due -------------------------------------------------------------------------- */

bool tpo_run_dones(struct tpo_port *p)
{
    bool any = false;

    /* Bounded by what is there now; what callbacks add waits for the next round. */
    for (uint32_t n = p->done_tail - p->done_head; n > 0 && p->done_head != p->done_tail; n--) {
        struct tpo_done d = p->dones[p->done_head++ & (p->done_cap - 1)];
        p->h.done(p->h.arg, d.tag, d.status);
        any = true;
    }
    return any;
}

static struct tpo_peer *setup_of(struct tpo_timer *t)
{
    return (struct tpo_peer *)((char *)t - offsetof(struct tpo_peer, t_setup));
}

static struct tpo_peer *beat_of(struct tpo_timer *t)
{
    return (struct tpo_peer *)((char *)t - offsetof(struct tpo_peer, t_beat));
}

static bool run_timers(struct tpo_port *p)
{
    uint64_t next = tpo_timers_next(&p->timers);

    if (next == FL_NEVER)
        return false;
    uint64_t now = fl_clock_ns();
    bool any = false;
    for (struct tpo_timer *t; (t = tpo_timers_pop(&p->timers, now)) != NULL; any = true)
        switch ((enum tpo_timer_kind)t->kind) {
        case TPO_T_OP:
            tpo_op_expired(p, (struct tpo_op *)((char *)t - offsetof(struct tpo_op, timer)));
            break;
        case TPO_T_SETUP:
            tpo_peer_setup_expired(setup_of(t));
            break;
        case TPO_T_BEAT:
            tpo_peer_beat(beat_of(t), now, t->at_ns);
            break;
        case TPO_T_REAP:
            break; /* the round that follows looks again */
        }
    return any;
}

static void kick_all(struct tpo_port *p)
{
    bool kick = p->kick_all, tell = p->tell_all;

    p->kick_all = p->tell_all = false;
    for (uint16_t i = 0; (kick || tell) && i < p->cfg.nodes; i++) {
        struct tpo_peer *peer = &p->peers[i];
        if (kick)
            tpo_op_kick(peer);
        for (unsigned c = 0; tell && c < FL_CLASSES && peer->state == TPO_UP; c++)
            tpo_msg_tell_credit(peer->ep[c]);
    }
}

static bool reap(struct tpo_port *p)
{
    if (TAILQ_EMPTY(&p->retired) && TAILQ_EMPTY(&p->drain) && TAILQ_EMPTY(&p->grave))
        return false;
    uint64_t now = fl_clock_ns();
    bool any = tpo_ep_reap(p, now);
    any |= tpo_peer_drained(p);
    if (!any && !TAILQ_EMPTY(&p->retired)) /* only a provider that does not flush gets here */
        tpo_timer_set(&p->timers, &p->t_reap, now + 5 * FL_NS_PER_MS);
    return any;
}

/** One round; true if anything happened. */
static bool round_once(struct tpo_port *p)
{
    bool any = cq_drain(p);

    if (p->eq_due || !p->eq_by_fd)
        any |= tpo_eq_drain(p);
    any |= run_timers(p);
    if (p->kick_all || p->tell_all)
        kick_all(p);
    any |= tpo_run_dones(p);
    any |= reap(p);
    if (p->cm_moved) {
        p->cm_moved = false;
        tpo_cloexec(p);
    }
    return any;
}

/* --- the loop ---------------------------------------------------------------------------------- */

void tpo_soon(struct tpo_port *p)
{
    if (p->in_pump || p->soon || !p->events_added)
        return;
    p->soon = true;
    event_active(&p->ev_soon, EV_TIMEOUT, 0);
}

void tpo_arm(struct tpo_port *p)
{
    uint64_t next = tpo_timers_next(&p->timers);

    if (!p->events_added || (next == FL_NEVER && !p->timer_armed))
        return;
    if (next == FL_NEVER) {
        event_del(&p->ev_timer);
        p->timer_armed = false;
        return;
    }
    /* Operations come and go with ever later deadlines: an early timer is cheaper than a new one. */
    if (p->timer_armed && p->timer_at_ns <= next)
        return;
    uint64_t now = fl_clock_ns(), left_us = next > now ? (next - now) / FL_NS_PER_US + 1 : 0;
    struct timeval tv = {.tv_sec = (time_t)(left_us / 1000000),
                         .tv_usec = (suseconds_t)(left_us % 1000000)};
    event_add(&p->ev_timer, &tv);
    p->timer_armed = true;
    p->timer_at_ns = next;
}

/** Polls for a moment while operations are under way: cheaper than a wake-up if a core is free. */
static void spin(struct tpo_port *p)
{
    if (p->spin_ns == 0 || p->fly_ops == 0 || p->closing)
        return;
    uint64_t until = fl_clock_ns() + p->spin_ns;
    for (unsigned i = 1; p->fly_ops != 0; i++) {
        if (cq_drain(p))
            until = fl_clock_ns() + p->spin_ns;
        if (i % SPIN_CLOCK_EVERY == 0 && fl_clock_ns() > until)
            return;
    }
}

void tpo_pump(struct tpo_port *p)
{
    if (p->in_pump)
        return;
    p->in_pump = true;
    bool asleep = false;
    for (int i = 0; i < TPO_PUMP_ROUNDS && !asleep; i++) {
        if (i == 0)
            spin(p);
        if (round_once(p))
            continue;
        struct fid *f[2] = {&p->cq->fid, &p->eq->fid};
        int rc = fi_trywait(p->fabric, f, 2);
        asleep = rc != -FI_EAGAIN;
    }
    p->in_pump = false;
    p->eq_due = false;
    tpo_arm(p);
    if (!asleep || p->kick_all || p->tell_all)
        tpo_soon(p); /* fairness: others of this loop have their turn first */
}

bool tpo_poll(struct tpo_port *p)
{
    if (p->in_pump)
        return false;
    p->in_pump = true;
    uint32_t n = ++p->poll_count;
    bool any = cq_drain(p);
    if (any || n % POLL_EQ_EVERY == 0)
        (void)tpo_eq_drain(p);
    if (any || n % POLL_CLOCK_EVERY == 0)
        any |= run_timers(p);
    if (p->done_head != p->done_tail)
        any |= tpo_run_dones(p);
    if (p->kick_all || p->tell_all)
        kick_all(p);
    any |= reap(p);
    if (p->cm_moved) {
        p->cm_moved = false;
        tpo_cloexec(p);
    }
    p->in_pump = false;
    return any;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct tpo_port *p = arg;

    (void)fd;
    (void)what;
    p->ledger.wakeups++;
    tpo_pump(p);
}

static void on_eq_ready(evutil_socket_t fd, short what, void *arg)
{
    ((struct tpo_port *)arg)->eq_due = true;
    on_ready(fd, what, arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct tpo_port *p = arg;

    p->timer_armed = false;
    p->eq_due = true;
    on_ready(fd, what, p);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    struct tpo_port *p = arg;

    (void)fd;
    (void)what;
    p->soon = false;
    p->eq_due = true;
    tpo_pump(p);
}

int tpo_events_add(struct tpo_port *p, struct fl_errmsg *err)
{
    int cq_fd, eq_fd;

    if (fi_control(&p->cq->fid, FI_GETWAIT, &cq_fd) != 0 ||
        fi_control(&p->eq->fid, FI_GETWAIT, &eq_fd) != 0)
        return fl_fail(err, FL_EUNSUPPORTED,
                       "\"%s\" offers no descriptor to wait on; use tcp or verbs", p->cfg.provider);
    event_assign(&p->ev_cq, p->loop, cq_fd, EV_READ | EV_PERSIST, on_ready, p);
    event_assign(&p->ev_eq, p->loop, eq_fd, EV_READ | EV_PERSIST, on_eq_ready, p);
    event_assign(&p->ev_timer, p->loop, -1, EV_TIMEOUT, on_timer, p);
    event_assign(&p->ev_soon, p->loop, -1, EV_TIMEOUT, on_soon, p);
    p->events_added = true;
    if (event_add(&p->ev_cq, NULL) != 0 || event_add(&p->ev_eq, NULL) != 0) {
        tpo_events_del(p);
        return fl_fail(err, FL_EIO, "the event loop refuses the fabric's descriptors");
    }
    tpo_soon(p);
    return FL_OK;
}

void tpo_events_del(struct tpo_port *p)
{
    if (!p->events_added)
        return;
    event_del(&p->ev_cq);
    event_del(&p->ev_eq);
    event_del(&p->ev_timer);
    event_del(&p->ev_soon);
    p->events_added = false;
}

bool tpo_pump_until(struct tpo_port *p, bool (*done)(struct tpo_port *p), uint64_t deadline_ns)
{
    struct pollfd fds[2] = {{.fd = event_get_fd(&p->ev_cq), .events = POLLIN},
                            {.fd = event_get_fd(&p->ev_eq), .events = POLLIN}};

    for (;;) {
        p->eq_due = true;
        tpo_pump(p);
        if (done(p))
            return true;
        uint64_t now = fl_clock_ns();
        if (now >= deadline_ns)
            return false;
        (void)poll(fds, 2, 1); /* the timers of the port need a look every millisecond */
    }
}
