/* SPDX-License-Identifier: Apache-2.0 */
/** A port of the simulated fabric: operations, completions, deadlines. */
#include <stdlib.h>
#include <string.h>

#include "transport/sim_int.h"
#include "transport/wire.h"

static struct sim_port *of(struct tp_port *p)
{
    return (struct sim_port *)p;
}

static uint64_t now_of(const struct sim_port *p)
{
    return fl_evq_now_ns(p->net->q);
}

/* --- callbacks ------------------------------------------------------------------------------ */

static void call(struct sim_port *p, const struct sim_note *n)
{
    if (n->kind == SIM_NOTE_DONE)
        p->h.done(p->h.arg, n->tag, n->status);
    else if (n->kind == SIM_NOTE_CREDIT && p->h.credit)
        p->h.credit(p->h.arg, n->peer, (enum fl_class)n->cls);
    else if (n->kind == SIM_NOTE_UP && p->h.peer_up)
        p->h.peer_up(p->h.arg, n->peer, n->tag);
    else if (n->kind == SIM_NOTE_DOWN && p->h.peer_down)
        p->h.peer_down(p->h.arg, n->peer, n->tag, n->status);
}

static void notes_run(void *arg, uint64_t a, uint64_t b)
{
    struct sim_port *p = arg;
    (void)a;
    (void)b;
    p->armed = false;
    if (p->paused || p->dead)
        return;
    p->ledger.wakeups++;
    /* Those that arrive meanwhile have their own turn: a callback that submits must not starve
     * the network. */
    for (uint32_t left = p->note_count; left && !p->paused && p->note_count; left--) {
        struct sim_note n = p->notes[p->note_head];
        p->note_head = (p->note_head + 1) & (p->note_cap - 1);
        p->note_count--;
        call(p, &n);
    }
}

static void arm(struct sim_port *p)
{
    if (!p->armed && !p->paused && p->note_count) {
        p->armed = true;
        fl_evq_at(p->net->q, now_of(p), notes_run, p, 0, 0);
    }
}

static void notes_grow(struct sim_port *p)
{
    uint32_t cap = p->note_cap ? p->note_cap * 2 : 64;
    struct sim_note *bigger = sim_must(malloc(cap * sizeof *bigger));
    for (uint32_t i = 0; i < p->note_count; i++)
        bigger[i] = p->notes[(p->note_head + i) & (p->note_cap - 1)];
    free(p->notes);
    p->notes = bigger;
    p->note_cap = cap;
    p->note_head = 0;
}

void sim_note(struct sim_port *p, struct sim_note note)
{
    if (p->dead)
        return;
    if (p->note_count == p->note_cap)
        notes_grow(p);
    p->notes[(p->note_head + p->note_count++) & (p->note_cap - 1)] = note;
    arm(p);
}

void sim_note_done(struct sim_port *p, uint64_t tag, int status)
{
    if (status != FL_OK && status != FL_EAGAIN)
        p->ledger.errors++;
    sim_note(p, (struct sim_note){SIM_NOTE_DONE, 0, 0, status, tag});
}

/** From an event of the wire: at once, unless something older still waits. */
static void tell(struct sim_port *p, struct sim_note note)
{
    if (p->note_count) {
        sim_note(p, note);
    } else {
        p->ledger.wakeups++;
        call(p, &note);
    }
}

/* --- operations ----------------------------------------------------------------------------- */

/** Takes the operation off the window; true when it had not ended yet. */
static bool end(struct sim_pkt *p)
{
    struct sim_ops *l = &p->half->ops[p->cls];
    if (p->reported)
        return false;
    p->reported = true;
    if (p->stage != SIM_WAITING) {
        l->count--;
        l->bytes -= p->op.len_bytes;
    }
    return true;
}

uint32_t sim_flush(struct sim_half *h, int status, uint32_t at_most)
{
    uint32_t n = 0;
    for (int c = 0; c < FL_CLASSES; c++)
        for (struct sim_pkt *p = h->ops[c].head, *next; p; p = next) {
            next = p->next;
            if (!p->reported && n >= at_most)
                continue;
            bool idle = p->stage == SIM_WAITING || p->stage == SIM_LOST;
            if (end(p)) {
                sim_note_done(h->port, p->op.tag, status);
                n++;
            }
            /* What is on the wire keeps going until the generation at the target changes. */
            if (idle)
                sim_pkt_free(h->port->net, p);
        }
    return n;
}

static void scan(void *arg, uint64_t at_ns, uint64_t b);

static void scan_arm(struct sim_half *h, uint64_t at_ns)
{
    if (at_ns >= h->scan_at_ns)
        return;
    h->scan_at_ns = at_ns;
    fl_evq_at(h->port->net->q, at_ns, scan, h, at_ns, 0);
}

