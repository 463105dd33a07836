/* SPDX-License-Identifier: Apache-2.0 */
/** A few nodes on a simulated network, with everything they are told written down. */
#ifndef SIM_FIXTURE_H
#define SIM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "emu/base/evq.h"
#include "transport/fabric.h"

enum { FX_NODES = 3, FX_MEM_BYTES = 64 * 1024, FX_LOG_MAX = 4096 };

enum fx_kind { FX_DONE, FX_MSG, FX_CREDIT, FX_UP, FX_DOWN, FX_LANDED };

struct fx_entry {
    enum fx_kind kind;
    uint64_t t_ns, tag;
    uint16_t peer;
    int status;
    uint64_t seq;
    fl_mask mask;
    uint8_t first_byte;
};

struct fx_node {
    struct fx *f;
    uint16_t id;
    struct tp_port *port;
    uint8_t *mem; /* exposed and registered */
    struct fx_entry *log;
    size_t count;
    bool inside; /* a call into the port is running: callbacks must not come now */
};

struct fx {
    struct fl_evq *q;
    struct tp_simnet *net;
    struct fx_node node[FX_NODES];
    struct tp_cfg cfg; /* what nodes get; change before fx_start */
    struct tp_addr addr[FX_NODES];
    uint64_t landed_bytes, land_calls, land_last_off;
    uint8_t land_before, land_after;
};

static inline struct fx_entry *fx_log(struct fx_node *n, enum fx_kind kind, uint16_t peer,
                                      uint64_t tag, int status)
{
    assert_false(n->inside);
    assert_true(n->count < FX_LOG_MAX);
    struct fx_entry *e = &n->log[n->count++];
    *e = (struct fx_entry){.kind = kind, .tag = tag, .peer = peer, .status = status};
    e->t_ns = fl_evq_now_ns(n->f->q);
    return e;
}

static inline void fx_done(void *arg, uint64_t tag, int status)
{
    fx_log(arg, FX_DONE, 0, tag, status);
}

static inline void fx_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                          size_t payload_bytes)
{
    struct fx_entry *e = fx_log(arg, FX_MSG, peer, m->seq, m->status);
    e->seq = m->seq;
    e->mask = m->entry_count ? m->entries[0].mask : 0;
    e->first_byte = payload_bytes ? payload[0] : 0;
}

static inline void fx_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    fx_log(arg, FX_CREDIT, peer, cls, 0);
}

static inline void fx_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    fx_log(arg, FX_UP, peer, incarnation, 0);
}

static inline void fx_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    fx_log(arg, FX_DOWN, peer, incarnation, cause);
}

static inline void fx_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    fx_log(arg, FX_LANDED, peer, bytes, 0);
}

static inline void fx_on_land(void *arg, const struct tp_sim_land *l)
{
    struct fx *f = arg;
    f->land_calls++;
    f->landed_bytes += l->len_bytes;
    f->land_last_off = l->off;
    f->land_before = l->before[0];
    f->land_after = l->after[0];
}

static inline void fx_port(struct fx *f, uint16_t id, uint64_t incarnation)
{
    struct fx_node *n = &f->node[id];
    struct tp_handler h = {n, fx_done, fx_msg, fx_credit, fx_up, fx_down, fx_landed};
    struct tp_cfg c = f->cfg;
    c.self = id;
    c.incarnation = incarnation;
    assert_int_equal(tp_sim_new(f->net, &c, &h, &n->port, NULL), FL_OK);
    assert_int_equal(n->port->ops->reg(n->port, n->mem, FX_MEM_BYTES, NULL), FL_OK);
    assert_int_equal(n->port->ops->expose(n->port, n->mem, FX_MEM_BYTES, NULL), FL_OK);
    assert_int_equal(n->port->ops->listen(n->port, &f->addr[id], NULL), FL_OK);
}

static inline struct fx *fx_new(uint64_t seed)
{
    struct fx *f = calloc(1, sizeof *f);
    f->q = fl_evq_new();
    f->net = tp_simnet_new(f->q, seed, FX_NODES);
    tp_simnet_on_land(f->net, fx_on_land, f);
    f->cfg = (struct tp_cfg){.nodes = FX_NODES,
                             .credits = 4,
                             .window_ops = 16,
                             .window_bytes = 1 << 20,
                             .heartbeat_ns = FL_NS_PER_MS,
                             .heartbeat_miss_ns = 5 * FL_NS_PER_MS,
                             .connect_deadline_ns = 50 * FL_NS_PER_MS,
                             .fence_deadline_ns = 20 * FL_NS_PER_MS,
                             .announce = true};
    for (uint16_t i = 0; i < FX_NODES; i++) {
        struct fx_node *n = &f->node[i];
        n->f = f;
        n->id = i;
        n->mem = calloc(1, FX_MEM_BYTES);
        n->log = calloc(FX_LOG_MAX, sizeof *n->log);
    }
    return f;
}

