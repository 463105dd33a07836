/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages and credits. Each side posts credits + TPO_RESERVE receive buffers per connection and
 * tells in every frame how many it has posted since the connection began; the other side never has
 * more frames under way than that, because on tcp a frame without a posted buffer blocks everything
 * behind it. Messages of the owner leave the reserve alone, so that credits can always be returned.
 */
#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"
#include "transport/wire.h"

int tpo_msg_post_rx(struct tpo_ep *ep, struct tpo_buf *b)
{
    ssize_t rc = fi_recv(ep->fid, b->mem, ep->buf_bytes, ep->desc, 0, &b->ctx);

    if (rc != 0)
        return (int)rc;
    b->ctx.posted = true;
    ep->outstanding++;
    ep->posted++;
    return 0;
}

/** Buffers of the peer that are posted and not yet spoken for. */
static uint32_t avail(const struct tpo_ep *ep)
{
    return ep->peer_posted - ep->sent;
}

bool tpo_msg_room(const struct tpo_ep *ep)
{
    return avail(ep) > TPO_RESERVE;
}

/** Fills in the frame and sends @len_bytes of @b. */
static bool post_frame(struct tpo_ep *ep, enum tp_frame_kind kind, size_t len_bytes)
{
    struct tpo_buf *b = &ep->tx[ep->tx_free[ep->tx_free_count - 1]];
    struct tp_frame f = {.kind = (uint8_t)kind,
                         .cls = ep->cls,
                         .posted = ep->posted,
                         .incarnation = ep->port->cfg.incarnation};

    tp_frame_encode(&f, b->mem);
    if (fi_send(ep->fid, b->mem, len_bytes, ep->desc, 0, &b->ctx) != 0)
        return false;
    b->ctx.posted = true;
    ep->outstanding++;
    ep->tx_free_count--;
    ep->sent++;
    ep->told = ep->posted;
    ep->owed_user = 0;
    ep->peer->last_tx_ns = fl_clock_ns();
    return true;
}

bool tpo_msg_frame(struct tpo_ep *ep, enum tp_frame_kind kind)
{
    /* A heartbeat must not take the last buffers that returning credits needs. */
    uint32_t need = kind == TP_FRAME_HEARTBEAT ? 3 : 1;

    if (ep->state != TPO_EP_UP || ep->peer->muted || avail(ep) < need || ep->tx_free_count == 0)
        return false;
    return post_frame(ep, kind, TP_FRAME_BYTES);
}

/** Status for a message that cannot be sent now; FL_OK when it can. */
static int send_check(struct tpo_peer *peer, int cls)
{
    if (cls < 0)
        return FL_EINVAL;
    if (peer->state == TPO_DOWN || (peer->state == TPO_DRAIN && peer->after == TPO_AFTER_DOWN))
        return FL_EPEERDEAD;
    if (peer->state == TPO_LIMBO)
        return FL_ECONN;
    if (peer->state != TPO_UP) {
        peer->refused |= (uint8_t)(1 << cls);
        return FL_EAGAIN;
    }
    struct tpo_ep *ep = peer->ep[cls];
    if (!tpo_msg_room(ep) || ep->tx_free_count == 0) {
        peer->refused |= (uint8_t)(1 << cls);
        return FL_EAGAIN;
    }
    return FL_OK;
}

void tpo_msg_send(struct tpo_port *p, uint16_t id, const struct fl_msg *m,
                  const uint8_t *const *lines, uint64_t tag)
{
    FL_ASSERT(id < p->cfg.nodes && id != p->cfg.self);
    struct tpo_peer *peer = &p->peers[id];
    int cls = fl_msg_class(m->type);
    size_t len = 0;

    int status = send_check(peer, cls);
    if (status == FL_OK) {
        struct tpo_ep *ep = peer->ep[cls];
        uint8_t *at = ep->tx[ep->tx_free[ep->tx_free_count - 1]].mem + TP_FRAME_BYTES;
        status = tp_wire_encode(m, lines, at, ep->buf_bytes - TP_FRAME_BYTES, &len);
        if (status == FL_OK && !post_frame(ep, TP_FRAME_MSG, TP_FRAME_BYTES + len)) {
            peer->refused |= (uint8_t)(1 << cls);
            p->tell_all = true; /* the provider was full: nothing else will bring credit() */
            status = FL_EAGAIN;
        }
    }
    if (status == FL_OK) {
        p->ledger.msg_sent++;
        p->ledger.msg_bytes += len;
        for (unsigned i = 0; i < m->entry_count; i++)
            p->ledger.msg_payload_bytes +=
                (uint64_t)fl_mask_count(m->entries[i].mask) * FL_LINE_BYTES;
    }
    tpo_done(p, tag, status);
}

void tpo_msg_sent(struct tpo_buf *b)
{
    struct tpo_ep *ep = b->ctx.ep;

    ep->tx_free[ep->tx_free_count++] = (uint32_t)(b - ep->tx);
    if (ep->state == TPO_EP_UP)
        tpo_msg_tell_credit(ep);
}

