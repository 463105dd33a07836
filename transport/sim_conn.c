/* SPDX-License-Identifier: Apache-2.0 */
/** Connections of the simulated fabric: set-up, fences, deaths and silence. */
#include <stdlib.h>
#include <string.h>

#include "transport/sim_int.h"

static const char ADDR_MAGIC[4] = "sim";

static uint64_t now_of(const struct sim_port *p)
{
    return fl_evq_now_ns(p->net->q);
}

static void credits_reset(struct sim_half *h)
{
    for (int c = 0; c < FL_CLASSES; c++)
        h->credits[c] = h->port->cfg.credits;
}

/* --- silence -------------------------------------------------------------------------------- */

static void fences_end(struct sim_half *h, int status);
static void broken(struct sim_half *h, int cause);

static void silence_check(void *arg, uint64_t epoch, uint64_t b)
{
    struct sim_half *h = arg;
    (void)b;
    if (h->port->dead || h->port->paused || !h->silent || h->silent_epoch != epoch)
        return;
    bool tell = h->state == SIM_UP;
    if (tell)
        sim_control(h, SIM_FIN, FL_ECONN);
    broken(h, FL_ETIMEDOUT);
}

/** Heartbeats of a peer that is well are not simulated one by one: only their absence counts. */
void sim_watch_silence(struct sim_half *h)
{
    const struct tp_cfg *c = &h->port->cfg;
    if (!h->silent || !c->heartbeat_ns || !c->heartbeat_miss_ns || !h->known_up)
        return;
    uint64_t phase = fl_rng_below(&h->port->rng, c->heartbeat_ns);
    fl_evq_at(h->port->net->q, now_of(h->port) + c->heartbeat_miss_ns + phase, silence_check, h,
              h->silent_epoch, 0);
}

void sim_silence(struct sim_half *h, uint8_t why, bool on)
{
    uint8_t before = h->silent;
    h->silent = (uint8_t)(on ? before | why : before & ~why);
    if (!before == !h->silent)
        return;
    h->silent_epoch++;
    sim_watch_silence(h);
}

/* --- the state of a half -------------------------------------------------------------------- */

struct sim_half *sim_half_of(struct sim_port *p, uint16_t peer)
{
    struct sim_half *h = p->halves[peer];
    if (h)
        return h;
    h = p->halves[peer] = sim_must(calloc(1, sizeof *h));
    h->port = p;
    h->peer = peer;
    h->scan_at_ns = FL_NEVER;
    const struct sim_port *other = p->net->ports[peer];
    if (sim_edge_of(p->net, peer, p->cfg.self)->want_cut)
        h->silent |= SIM_SILENT_CUT;
    if (other && other->want_pause)
        h->silent |= SIM_SILENT_PAUSED;
    if (other && other->halves[p->cfg.self] && other->halves[p->cfg.self]->muted)
        h->silent |= SIM_SILENT_PEER_MUTED;
    return h;
}

/** The connection stands with generation h->gen. */
static void up(struct sim_half *h, uint64_t incarnation)
{
    h->state = SIM_UP;
    h->peer_incarnation = incarnation;
    credits_reset(h);
    if (!h->known_up) {
        h->known_up = true;
        sim_note(h->port, (struct sim_note){SIM_NOTE_UP, 0, h->peer, FL_OK, incarnation});
        sim_watch_silence(h);
    }
    sim_up(h);
}

static void tell_down(struct sim_half *h, int cause)
{
    if (!h->known_up)
        return;
    h->known_up = false;
    sim_note(h->port, (struct sim_note){SIM_NOTE_DOWN, 0, h->peer, cause, h->peer_incarnation});
}

/** The connection is gone. Completions are flushed before, around or after peer_down, as on a real
 * adapter whose two queues are read in either order. */
static void broken(struct sim_half *h, int cause)
{
    uint32_t before = (uint32_t)fl_rng_below(&h->port->rng, 9);
    h->state = SIM_DOWN;
    sim_flush(h, FL_ECONN, before == 8 ? UINT32_MAX : before);
    tell_down(h, cause);
    sim_flush(h, cause == FL_EPEERDEAD ? FL_EPEERDEAD : FL_ECONN, UINT32_MAX);
    fences_end(h, cause == FL_OK ? FL_EPEERDEAD : cause);
}

void sim_control(struct sim_half *h, enum sim_kind kind, int status)
{
    struct sim_pkt *p = sim_pkt_new(h->port->net, kind, h);
    p->stage = SIM_OUT;
    p->status = status;
    p->incarnation = h->port->cfg.incarnation;
    sim_transmit(h->port, p, 0);
}

