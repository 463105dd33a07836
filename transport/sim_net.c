/* SPDX-License-Identifier: Apache-2.0 */
/** The simulated wire: links, landing of writes, cut, pause and kill. */
#include <stdlib.h>
#include <string.h>

#include "transport/sim_int.h"

enum { WIRE_OVERHEAD_BYTES = 64, PIECES_FROM_BYTES = 256, BREAK_SPREAD_NS = 1000000 };

/* Source: assumed, a rack's switch and a 10 Gbit/s port. */
static const uint64_t DEFAULT_DELAY_NS = 5000, DEFAULT_RATE_BPS = UINT64_C(10000000000);

/* --- links ---------------------------------------------------------------------------------- */

struct tp_simnet *tp_simnet_new(struct fl_evq *q, uint64_t seed, uint16_t nodes)
{
    struct tp_simnet *n = sim_must(calloc(1, sizeof *n));
    n->q = q;
    n->seed = seed;
    n->nodes = nodes;
    n->ports = sim_must(calloc(nodes ? nodes : 1, sizeof *n->ports));
    n->edges = sim_must(calloc(nodes ? nodes : 1, sizeof *n->edges));
    return n;
}

static void ports_free(struct tp_simnet *n, struct sim_port *p)
{
    while (p) {
        struct sim_port *older = p->older;
        for (uint16_t i = 0; i < n->nodes; i++)
            free(p->halves[i]);
        free(p->halves);
        free(p->notes);
        free(p);
        p = older;
    }
}

void tp_simnet_free(struct tp_simnet **net)
{
    struct tp_simnet *n = net ? *net : NULL;
    if (!n)
        return;
    sim_pool_free(n);
    for (uint16_t i = 0; i < n->nodes; i++) {
        ports_free(n, n->ports[i]);
        for (uint16_t k = 0; n->edges[i] && k < n->nodes; k++)
            free(n->edges[i][k]);
        free(n->edges[i]);
    }
    free(n->ports);
    free(n->edges);
    free(n);
    *net = NULL;
}

void tp_simnet_on_land(struct tp_simnet *n, tp_simnet_land_fn *fn, void *arg)
{
    n->land = fn;
    n->land_arg = arg;
}

struct sim_edge *sim_edge_of(struct tp_simnet *n, uint16_t from, uint16_t to)
{
    if (!n->edges[from])
        n->edges[from] = sim_must(calloc(n->nodes, sizeof *n->edges[from]));
    struct sim_edge *e = n->edges[from][to];
    if (!e) {
        e = n->edges[from][to] = sim_must(calloc(1, sizeof *e));
        e->net = n;
        e->from = from;
        e->to = to;
        e->delay_ns = DEFAULT_DELAY_NS;
        e->rate_bps = DEFAULT_RATE_BPS;
    }
    return e;
}