/** One timer a peer, for the earliest deadline; it finds what has passed and moves on. */
static void scan(void *arg, uint64_t at_ns, uint64_t b)
{
    struct sim_half *h = arg;
    uint64_t now = now_of(h->port), next_at = FL_NEVER;
    (void)b;
    if (h->scan_at_ns != at_ns || h->port->dead || h->port->paused)
        return;
    h->scan_at_ns = FL_NEVER;
    for (int c = 0; c < FL_CLASSES; c++)
        for (struct sim_pkt *p = h->ops[c].head, *next; p; p = next) {
            next = p->next;
            if (p->reported || p->deadline_at_ns > now) {
                if (!p->reported && p->deadline_at_ns < next_at)
                    next_at = p->deadline_at_ns;
                continue;
            }
            bool idle = p->stage == SIM_WAITING || p->stage == SIM_LOST;
            end(p);
            h->port->ledger.timeouts++;
            sim_note_done(h->port, p->op.tag, FL_ETIMEDOUT);
            if (idle)
                sim_pkt_free(h->port->net, p);
        }
    scan_arm(h, next_at);
    sim_post_waiting(h);
}

static void post(struct sim_half *h, struct sim_pkt *p)
{
    struct sim_port *port = h->port;
    struct sim_ops *l = &h->ops[p->cls];
    l->waiting = p->next;
    l->count++;
    l->bytes += p->op.len_bytes;
    p->stage = SIM_OUT;
    p->gen = h->gen;
    if (p->kind == SIM_WRITE) {
        port->ledger.write_ops++;
        port->ledger.write_bytes += p->op.len_bytes;
        sim_transmit(port, p, p->op.len_bytes);
    } else {
        port->ledger.read_ops++;
        port->ledger.read_bytes += p->op.len_bytes;
        sim_transmit(port, p, 0);
    }
}

/** Each class has its own window, so that urgent reads do not queue behind bulk writes. */
static bool window_open(const struct sim_port *p, const struct sim_ops *l)
{
    uint32_t ops = p->cfg.window_ops ? p->cfg.window_ops : 1;
    uint64_t more = l->bytes + (uint64_t)l->waiting->op.len_bytes;
    return l->count == 0 || (l->count < ops && more <= p->cfg.window_bytes);
}

void sim_post_waiting(struct sim_half *h)
{
    if (h->state != SIM_UP)
        return;
    for (int c = 0; c < FL_CLASSES; c++)
        while (h->ops[c].waiting && window_open(h->port, &h->ops[c]))
            post(h, h->ops[c].waiting);
}

void sim_up(struct sim_half *h)
{
    for (int c = 0; c < FL_CLASSES; c++)
        if (h->starved[c]) {
            h->starved[c] = false;
            sim_note(h->port, (struct sim_note){SIM_NOTE_CREDIT, (uint8_t)c, h->peer, 0, 0});
        }
    sim_post_waiting(h);
}

void sim_catch_up(struct sim_port *p)
{
    for (uint16_t i = 0; i < p->net->nodes; i++) {
        struct sim_half *h = p->halves[i];
        if (!h)
            continue;
        h->scan_at_ns = FL_NEVER;
        scan_arm(h, now_of(p));
        if (h->silent)
            sim_watch_silence(h);
    }
    arm(p);
}

static bool local_ok(const struct sim_port *p, const struct tp_rma *op)
{
    for (uint32_t i = 0; i < p->reg_count; i++) {
        const struct sim_range *r = &p->regs[i];
        if (op->local >= r->base && op->local < r->base + r->len_bytes &&
            op->len_bytes <= (size_t)(r->base + r->len_bytes - op->local))
            return true;
    }
    return false;
}

static void submit(struct tp_port *port, const struct tp_rma *op, enum sim_kind kind)
{
    struct sim_port *p = of(port);
    if (p->dead)
        return; /* its owner runs on to the end of a step */
    if (op->peer >= p->net->nodes || op->peer == p->cfg.self || op->cls >= FL_CLASSES) {
        sim_note_done(p, op->tag, FL_EINVAL);
        return;
    }
    struct sim_half *h = sim_half_of(p, op->peer);
    if (!local_ok(p, op)) {
        sim_note_done(p, op->tag, FL_EPERM);
        return;
    }
    if (h->state == SIM_NONE || h->state == SIM_DOWN) {
        sim_note_done(p, op->tag, h->known_up ? FL_ECONN : FL_EPEERDEAD);
        return;
    }
    struct sim_pkt *k = sim_pkt_new(p->net, kind, h);
    k->op = *op;
    k->cls = op->cls;
    if (op->deadline_ns && op->deadline_ns < FL_NEVER - now_of(p))
        k->deadline_at_ns = now_of(p) + op->deadline_ns;
    sim_op_link(k);
    scan_arm(h, k->deadline_at_ns);
    sim_post_waiting(h);
}