void tpo_msg_tell_credit(struct tpo_ep *ep)
{
    struct tpo_peer *peer = ep->peer;
    struct tpo_port *p = ep->port;

    if ((peer->refused >> ep->cls & 1) == 0 || peer->state != TPO_UP || !tpo_msg_room(ep) ||
        ep->tx_free_count == 0)
        return;
    peer->refused &= (uint8_t) ~(1 << ep->cls);
    p->h.credit(p->h.arg, peer->id, (enum fl_class)ep->cls);
}

/** Gives credits back in a frame of their own when no message is there to carry them. */
static void return_credits(struct tpo_ep *ep)
{
    uint32_t half = ep->port->cfg.credits / 2U, owed = ep->posted - ep->told;

    if (ep->owed_user >= (half > 0 ? half : 1) || owed >= half + 2)
        (void)tpo_msg_frame(ep, TP_FRAME_CREDIT);
}

void tpo_msg_mute(struct tpo_peer *peer, bool muted)
{
    peer->muted = muted;
    for (unsigned c = 0; !muted && peer->state == TPO_UP && c < FL_CLASSES; c++)
        if (peer->ep[c]->state == TPO_EP_UP)
            return_credits(peer->ep[c]);
}

/** The peer has posted more; false when it claims what cannot be. */
static bool take_credits(struct tpo_ep *ep, uint32_t posted)
{
    uint32_t now = posted - ep->sent;

    if (posted - ep->peer_posted > INT32_MAX || now > ep->peer_buffers)
        return false;
    ep->peer_posted = posted;
    return true;
}

static int deliver(struct tpo_ep *ep, const uint8_t *src, size_t len)
{
    struct tpo_port *p = ep->port;
    const uint8_t *payload;
    struct fl_msg m;
    size_t bytes;

    int err = tp_wire_decode(src, len, &m, &payload, &bytes);
    if (err != FL_OK)
        return err;
    if (fl_msg_class(m.type) != ep->cls)
        return FL_EPROTO;
    p->ledger.rx_msg++;
    p->ledger.rx_msg_bytes += len;
    p->ledger.rx_msg_payload_bytes += bytes;
    ep->owed_user++;
    p->h.msg(p->h.arg, ep->peer->id, &m, payload, bytes);
    return FL_OK;
}

static int handle(struct tpo_ep *ep, const uint8_t *src, size_t len)
{
    struct tpo_peer *peer = ep->peer;
    struct tp_frame f;

    int err = tp_frame_decode(src, len, &f);
    if (err != FL_OK)
        return err;
    if (f.cls != ep->cls || f.incarnation != peer->incarnation || !take_credits(ep, f.posted))
        return FL_EPROTO;
    switch ((enum tp_frame_kind)f.kind) {
    case TP_FRAME_GOODBYE:
        peer->goodbye = true;
        tpo_conn_ended(ep);
        return FL_OK;
    case TP_FRAME_FENCE:
        peer->fence_noted = true;
        tpo_conn_ended(ep); /* our end is the answer */
        return FL_OK;
    case TP_FRAME_MSG:
        return deliver(ep, src + TP_FRAME_BYTES, len - TP_FRAME_BYTES);
    case TP_FRAME_CREDIT:
    case TP_FRAME_HEARTBEAT:
        return FL_OK;
    }
    return FL_EPROTO;
}

/** The buffer goes back to the provider; credits that became known go to the owner. */
static void after_receive(struct tpo_ep *ep, struct tpo_buf *b)
{
    if (ep->state != TPO_EP_UP)
        return;
    if (tpo_msg_post_rx(ep, b) != 0) {
        tpo_peer_fail(ep->peer, FL_ECONN);
        return;
    }
    return_credits(ep);
    tpo_msg_tell_credit(ep);
    if (ep->port->rx_cq_data && ep->peer->state == TPO_UP)
        tpo_op_kick(ep->peer);
}

void tpo_msg_received(struct tpo_buf *b, size_t len_bytes)
{
    struct tpo_ep *ep = b->ctx.ep;

    if (ep->state != TPO_EP_UP && ep->state != TPO_EP_SETUP)
        return;
    if (!ep->peer->muted)
        ep->peer->last_rx_ns = fl_clock_ns();
    tpo_conn_frame_seen(ep->peer);
    if (ep->state != TPO_EP_UP)
        return;
    int err = handle(ep, b->mem, len_bytes);
    if (err != FL_OK) {
        ep->port->ledger.errors++;
        if (ep->state == TPO_EP_UP)
            tpo_peer_fail(ep->peer, err);
        return;
    }
    after_receive(ep, b);
}

void tpo_msg_landed(struct tpo_buf *b, uint32_t bytes)
{
    struct tpo_ep *ep = b->ctx.ep;
    struct tpo_port *p = ep->port;

    if (ep->state != TPO_EP_UP && ep->state != TPO_EP_SETUP)
        return;
    tpo_conn_frame_seen(ep->peer);
    p->ledger.rx_announced_bytes += bytes;
    if (p->h.landed != NULL)
        p->h.landed(p->h.arg, ep->peer->id, bytes);
    ep->owed_user++;
    after_receive(ep, b);
}