void tp_simnet_link(struct tp_simnet *n, uint16_t a, uint16_t b, uint64_t delay_ns,
                    uint64_t rate_bps)
{
    if (a >= n->nodes || b >= n->nodes)
        return;
    for (int way = 0; way < 2; way++) {
        struct sim_edge *e = way ? sim_edge_of(n, b, a) : sim_edge_of(n, a, b);
        e->delay_ns = delay_ns;
        e->rate_bps = rate_bps ? rate_bps : 1;
    }
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* --- on the wire ---------------------------------------------------------------------------- */

static void arrive(void *arg, uint64_t a, uint64_t b);

static bool is_control(const struct sim_pkt *p)
{
    return p->kind >= SIM_SYN;
}

/** Time on the wire, urgent before normal before bulk: a class never waits for a lower one, which
 * is what separate connections give while the sender's queues are short. */
static uint64_t serialise(struct sim_edge *e, struct sim_pkt *p, uint64_t now_ns, uint32_t bytes)
{
    uint64_t start = max_u64(now_ns, e->busy_ns[p->cls]);
    uint64_t wire_bits = ((uint64_t)bytes + WIRE_OVERHEAD_BYTES) * 8;
    uint64_t end = start + wire_bits * FL_NS_PER_S / e->rate_bps;
    for (int c = p->cls; c < FL_CLASSES; c++)
        e->busy_ns[c] = max_u64(e->busy_ns[c], end);
    p->sent_from_ns = start;
    p->sent_to_ns = end;
    return end;
}

/** Order per connection. A fence opens connections of its own and may overtake what is stuck in
 * the old ones; the other control packets are the first or the last of every class. */
static uint64_t in_order(struct sim_edge *e, const struct sim_pkt *p, uint64_t at_ns)
{
    if (!is_control(p)) {
        at_ns = max_u64(at_ns, e->arrival_ns[p->cls] + 1);
        return e->arrival_ns[p->cls] = at_ns;
    }
    for (int c = 0; c < FL_CLASSES && p->kind != SIM_FENCE; c++)
        at_ns = max_u64(at_ns, e->arrival_ns[c] + 1);
    for (int c = 0; c < FL_CLASSES; c++)
        e->arrival_ns[c] = max_u64(e->arrival_ns[c], at_ns);
    return at_ns;
}

void sim_transmit(struct sim_port *from, struct sim_pkt *p, uint32_t bytes)
{
    struct tp_simnet *n = from->net;
    struct sim_edge *e = sim_edge_of(n, p->src, p->dst);
    uint64_t before = e->arrival_ns[p->cls];
    uint64_t end = serialise(e, p, fl_evq_now_ns(n->q), bytes);
    uint64_t late = e->delay_ns + fl_rng_below(&from->rng, e->delay_ns / 8 + 2);
    if (p->kind == SIM_FIN && p->status)
        late += fl_rng_below(&from->rng, BREAK_SPREAD_NS); /* kernels take their time to tell */
    p->last_ns = in_order(e, p, end + late);
    p->first_ns = max_u64(p->last_ns - (end - p->sent_from_ns), before + 1);
    /* A large write changes the target's memory over a time: its first byte is an event as well. */
    bool pieces = p->kind == SIM_WRITE && p->stage == SIM_OUT && bytes > PIECES_FROM_BYTES;
    fl_evq_at(n->q, pieces ? p->first_ns : p->last_ns, arrive, p, 0, 0);
}

void sim_turn_back(struct sim_port *from, struct sim_pkt *p, uint32_t bytes)
{
    uint16_t src = p->src;
    p->src = p->dst;
    p->dst = src;
    p->stage = SIM_BACK;
    sim_transmit(from, p, bytes);
}

bool sim_accepted(const struct sim_port *t, const struct sim_pkt *p)
{
    const struct sim_half *h = t->halves[p->src];
    return h && h->state == SIM_UP && h->gen == p->gen;
}

/* --- landing -------------------------------------------------------------------------------- */

/** Lands the bytes up to @upto of a write. */
static void land(struct tp_simnet *n, struct sim_pkt *p, uint32_t upto)
{
    struct sim_port *t = p->to;
    upto = upto < p->limit_bytes ? upto : p->limit_bytes;
    uint64_t off = p->op.remote_off + p->landed_bytes;
    if (upto <= p->landed_bytes || off + (upto - p->landed_bytes) > t->exposed.len_bytes)
        return;
    uint32_t len = upto - p->landed_bytes;
    uint8_t *dst = t->exposed.base + off;
    const uint8_t *src = (p->buf_class == SIM_NO_BUF ? p->op.local : p->buf) + p->landed_bytes;
    if (n->land) {
        struct tp_sim_land l = {.from = p->half->port->cfg.self,
                                .to = t->cfg.self,
                                .region = p->op.region,
                                .page = p->op.page,
                                .seq = p->op.seq,
                                .off = off,
                                .len_bytes = len,
                                .before = dst,
                                .after = src};
        n->land(n->land_arg, &l);
    }
    memcpy(dst, src, len);
    p->landed_bytes = upto;
}

/** Bytes of @p, in whole lines, that are in memory at @now_ns; a few that have arrived may still be
 * on their way from the adapter. */
static uint32_t arrived_bytes(struct sim_pkt *p, uint64_t now_ns)
{
    if (now_ns <= p->first_ns)
        return 0;
    if (now_ns >= p->last_ns)
        return p->op.len_bytes;
    uint64_t done = p->op.len_bytes * (now_ns - p->first_ns) / (p->last_ns - p->first_ns);
    uint64_t back = fl_rng_below(&p->to->rng, 4) * FL_LINE_BYTES;
    uint64_t line = (p->op.remote_off + done) / FL_LINE_BYTES * FL_LINE_BYTES;
    return line > p->op.remote_off + back ? (uint32_t)(line - back - p->op.remote_off) : 0;
}

void sim_land_all(struct sim_port *t)
{
    uint64_t now = fl_evq_now_ns(t->net->q);
    for (struct sim_pkt *p = t->landing; p; p = p->land_next)
        if (!p->dropped && sim_accepted(t, p))
            land(t->net, p, arrived_bytes(p, now));
}

/** Writes that are landing at @t from @from (any: FL_NO_NODE) get no further until released. */
static void landing_stop(struct sim_port *t, uint16_t from)
{
    sim_land_all(t);
    for (struct sim_pkt *p = t->landing; p; p = p->land_next)
        if (from == FL_NO_NODE || p->src == from)
            p->first_ns = p->last_ns = FL_NEVER;
}

static void landing_begin(struct tp_simnet *n, struct sim_port *t, struct sim_pkt *p)
{
    p->stage = SIM_LANDING;
    p->to = t;
    p->land_prev = NULL;
    p->land_next = t->landing;
    if (t->landing)
        t->landing->land_prev = p;
    t->landing = p;
    fl_evq_at(n->q, p->last_ns, arrive, p, 0, 0);
}

static void landing_end(struct sim_pkt *p)
{
    if (p->stage != SIM_LANDING)
        return;
    *(p->land_prev ? &p->land_prev->land_next : &p->to->landing) = p->land_next;
    if (p->land_next)
        p->land_next->land_prev = p->land_prev;
    p->stage = SIM_OUT;
}

static void on_write(struct tp_simnet *n, struct sim_port *t, struct sim_pkt *p)
{
    if (p->dropped || !sim_accepted(t, p)) {
        landing_end(p);
        sim_pkt_lost(n, p);
        return;
    }
    if (p->op.remote_off > t->exposed.len_bytes ||
        p->op.len_bytes > t->exposed.len_bytes - p->op.remote_off) {
        sim_on_data(t, p); /* refused there */
        return;
    }
    bool now_begins = p->first_ns == fl_evq_now_ns(n->q) && p->last_ns > p->first_ns;
    if (p->stage == SIM_OUT && now_begins && p->op.len_bytes > PIECES_FROM_BYTES) {
        landing_begin(n, t, p);
        return;
    }
    p->to = t;
    land(n, p, p->op.len_bytes);
    landing_end(p);
    sim_on_data(t, p);
}

/** A packet is at the end of its way and @t is there to take it. */
static void deliver(struct tp_simnet *n, struct sim_port *t, struct sim_pkt *p)
{
    if (p->kind == SIM_WRITE && p->stage != SIM_BACK)
        on_write(n, t, p);
    else if (is_control(p))
        sim_on_control(t, p);
    else
        sim_on_data(t, p);
}

/** A message that its sender did not live to send. Writes are cut byte by byte elsewhere. */
static bool died_unsent(const struct sim_pkt *p)
{
    const struct sim_port *s = p->half->port;
    return p->stage != SIM_BACK && s->dead && p->kind == SIM_MSG && p->sent_to_ns > s->died_ns;
}

static void arrive_at(struct tp_simnet *n, struct sim_port *t, struct sim_pkt *p)
{
    if (!t || t->dead || died_unsent(p)) {
        landing_end(p);
        if ((p->kind == SIM_SYN || p->kind == SIM_FENCE) && !p->dropped)
            sim_nobody(p);
        else
            sim_pkt_lost(n, p);
    } else if (t->paused) {
        sim_fifo_add(&t->stalled, p);
    } else {
        deliver(n, t, p);
    }
}

static void arrive(void *arg, uint64_t a, uint64_t b)
{
    struct sim_pkt *p = arg;
    struct tp_simnet *n = p->half->port->net;
    struct sim_edge *e = sim_edge_of(n, p->src, p->dst);
    (void)a;
    (void)b;
    if (e->cut)
        sim_fifo_add(&e->held, p);
    else
        arrive_at(n, n->ports[p->dst], p);
}

/* --- faults --------------------------------------------------------------------------------- */

static struct sim_half *half_at(struct tp_simnet *n, uint16_t node, uint16_t peer)
{
    struct sim_port *p = n->ports[node];
    return p && !p->dead ? p->halves[peer] : NULL;
}

/** The link works again: what was held arrives, in its order and before anything newer. */
static void healed(void *arg, uint64_t serial, uint64_t b)
{
    struct sim_edge *e = arg;
    struct sim_pkt *p;
    (void)b;
    if (e->want_cut || e->heals != serial)
        return;
    while ((p = sim_fifo_take(&e->held)) != NULL)
        arrive_at(e->net, e->net->ports[e->to], p);
    e->cut = false;
}

void tp_simnet_cut(struct tp_simnet *n, uint16_t from, uint16_t to, bool cut)
{
    if (from >= n->nodes || to >= n->nodes)
        return;
    struct sim_edge *e = sim_edge_of(n, from, to);
    struct sim_half *h = half_at(n, to, from);
    if (e->want_cut == cut)
        return;
    e->want_cut = cut;
    if (cut)
        e->cut = true;
    else
        fl_evq_at(n->q, fl_evq_now_ns(n->q) + e->delay_ns, healed, e, ++e->heals, 0);
    if (h && cut)
        landing_stop(h->port, from);
    if (h)
        sim_silence(h, SIM_SILENT_CUT, cut);
}

static void resumed(void *arg, uint64_t a, uint64_t b)
{
    struct sim_port *p = arg;
    struct sim_pkt *k;
    (void)a;
    (void)b;
    if (p->dead || p->want_pause || !p->paused)
        return;
    while ((k = sim_fifo_take(&p->stalled)) != NULL && !p->dead)
        deliver(p->net, p, k);
    p->paused = false;
    sim_catch_up(p);
}

void tp_simnet_pause(struct tp_simnet *n, uint16_t node, bool paused)
{
    struct sim_port *p = node < n->nodes ? n->ports[node] : NULL;
    if (!p || p->dead || p->want_pause == paused)
        return;
    p->want_pause = paused;
    if (paused) {
        p->paused = true;
        landing_stop(p, FL_NO_NODE);
    } else {
        fl_evq_at(n->q, fl_evq_now_ns(n->q), resumed, p, 0, 0);
    }
    for (uint16_t i = 0; i < n->nodes; i++) {
        struct sim_half *h = p->halves[i] ? half_at(n, i, node) : NULL;
        if (h)
            sim_silence(h, SIM_SILENT_PAUSED, paused);
    }
}

/** What a dead sender still gets onto the wire: what its adapter or kernel had taken. The bytes
 * are copied, for its memory is gone. */
static void freeze(struct tp_simnet *n, struct sim_pkt *p)
{
    uint64_t now = fl_evq_now_ns(n->q), len = p->op.len_bytes;
    if (p->kind != SIM_WRITE || p->stage == SIM_BACK) {
        p->dropped = p->stage == SIM_BACK || p->sent_to_ns > now;
        return;
    }
    if (p->sent_to_ns > now) {
        uint64_t span = p->sent_to_ns - p->sent_from_ns;
        uint64_t out = p->sent_from_ns < now ? len * (now - p->sent_from_ns) / span : 0;
        uint64_t line = (p->op.remote_off + out) / FL_LINE_BYTES * FL_LINE_BYTES;
        p->limit_bytes = line > p->op.remote_off ? (uint32_t)(line - p->op.remote_off) : 0;
    }
    sim_pkt_buf(n, p, len);
    memcpy(p->buf, p->op.local, len);
}

static void ops_end(struct sim_half *h)
{
    struct tp_simnet *n = h->port->net;
    for (int c = 0; c < FL_CLASSES; c++)
        for (struct sim_pkt *p = h->ops[c].head, *next; p; p = next) {
            next = p->next;
            p->reported = true;
            if (p->stage == SIM_WAITING || p->stage == SIM_LOST)
                sim_pkt_free(n, p);
            else
                freeze(n, p);
        }
}

/** Ends a port: it calls nothing any more. Its peers learn of it by @cause. */
static void port_end(struct sim_port *p, int cause)
{
    sim_land_all(p);
    for (uint16_t i = 0; i < p->net->nodes; i++) {
        struct sim_half *h = p->halves[i];
        if (!h)
            continue;
        ops_end(h);
        if (h->state == SIM_UP || h->state == SIM_CONNECTING || h->state == SIM_FENCING)
            sim_control(h, SIM_FIN, cause);
        h->state = SIM_DOWN;
    }
    p->dead = true;
    p->died_ns = fl_evq_now_ns(p->net->q);
    p->exposed = (struct sim_range){NULL, 0};
    p->note_count = 0;
}

void tp_simnet_kill(struct tp_simnet *n, uint16_t node)
{
    struct sim_port *p = node < n->nodes ? n->ports[node] : NULL;
    if (p && !p->dead)
        port_end(p, FL_EPEERDEAD);
}

void sim_port_close(struct tp_port **port)
{
    struct sim_port *p = port ? (struct sim_port *)*port : NULL;
    if (p && !p->dead)
        port_end(p, FL_OK);
    if (port)
        *port = NULL;
}
