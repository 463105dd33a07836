/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up of a session: three connections, one per class, made by the side that called connect().
 *
 *   initiator                                   acceptor
 *   hello(generation) in fi_connect  ------->   checks key, version, node, generation; an older
 *                                               generation is shut, closed and its key revoked
 *   answer(rma key, base)            <-------   only then fi_accept
 *   all three answered: up; one heartbeat --->  first frame seen: up
 *
 * So the initiator is up before the acceptor says anything, and whatever an older generation left
 * in the network meets a closed connection and a revoked key.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"

enum { EQ_EVENTS_MAX = 256, GOODBYE_WAIT_MS = 200 };

static struct tp_hello my_hello(const struct tpo_peer *peer, uint8_t kind, uint8_t cls)
{
    const struct tpo_port *p = peer->port;

    return (struct tp_hello){.kind = kind,
                             .cls = cls,
                             .version = p->version,
                             .from = p->cfg.self,
                             .to = peer->id,
                             .generation = peer->generation,
                             .incarnation = p->cfg.incarnation,
                             .rma_key = peer->mr_key,
                             .rma_base = peer->mr_base,
                             .pages = (uint32_t)(p->exposed_bytes / FL_PAGE_BYTES),
                             .credits = p->cfg.credits};
}

static void learn(struct tpo_ep *ep, const struct tp_hello *h)
{
    struct tpo_peer *peer = ep->peer;

    peer->rma_key = h->rma_key;
    peer->rma_base = h->rma_base;
    peer->rma_bytes = (uint64_t)h->pages * FL_PAGE_BYTES;
    ep->peer_buffers = (uint32_t)h->credits + TPO_RESERVE;
    ep->peer_posted = ep->peer_buffers;
}

/** The session cannot be made, or broke while it was made. */
static void setup_failed(struct tpo_peer *peer, int status)
{
    tpo_peer_fail(peer, peer->fencing ? FL_EPEERDEAD : status);
}

/* --- initiator --------------------------------------------------------------------------------- */

static int start_one(struct tpo_peer *peer, uint8_t cls, struct fi_info *info)
{
    uint8_t hello[TP_HELLO_BYTES];
    int rc;

    struct tpo_ep *ep = tpo_ep_new(peer, cls, info, &rc);
    if (ep == NULL)
        return rc;
    peer->ep[cls] = ep;
    struct tp_hello h = my_hello(peer, TP_HELLO_REQUEST, cls);
    tp_hello_encode(&h, peer->port->cfg.key, NULL, hello);
    memcpy(ep->request_mac, hello + TP_HELLO_MAC_AT, TP_MAC_BYTES);
    tpo_rdma_use(&peer->port->cfg.rdma);
    return fi_connect(ep->fid, peer->addr.bytes, hello, sizeof(hello));
}

void tpo_conn_start(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;
    struct fi_info *info = fi_dupinfo(p->info);
    int rc = -FI_ENOMEM;

    peer->state = TPO_SETUP;
    peer->generation++;
    uint64_t wait = peer->fencing ? p->cfg.fence_deadline_ns : p->cfg.connect_deadline_ns;
    if (!peer->fencing) /* a fence's deadline runs from the call */
        tpo_timer_set(&p->timers, &peer->t_setup, fl_clock_ns() + wait);
    if (info != NULL && (info->dest_addr = malloc(peer->addr.len)) != NULL) {
        memcpy(info->dest_addr, peer->addr.bytes, peer->addr.len);
        info->dest_addrlen = peer->addr.len;
        tpo_dev_any_port(info); /* the listening port is the passive endpoint's */
        rc = tpo_peer_expose(peer) == FL_OK ? 0 : -FI_ENOMEM;
        for (uint8_t c = 0; rc == 0 && c < FL_CLASSES; c++)
            rc = start_one(peer, c, info);
    }
    fi_freeinfo(info);
    if (rc != 0)
        setup_failed(peer, rc == -FI_ECONNREFUSED ? FL_EPEERDEAD : tpo_err(-rc));
}

/** The answer to our request of this endpoint. */
static int take_answer(struct tpo_ep *ep, const uint8_t *data, size_t len)
{
    struct tpo_peer *peer = ep->peer;
    struct tpo_port *p = ep->port;
    struct tp_hello h;

    int err = tp_hello_decode(data, len, p->version, p->cfg.key, ep->request_mac, &h);
    if (err != FL_OK)
        return err;
    if (h.from != peer->id || h.to != p->cfg.self || h.cls != ep->cls ||
        h.generation != peer->generation)
        return FL_EPROTO;
    if (peer->told_up && h.incarnation != peer->told_incarnation)
        return FL_EPEERDEAD; /* another process: what we fenced is gone with the old one */
    peer->incarnation = h.incarnation;
    learn(ep, &h);
    return FL_OK;
}

static bool all_up(const struct tpo_peer *peer)
{
    for (unsigned c = 0; c < FL_CLASSES; c++)
        if (peer->ep[c] == NULL || peer->ep[c]->state != TPO_EP_UP)
            return false;
    return true;
}