static void sim_read(struct tp_port *p, const struct tp_rma *op)
{
    submit(p, op, SIM_READ);
}

static void sim_write(struct tp_port *p, const struct tp_rma *op)
{
    submit(p, op, SIM_WRITE);
}

static void sim_send(struct tp_port *port, uint16_t peer, const struct fl_msg *m,
                     const uint8_t *const *lines, uint64_t tag)
{
    struct sim_port *p = of(port);
    int cls = fl_msg_class(m->type);
    if (p->dead)
        return;
    if (peer >= p->net->nodes || peer == p->cfg.self || cls < 0) {
        sim_note_done(p, tag, FL_EINVAL);
        return;
    }
    struct sim_half *h = sim_half_of(p, peer);
    bool coming = h->state == SIM_CONNECTING || h->state == SIM_FENCING;
    if (coming || (h->state == SIM_UP && h->credits[cls] == 0)) {
        h->starved[cls] = true;
        sim_note_done(p, tag, FL_EAGAIN);
        return;
    }
    if (h->state != SIM_UP) {
        sim_note_done(p, tag, h->known_up ? FL_ECONN : FL_EPEERDEAD);
        return;
    }
    struct sim_pkt *k = sim_pkt_new(p->net, SIM_MSG, h);
    size_t len = tp_wire_size(m);
    k->cls = (uint8_t)cls;
    sim_pkt_buf(p->net, k, len);
    int rc = tp_wire_encode(m, lines, k->buf, len, &len);
    if (rc != FL_OK) {
        sim_pkt_free(p->net, k);
        sim_note_done(p, tag, rc);
        return;
    }
    k->stage = SIM_OUT;
    k->buf_bytes = (uint32_t)len;
    h->credits[cls]--;
    p->ledger.msg_sent++;
    p->ledger.msg_bytes += len;
    for (unsigned i = 0; !fl_msg_bare(m->type) && i < m->entry_count; i++)
        p->ledger.msg_payload_bytes += fl_mask_count(m->entries[i].mask) * FL_LINE_BYTES;
    sim_transmit(p, k, k->buf_bytes);
    sim_note_done(p, tag, FL_OK);
}

/* --- arrivals ------------------------------------------------------------------------------- */

static bool in_bounds(const struct sim_port *t, const struct tp_rma *op)
{
    return op->remote_off <= t->exposed.len_bytes &&
           op->len_bytes <= t->exposed.len_bytes - op->remote_off;
}

static void on_request(struct sim_port *t, struct sim_pkt *p)
{
    uint32_t bytes = 0;
    if (!in_bounds(t, &p->op)) {
        p->status = FL_EPERM;
    } else if (p->kind == SIM_READ) {
        sim_land_all(t);
        sim_pkt_buf(t->net, p, p->op.len_bytes);
        memcpy(p->buf, t->exposed.base + p->op.remote_off, p->op.len_bytes);
        bytes = p->op.len_bytes;
    } else if (p->limit_bytes < p->op.len_bytes) {
        sim_pkt_free(t->net, p); /* its sender died half-way */
        return;
    } else if (p->op.last && p->half->port->cfg.announce) {
        t->ledger.rx_announced_bytes += p->op.announce_bytes;
        if (t->h.landed)
            t->h.landed(t->h.arg, p->src, p->op.announce_bytes);
    }
    sim_turn_back(t, p, bytes);
}

static void on_answer(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = p->half;
    uint64_t tag = p->op.tag;
    int status = p->status;
    /* Bytes of a read that was given up still land: the buffer is only safe behind a fence. */
    if (p->kind == SIM_READ && status == FL_OK)
        memcpy(p->op.local, p->buf, p->op.len_bytes);
    bool first = end(p);
    sim_pkt_free(t->net, p);
    sim_post_waiting(h);
    if (first) {
        if (status != FL_OK)
            t->ledger.errors++;
        tell(t, (struct sim_note){SIM_NOTE_DONE, 0, 0, status, tag});
    }
}

static void on_msg(struct sim_port *t, struct sim_pkt *p)
{
    const uint8_t *payload = NULL;
    size_t payload_bytes = 0;
    struct fl_msg *m = &t->net->msg;
    uint16_t from = p->src;
    int rc = tp_wire_decode(p->buf, p->buf_bytes, m, &payload, &payload_bytes);
    if (rc != FL_OK) {
        sim_drop_peer(t->halves[from], rc);
        sim_pkt_free(t->net, p);
        return;
    }
    t->ledger.rx_msg++;
    t->ledger.rx_msg_bytes += p->buf_bytes;
    t->ledger.rx_msg_payload_bytes += payload_bytes;
    t->ledger.wakeups++;
    t->h.msg(t->h.arg, from, m, payload, payload_bytes);
    p->kind = SIM_CREDIT;
    if (t->halves[from]->muted)
        sim_fifo_add(&t->halves[from]->unsent, p);
    else
        sim_turn_back(t, p, 0);
}