void sim_drop_peer(struct sim_half *h, int cause)
{
    sim_control(h, SIM_FIN, FL_ECONN);
    broken(h, cause);
}

/* --- for faults ------------------------------------------------------------------------------ */

void sim_mute(struct tp_port *port, uint16_t peer, bool muted)
{
    struct sim_port *p = (struct sim_port *)port;
    struct sim_pkt *k;
    if (p->dead || peer >= p->net->nodes || peer == p->cfg.self)
        return;
    struct sim_half *h = sim_half_of(p, peer);
    struct sim_port *other = p->net->ports[peer];
    h->muted = muted;
    sim_silence(h, SIM_SILENT_MUTED, muted);
    if (other && !other->dead && other->halves[p->cfg.self])
        sim_silence(other->halves[p->cfg.self], SIM_SILENT_PEER_MUTED, muted);
    while (!muted && (k = sim_fifo_take(&h->unsent)) != NULL)
        sim_turn_back(p, k, 0);
}

void sim_sever(struct tp_port *port, uint16_t peer, int cause)
{
    struct sim_port *p = (struct sim_port *)port;
    struct sim_half *h = peer < p->net->nodes && !p->dead ? p->halves[peer] : NULL;
    if (h && h->state == SIM_UP)
        sim_drop_peer(h, cause);
}

/* --- connect -------------------------------------------------------------------------------- */

static void connect_failed(struct sim_half *h, int cause)
{
    h->state = SIM_NONE;
    sim_flush(h, FL_ECONN, UINT32_MAX);
    sim_note(h->port, (struct sim_note){SIM_NOTE_DOWN, 0, h->peer, cause, 0});
}

static void connect_deadline(void *arg, uint64_t gen, uint64_t b)
{
    struct sim_half *h = arg;
    (void)b;
    if (!h->port->dead && h->state == SIM_CONNECTING && h->gen == gen)
        connect_failed(h, FL_ETIMEDOUT);
}

int sim_connect(struct tp_port *port, uint16_t peer, const struct tp_addr *addr,
                struct fl_errmsg *err)
{
    struct sim_port *p = (struct sim_port *)port;
    if (peer >= p->net->nodes || peer == p->cfg.self)
        return fl_fail(err, FL_EINVAL, "peer %u: no such node; the network has %u", peer,
                       p->net->nodes);
    if (addr->len != 6 || memcmp(addr->bytes, ADDR_MAGIC, 4) != 0 ||
        (addr->bytes[4] | addr->bytes[5] << 8) != peer)
        return fl_fail(err, FL_EINVAL, "address of peer %u is not one that listen returned there",
                       peer);
    struct sim_half *h = sim_half_of(p, peer);
    if (h->state != SIM_NONE && h->state != SIM_DOWN)
        return FL_OK;
    h->state = SIM_CONNECTING;
    h->gen = ++p->net->gen;
    sim_control(h, SIM_SYN, FL_OK);
    if (p->cfg.connect_deadline_ns && p->cfg.connect_deadline_ns != FL_NEVER)
        fl_evq_at(p->net->q, now_of(p) + p->cfg.connect_deadline_ns, connect_deadline, h, h->gen,
                  0);
    return FL_OK;
}

/** Sends a SYN or FENCE back as an answer; its half and generation stay the sender's. */
static void answer(struct sim_port *t, struct sim_pkt *p, enum sim_kind kind, int status)
{
    p->kind = (uint8_t)kind;
    p->status = status;
    p->incarnation = t->cfg.incarnation;
    sim_turn_back(t, p, 0);
}

void sim_nobody(struct sim_pkt *p)
{
    /* The host answers for the process that is not there. */
    p->kind = SIM_REFUSE;
    p->status = FL_EPEERDEAD;
    sim_turn_back(p->half->port, p, 0);
}

static void on_syn(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = sim_half_of(t, p->src);
    const struct tp_cfg *theirs = &p->half->port->cfg;
    if (!t->listening) {
        answer(t, p, SIM_REFUSE, FL_ECONN);
        return;
    }
    if (memcmp(theirs->key, t->cfg.key, TP_KEY_BYTES) != 0) {
        answer(t, p, SIM_REFUSE, FL_EAUTH);
        return;
    }
    if (h->gen > p->gen) { /* both sides tried: the later attempt stands */
        sim_pkt_free(t->net, p);
        return;
    }
    if (h->state == SIM_UP || h->state == SIM_FENCING)
        broken(h, FL_ECONN); /* the peer has started anew before its death was seen */
    h->gen = p->gen;
    up(h, p->incarnation);
    answer(t, p, SIM_SYN_ACK, FL_OK);
}