/* --- acceptor ---------------------------------------------------------------------------------- */

static void refuse(struct tpo_port *p, struct fi_info *info, int status)
{
    uint8_t why[TP_REFUSAL_BYTES];

    tp_refusal_encode(p->version, status, why);
    (void)fi_reject(p->pep, info->handle, why, sizeof(why));
    fi_freeinfo(info);
    p->ledger.errors++;
}

void tpo_conn_drop_pending(struct tpo_peer *peer, int status)
{
    for (unsigned c = 0; c < FL_CLASSES; c++)
        if (peer->req[c].info != NULL) {
            refuse(peer->port, peer->req[c].info, status);
            peer->req[c].info = NULL;
        }
}

static int accept_one(struct tpo_peer *peer, struct tpo_request *req)
{
    uint8_t answer[TP_HELLO_BYTES], cls = req->hello.cls;
    int rc;

    struct tpo_ep *ep = tpo_ep_new(peer, cls, req->info, &rc);
    if (ep == NULL)
        return rc;
    peer->ep[cls] = ep;
    learn(ep, &req->hello);
    struct tp_hello h = my_hello(peer, TP_HELLO_ANSWER, cls);
    tp_hello_encode(&h, peer->port->cfg.key, req->mac, answer);
    tpo_rdma_use(&peer->port->cfg.rdma);
    return fi_accept(ep->fid, answer, sizeof(answer));
}

void tpo_conn_accept_pending(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;
    int rc = 0;

    if (peer->state != TPO_SETUP) {
        peer->state = TPO_SETUP;
        tpo_timer_set(&p->timers, &peer->t_setup, fl_clock_ns() + p->cfg.connect_deadline_ns);
        if (tpo_peer_expose(peer) != FL_OK)
            rc = -FI_ENOMEM;
    }
    for (unsigned c = 0; rc == 0 && c < FL_CLASSES; c++)
        if (peer->req[c].info != NULL) {
            rc = accept_one(peer, &peer->req[c]);
            fi_freeinfo(peer->req[c].info);
            peer->req[c].info = NULL;
        }
    if (rc != 0)
        setup_failed(peer, tpo_err(-rc));
}

/** A request of a higher generation: it waits until nothing of the older one is left. */
static void newer_generation(struct tpo_peer *peer, const struct tp_hello *h)
{
    bool restarted = h->incarnation != peer->incarnation;

    tpo_conn_drop_pending(peer, FL_EFENCED);
    peer->initiator = false;
    peer->incarnation = h->incarnation;
    peer->generation = h->generation;
    if (peer->state != TPO_DOWN)
        tpo_peer_retire(peer, TPO_AFTER_ACCEPT, restarted ? FL_EPEERDEAD : FL_EFENCED);
}

/** Whether the request may be accepted now or later; otherwise why not. */
static int judge(struct tpo_port *p, const struct tp_hello *h)
{
    if (h->to != p->cfg.self || h->from >= p->cfg.nodes || h->from == p->cfg.self)
        return FL_EPROTO;
    struct tpo_peer *peer = &p->peers[h->from];
    if (p->closing || (peer->initiator && peer->state != TPO_DOWN))
        return FL_EPROTO; /* only one side connects */
    if (h->incarnation < peer->incarnation ||
        (h->incarnation == peer->incarnation && h->generation < peer->generation))
        return FL_EFENCED;
    if (h->incarnation != peer->incarnation || h->generation != peer->generation) {
        if (peer->state == TPO_DRAIN && peer->after == TPO_AFTER_DOWN && peer->told_up)
            peer->tell_down = true; /* the death of the old session is told before the new one */
        newer_generation(peer, h);
        return FL_OK;
    }
    bool waits = peer->state == TPO_DRAIN && peer->after == TPO_AFTER_ACCEPT;
    bool open = (waits || peer->state == TPO_SETUP || peer->state == TPO_DOWN) &&
                peer->req[h->cls].info == NULL && (waits || peer->ep[h->cls] == NULL);
    return open && peer->generation != 0 ? FL_OK : FL_EPROTO;
}

static void on_request(struct tpo_port *p, struct fi_info *info, const uint8_t *data, size_t len)
{
    struct tp_hello h;

    int err = tp_hello_decode(data, len, p->version, p->cfg.key, NULL, &h);
    if (err == FL_OK)
        err = judge(p, &h);
    if (err != FL_OK) {
        refuse(p, info, err);
        return;
    }
    struct tpo_peer *peer = &p->peers[h.from];
    struct tpo_request *req = &peer->req[h.cls];
    *req = (struct tpo_request){.info = info, .hello = h};
    memcpy(req->mac, data + TP_HELLO_MAC_AT, TP_MAC_BYTES);
    if (peer->state == TPO_SETUP || peer->state == TPO_DOWN)
        tpo_conn_accept_pending(peer);
}