static void on_credit(struct sim_port *t, struct sim_pkt *p)
{
    struct sim_half *h = p->half;
    uint8_t cls = p->cls;
    sim_pkt_free(t->net, p);
    h->credits[cls]++;
    if (h->starved[cls]) {
        h->starved[cls] = false;
        tell(t, (struct sim_note){SIM_NOTE_CREDIT, cls, h->peer, 0, 0});
    }
}

void sim_on_data(struct sim_port *t, struct sim_pkt *p)
{
    bool back = p->stage == SIM_BACK;
    if (p->dropped || !sim_accepted(t, p) || (back && p->half->port != t))
        sim_pkt_lost(t->net, p);
    else if (p->kind == SIM_MSG)
        on_msg(t, p);
    else if (p->kind == SIM_CREDIT)
        on_credit(t, p);
    else if (back)
        on_answer(t, p);
    else
        on_request(t, p);
}

/* --- set-up --------------------------------------------------------------------------------- */

static int sim_reg(struct tp_port *port, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct sim_port *p = of(port);
    if (p->reg_count == SIM_RANGES_MAX)
        return fl_fail(err, FL_ENOSPC, "more than %d registered ranges; register larger ones",
                       SIM_RANGES_MAX);
    p->regs[p->reg_count++] = (struct sim_range){base, len_bytes};
    return FL_OK;
}

static int sim_expose(struct tp_port *port, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct sim_port *p = of(port);
    if (p->listening || p->exposed.base)
        return fl_fail(err, FL_EINVAL, "memory is exposed once, before listen");
    p->exposed = (struct sim_range){base, len_bytes};
    return FL_OK;
}

static int sim_listen(struct tp_port *port, struct tp_addr *ret_addr, struct fl_errmsg *err)
{
    struct sim_port *p = of(port);
    (void)err;
    p->listening = true;
    *ret_addr = (struct tp_addr){.len = 6, .bytes = {'s', 'i', 'm', 0}};
    ret_addr->bytes[4] = (uint8_t)p->cfg.self;
    ret_addr->bytes[5] = (uint8_t)(p->cfg.self >> 8);
    return FL_OK;
}

static bool sim_poll(struct tp_port *p)
{
    (void)p; /* virtual time moves by itself */
    return false;
}

static void sim_ledger(struct tp_port *p, struct tp_ledger *ret)
{
    *ret = of(p)->ledger;
}

static const struct tp_port_ops SIM_OPS = {
    .reg = sim_reg,
    .expose = sim_expose,
    .listen = sim_listen,
    .connect = sim_connect,
    .read = sim_read,
    .write = sim_write,
    .send = sim_send,
    .fence = sim_fence,
    .mute = sim_mute,
    .sever = sim_sever,
    .poll = sim_poll,
    .ledger = sim_ledger,
    .close = sim_port_close,
};

int tp_sim_new(struct tp_simnet *n, const struct tp_cfg *cfg, const struct tp_handler *h,
               struct tp_port **ret, struct fl_errmsg *err)
{
    if (cfg->self >= n->nodes)
        return fl_fail(err, FL_EINVAL, "node %u is not one of the %u of this network", cfg->self,
                       n->nodes);
    if (n->ports[cfg->self] && !n->ports[cfg->self]->dead)
        return fl_fail(err, FL_EADDRINUSE, "node %u has a port already; close or kill it first",
                       cfg->self);
    if (cfg->credits < 1 || cfg->credits > 256)
        return fl_fail(err, FL_EINVAL, "credits %u: 1..256 are possible", cfg->credits);
    struct sim_port *p = calloc(1, sizeof *p);
    struct sim_half **halves = calloc(n->nodes, sizeof *halves);
    if (!p || !halves) {
        free(p);
        free(halves);
        return fl_fail(err, FL_ENOMEM, "no memory for a port; use fewer nodes");
    }
    p->base.ops = &SIM_OPS;
    p->net = n;
    p->cfg = *cfg;
    p->h = *h;
    p->halves = halves;
    p->older = n->ports[cfg->self];
    fl_rng_init(&p->rng, n->seed, cfg->self, FL_RNG_NET, (uint32_t)cfg->incarnation);
    n->ports[cfg->self] = p;
    *ret = &p->base;
    return FL_OK;
}