/* --- fence ---------------------------------------------------------------------------------- */

static void fences_end(struct sim_half *h, int status)
{
    struct sim_pkt *f;
    while ((f = sim_fifo_take(&h->fences)) != NULL) {
        sim_note_done(h->port, f->op.tag, status);
        sim_pkt_free(h->port->net, f);
    }
}

static void fence_failed(struct sim_half *h, int status)
{
    h->state = SIM_DOWN;
    sim_flush(h, FL_ECONN, UINT32_MAX);
    fences_end(h, status);
}

static void fence_deadline(void *arg, uint64_t gen, uint64_t b)
{
    struct sim_half *h = arg;
    (void)b;
    if (!h->port->dead && h->state == SIM_FENCING && h->gen == gen)
        fence_failed(h, FL_ETIMEDOUT);
}

void sim_fence(struct tp_port *port, uint16_t peer, uint64_t tag)
{
    struct sim_port *p = (struct sim_port *)port;
    if (p->dead)
        return;
    if (peer >= p->net->nodes || peer == p->cfg.self) {
        sim_note_done(p, tag, FL_EINVAL);
        return;
    }
    struct sim_half *h = sim_half_of(p, peer);
    sim_flush(h, FL_EFENCED, UINT32_MAX);
    struct sim_pkt *f = sim_pkt_new(p->net, SIM_FENCE, h);
    f->op.tag = tag;
    sim_fifo_add(&h->fences, f);
    p->ledger.fences++;
    if (h->state == SIM_FENCING)
        return; /* one under way serves: nothing posted since has left */
    h->state = SIM_FENCING;
    h->old_gen = h->gen;
    h->gen = ++p->net->gen;
    sim_control(h, SIM_FENCE, FL_OK);
    uint64_t wait = p->cfg.fence_deadline_ns ? p->cfg.fence_deadline_ns : FL_NS_PER_S;
    fl_evq_at(p->net->q, now_of(p) + wait, fence_deadline, h, h->gen, 0);
}

static void on_fence(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = sim_half_of(t, p->src);
    if (memcmp(p->half->port->cfg.key, t->cfg.key, TP_KEY_BYTES) != 0) {
        answer(t, p, SIM_REFUSE, FL_EAUTH);
        return;
    }
    if (h->gen > p->gen) { /* late, or the other of two fences: the newer one stands */
        sim_pkt_free(t->net, p);
        return;
    }
    sim_land_all(t); /* what has landed so far stays; the rest of it never does */
    sim_flush(h, FL_ECONN, UINT32_MAX);
    h->gen = p->gen;
    t->ledger.reconnects++;
    up(h, p->incarnation);
    fences_end(h, FL_OK);
    answer(t, p, SIM_FENCE_ACK, FL_OK);
}

/* --- arrivals ------------------------------------------------------------------------------- */

static void on_fin(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = sim_half_of(t, p->src);
    bool process_gone = p->status == FL_OK || p->status == FL_EPEERDEAD;
    if (h->state == SIM_UP && h->gen == p->gen)
        broken(h, p->status);
    else if (h->state == SIM_FENCING && h->old_gen == p->gen && process_gone)
        broken(h, p->status);
    else if (h->state == SIM_DOWN && h->gen >= p->gen && process_gone)
        tell_down(h, p->status);
}

static void on_refuse(struct sim_half *h, const struct sim_pkt *p)
{
    if (h->gen != p->gen)
        return;
    if (h->state == SIM_CONNECTING) {
        connect_failed(h, p->status == FL_EPEERDEAD ? FL_ECONN : p->status);
    } else if (h->state == SIM_FENCING) {
        fence_failed(h, p->status);
        tell_down(h, p->status);
    }
}

void sim_on_control(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = p->half;
    if (p->kind == SIM_SYN) {
        on_syn(t, p);
        return;
    }
    if (p->kind == SIM_FENCE) {
        on_fence(t, p);
        return;
    }
    bool mine = h->port == t && h->gen == p->gen;
    if (p->kind == SIM_FIN) {
        on_fin(t, p);
    } else if (p->kind == SIM_REFUSE && mine) {
        on_refuse(h, p);
    } else if (p->kind == SIM_SYN_ACK && mine && h->state == SIM_CONNECTING) {
        up(h, p->incarnation);
    } else if (p->kind == SIM_FENCE_ACK && mine && h->state == SIM_FENCING) {
        t->ledger.reconnects++;
        up(h, p->incarnation);
        fences_end(h, FL_OK);
    }
    sim_pkt_free(t->net, p);
}