void tpo_conn_frame_seen(struct tpo_peer *peer)
{
    if (peer->state != TPO_SETUP || peer->initiator)
        return;
    /* The peer had all our answers. Our own events of them are waiting to be read, or on verbs still
     * under way: what confirms a connection there travels apart from the data and may come later. */
    while (tpo_eq_drain(peer->port) && peer->state == TPO_SETUP && !all_up(peer))
        ;
    for (unsigned c = 0; c < FL_CLASSES && peer->state == TPO_SETUP && peer->ep[c] != NULL; c++)
        peer->ep[c]->state = TPO_EP_UP;
    if (peer->state == TPO_SETUP && all_up(peer))
        tpo_peer_up(peer);
}

/* --- events ------------------------------------------------------------------------------------ */

static void on_connected(struct tpo_ep *ep, const uint8_t *data, size_t len)
{
    struct tpo_peer *peer = ep->peer;

    if (ep->state != TPO_EP_SETUP || peer->state != TPO_SETUP)
        return;
    if (peer->initiator) {
        int err = take_answer(ep, data, len);
        if (err != FL_OK) {
            setup_failed(peer, err);
            return;
        }
    }
    ep->state = TPO_EP_UP;
    if (peer->initiator && all_up(peer))
        tpo_peer_up(peer);
}

/** What the end of a connection means, now that what came before it was heard. */
void tpo_conn_judge_end(struct tpo_peer *peer)
{
    struct tpo_port *p = peer->port;

    if (peer->goodbye) {
        tpo_peer_fail(peer, FL_OK);
    } else if (peer->fence_noted && !peer->initiator) {
        tpo_timer_set(&p->timers, &peer->t_setup, fl_clock_ns() + p->cfg.fence_deadline_ns);
        tpo_peer_retire(peer, TPO_AFTER_LIMBO, FL_EFENCED);
    } else {
        tpo_peer_fail(peer, FL_EPEERDEAD);
    }
}

static bool all_ended(const struct tpo_peer *peer)
{
    for (unsigned c = 0; c < FL_CLASSES; c++)
        if (peer->ep[c] != NULL && !peer->ep[c]->ended)
            return false;
    return true;
}

/** How long to wait for what was sent before the end and may be heard after it. */
static uint64_t end_wait_ns(const struct tpo_peer *peer)
{
    if (peer->goodbye) /* other classes may still hold what was sent before */
        return all_ended(peer) ? 0 : GOODBYE_WAIT_MS * FL_NS_PER_MS;
    return peer->fence_noted ? 0 : peer->port->late_frames_ns;
}

void tpo_conn_ended(struct tpo_ep *ep)
{
    struct tpo_peer *peer = ep->peer;

    if (peer->state == TPO_PARTING)
        tpo_peer_part(peer);
    else if (peer->state == TPO_SETUP)
        setup_failed(peer, FL_ECONN);
    if (peer->state != TPO_UP)
        return;
    ep->ended = true;
    uint64_t wait_ns = end_wait_ns(peer);
    if (wait_ns == 0)
        tpo_conn_judge_end(peer);
    else if (peer->t_setup.place == 0)
        tpo_timer_set(&peer->port->timers, &peer->t_setup, fl_clock_ns() + wait_ns);
}

static void on_error(struct tpo_port *p)
{
    struct fi_eq_err_entry e = {0};

    if (fi_eq_readerr(p->eq, &e, 0) < 0)
        return;
    struct tpo_ep *ep = tpo_ep_find(p, e.fid);
    if (ep == NULL)
        return;
    if (ep->peer->state != TPO_SETUP) {
        tpo_conn_ended(ep);
        return;
    }
    int status = tpo_err(e.err);
    if (e.err == FI_ECONNREFUSED && e.err_data_size > 0)
        status = tp_refusal_decode(e.err_data, e.err_data_size);
    else if (e.err == FI_ECONNREFUSED)
        status = FL_EPEERDEAD; /* nobody listens there */
    setup_failed(ep->peer, status);
}

bool tpo_eq_drain(struct tpo_port *p)
{
    union {
        struct fi_eq_cm_entry cm;
        uint8_t room[sizeof(struct fi_eq_cm_entry) + 512];
    } e;
    uint32_t event;
    bool any = false;

    tpo_rdma_use(&p->cfg.rdma); /* connections go on inside the call */
    for (int i = 0; i < EQ_EVENTS_MAX; i++) {
        ssize_t n = fi_eq_read(p->eq, &event, &e, sizeof(e), 0);
        if (n == -FI_EAVAIL) {
            on_error(p);
            any = true;
            continue;
        }
        if (n < (ssize_t)sizeof(e.cm))
            return any;
        any = true;
        p->cm_moved = true;
        size_t data_len = (size_t)n - sizeof(e.cm);
        struct tpo_ep *ep = event == FI_CONNREQ ? NULL : tpo_ep_find(p, e.cm.fid);
        if (event == FI_CONNREQ)
            on_request(p, e.cm.info, e.cm.data, data_len);
        else if (event == FI_CONNECTED && ep != NULL)
            on_connected(ep, e.cm.data, data_len);
        else if (event == FI_SHUTDOWN && ep != NULL)
            tpo_conn_ended(ep);
    }
    return any;
}