static inline void fx_free(struct fx *f)
{
    for (uint16_t i = 0; i < FX_NODES; i++) {
        if (f->node[i].port)
            f->node[i].port->ops->close(&f->node[i].port);
        free(f->node[i].mem);
        free(f->node[i].log);
    }
    tp_simnet_free(&f->net);
    fl_evq_free(&f->q);
    free(f);
}

static inline void fx_nothing(void *arg, uint64_t a, uint64_t b)
{
    (void)arg;
    (void)a;
    (void)b;
}

/** Runs events up to @for_ns from now; that is the time then. */
static inline void fx_run(struct fx *f, uint64_t for_ns)
{
    uint64_t until = fl_evq_now_ns(f->q) + for_ns;
    fl_evq_at(f->q, until, fx_nothing, NULL, 0, 0);
    while (fl_evq_next_ns(f->q) <= until)
        if (!fl_evq_step(f->q))
            break;
}

/** Entry @nth (from 0) of this kind, NULL when there are fewer. */
static inline struct fx_entry *fx_find(struct fx_node *n, enum fx_kind kind, size_t nth)
{
    for (size_t i = 0; i < n->count; i++)
        if (n->log[i].kind == kind && nth-- == 0)
            return &n->log[i];
    return NULL;
}

static inline size_t fx_count(struct fx_node *n, enum fx_kind kind)
{
    size_t c = 0;
    while (fx_find(n, kind, c))
        c++;
    return c;
}

/** The completion of @tag; fails the test when there are two. */
static inline struct fx_entry *fx_done_of(struct fx_node *n, uint64_t tag)
{
    struct fx_entry *found = NULL;
    for (size_t i = 0; i < n->count; i++)
        if (n->log[i].kind == FX_DONE && n->log[i].tag == tag) {
            assert_null(found);
            found = &n->log[i];
        }
    return found;
}

static inline int fx_status(struct fx_node *n, uint64_t tag)
{
    struct fx_entry *e = fx_done_of(n, tag);
    assert_non_null(e);
    return e->status;
}

static inline void fx_connect(struct fx *f, uint16_t from, uint16_t to)
{
    struct fx_node *n = &f->node[from];
    n->inside = true;
    assert_int_equal(n->port->ops->connect(n->port, to, &f->addr[to], NULL), FL_OK);
    n->inside = false;
}

/** Ports on all nodes; node 0 connected with 1 and 2. */
static inline struct fx *fx_start(struct fx *f)
{
    for (uint16_t i = 0; i < FX_NODES; i++)
        fx_port(f, i, 1);
    fx_connect(f, 0, 1);
    fx_connect(f, 0, 2);
    fx_run(f, FL_NS_PER_MS);
    assert_int_equal(fx_count(&f->node[0], FX_UP), 2);
    assert_int_equal(fx_count(&f->node[1], FX_UP), 1);
    return f;
}

static inline struct tp_rma fx_op(struct fx *f, uint16_t from, uint16_t to, uint64_t off,
                                  uint32_t len, uint64_t tag)
{
    return (struct tp_rma){.tag = tag,
                           .peer = to,
                           .cls = FL_NORMAL,
                           .last = 1,
                           .announce_bytes = len,
                           .remote_off = off,
                           .local = f->node[from].mem + off,
                           .len_bytes = len,
                           .deadline_ns = 10 * FL_NS_PER_MS};
}

static inline void fx_write_op(struct fx *f, uint16_t from, const struct tp_rma *op)
{
    struct fx_node *n = &f->node[from];
    n->inside = true;
    n->port->ops->write(n->port, op);
    n->inside = false;
}

static inline void fx_write(struct fx *f, uint16_t from, uint16_t to, uint64_t off, uint32_t len,
                            uint64_t tag)
{
    struct tp_rma op = fx_op(f, from, to, off, len, tag);
    fx_write_op(f, from, &op);
}

static inline void fx_read(struct fx *f, uint16_t from, uint16_t to, uint64_t off, uint32_t len,
                           uint64_t tag)
{
    struct tp_rma op = fx_op(f, from, to, off, len, tag);
    struct fx_node *n = &f->node[from];
    n->inside = true;
    n->port->ops->read(n->port, &op);
    n->inside = false;
}

static inline void fx_fence(struct fx *f, uint16_t from, uint16_t to, uint64_t tag)
{
    struct fx_node *n = &f->node[from];
    n->inside = true;
    n->port->ops->fence(n->port, to, tag);
    n->inside = false;
}

static inline void fx_send(struct fx *f, uint16_t from, uint16_t to, uint8_t type, uint64_t seq,
                           uint64_t tag)
{
    struct fx_node *n = &f->node[from];
    static struct fl_msg m;
    memset(&m, 0, sizeof m);
    m.type = type;
    m.seq = seq;
    n->inside = true;
    n->port->ops->send(n->port, to, &m, NULL, tag);
    n->inside = false;
}

#endif
