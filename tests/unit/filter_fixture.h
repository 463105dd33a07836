/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A stack of fault filters over a port that only writes down what it is asked, with a clock moved
 * by hand: the test answers as the port would. Node 0 is the stack's, 1 and 2 are peers.
 */
#ifndef FILTER_FIXTURE_H
#define FILTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "transport/filter.h"

enum { FF_LOG_MAX = 1024, FF_MEM_BYTES = 64 * 1024 };

enum ff_call { FF_READ, FF_WRITE, FF_SEND, FF_FENCE, FF_CONNECT, FF_MUTE, FF_SEVER, FF_REG };
enum ff_told { FF_DONE, FF_MSG, FF_CREDIT, FF_UP, FF_DOWN, FF_LANDED };

/** What the port was asked, or what the owner was told. */
struct ff_entry {
    int kind;
    uint16_t peer;
    uint64_t tag, a; /* a: seq of a message, cause, muted */
    int status;
    struct tp_rma r;
    uint8_t first_byte; /* of a write, or of the first line of a message */
    size_t bytes;       /* payload of a message */
};

struct ff {
    struct tp_port below; /* first */
    struct tp_filters *f;
    struct tp_port *port; /* the owner's */
    uint64_t now_ns, wake_ns;
    bool inside; /* the owner is calling: nothing may be told now */
    int send_status;
    bool closed;
    uint8_t *mem;
    struct ff_entry asked[FF_LOG_MAX], told[FF_LOG_MAX];
    size_t asked_count, told_count;
};

static inline struct ff_entry *ff_ask(struct tp_port *p, enum ff_call kind, uint16_t peer,
                                      uint64_t tag)
{
    struct ff *x = (struct ff *)p;
    assert_true(x->asked_count < FF_LOG_MAX);
    struct ff_entry *e = &x->asked[x->asked_count++];
    *e = (struct ff_entry){.kind = kind, .peer = peer, .tag = tag};
    return e;
}

static inline int ff_reg(struct tp_port *p, void *base, size_t len, struct fl_errmsg *err)
{
    (void)base;
    (void)err;
    ff_ask(p, FF_REG, 0, 0)->bytes = len;
    return FL_OK;
}

static inline int ff_listen(struct tp_port *p, struct tp_addr *a, struct fl_errmsg *err)
{
    (void)p;
    (void)err;
    a->len = 1;
    return FL_OK;
}

static inline int ff_connect(struct tp_port *p, uint16_t peer, const struct tp_addr *a,
                             struct fl_errmsg *err)
{
    (void)err;
    ff_ask(p, FF_CONNECT, peer, 0)->a = a->len;
    return FL_OK;
}

static inline void ff_rma(struct tp_port *p, const struct tp_rma *r, enum ff_call kind)
{
    struct ff_entry *e = ff_ask(p, kind, r->peer, r->tag);
    e->r = *r;
    e->first_byte = r->local[0];
}

static inline void ff_read(struct tp_port *p, const struct tp_rma *r)
{
    ff_rma(p, r, FF_READ);
}

static inline void ff_write(struct tp_port *p, const struct tp_rma *r)
{
    ff_rma(p, r, FF_WRITE);
}

static inline void ff_send(struct tp_port *p, uint16_t peer, const struct fl_msg *m,
                           const uint8_t *const *lines, uint64_t tag)
{
    struct ff_entry *e = ff_ask(p, FF_SEND, peer, tag);
    e->a = m->seq;
    if (m->entry_count && m->entries[0].mask)
        e->first_byte = lines[0][fl_mask_first(m->entries[0].mask) * FL_LINE_BYTES];
}

static inline void ff_fence(struct tp_port *p, uint16_t peer, uint64_t tag)
{
    ff_ask(p, FF_FENCE, peer, tag);
}

static inline void ff_mute(struct tp_port *p, uint16_t peer, bool muted)
{
    ff_ask(p, FF_MUTE, peer, 0)->a = muted;
}

static inline void ff_sever(struct tp_port *p, uint16_t peer, int cause)
{
    ff_ask(p, FF_SEVER, peer, 0)->status = cause;
}

static inline bool ff_poll(struct tp_port *p)
{
    (void)p;
    return false;
}

static inline void ff_ledger(struct tp_port *p, struct tp_ledger *ret)
{
    (void)p;
    *ret = (struct tp_ledger){.timeouts = 100};
}

static inline void ff_close(struct tp_port **p)
{
    ((struct ff *)*p)->closed = true;
    *p = NULL;
}

static inline struct ff_entry *ff_tell(void *arg, enum ff_told kind, uint16_t peer, uint64_t tag)
{
    struct ff *x = arg;
    assert_false(x->inside);
    assert_true(x->told_count < FF_LOG_MAX);
    struct ff_entry *e = &x->told[x->told_count++];
    *e = (struct ff_entry){.kind = kind, .peer = peer, .tag = tag};
    return e;
}

static inline void ff_on_done(void *arg, uint64_t tag, int status)
{
    ff_tell(arg, FF_DONE, 0, tag)->status = status;
}

static inline void ff_on_msg(void *arg, uint16_t peer, const struct fl_msg *m,
                             const uint8_t *payload, size_t bytes)
{
    struct ff_entry *e = ff_tell(arg, FF_MSG, peer, 0);
    e->a = m->seq;
    e->bytes = bytes;
    e->first_byte = bytes ? payload[0] : 0;
}

static inline void ff_on_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    ff_tell(arg, FF_CREDIT, peer, cls);
}

static inline void ff_on_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    ff_tell(arg, FF_UP, peer, incarnation);
}

static inline void ff_on_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    ff_tell(arg, FF_DOWN, peer, incarnation)->status = cause;
}

static inline void ff_on_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    ff_tell(arg, FF_LANDED, peer, bytes);
}

static inline uint64_t ff_now(void *arg)
{
    return ((struct ff *)arg)->now_ns;
}

static inline void ff_wake(void *arg, uint64_t t_ns)
{
    ((struct ff *)arg)->wake_ns = t_ns;
}

static inline void ff_peer_up(struct ff *x, uint16_t peer)
{
    const struct tp_handler *h = tp_filters_handler(x->f);
    h->peer_up(h->arg, peer, 1);
}

static inline void ff_peer_down(struct ff *x, uint16_t peer, int cause)
{
    const struct tp_handler *h = tp_filters_handler(x->f);
    h->peer_down(h->arg, peer, 1, cause);
}

/** A stack over the port, both peers up. */
static inline struct ff *ff_new(void)
{
    static const struct tp_port_ops OPS = {.reg = ff_reg,
                                           .expose = ff_reg,
                                           .listen = ff_listen,
                                           .connect = ff_connect,
                                           .read = ff_read,
                                           .write = ff_write,
                                           .send = ff_send,
                                           .fence = ff_fence,
                                           .mute = ff_mute,
                                           .sever = ff_sever,
                                           .poll = ff_poll,
                                           .ledger = ff_ledger,
                                           .close = ff_close};
    struct ff *x = calloc(1, sizeof *x);
    struct tp_handler h = {x,        ff_on_done, ff_on_msg,   ff_on_credit,
                           ff_on_up, ff_on_down, ff_on_landed};
    struct tp_filter_env env = {.arg = x,
                                .now_ns = ff_now,
                                .wake_at = ff_wake,
                                .connect_deadline_ns = 5 * FL_NS_PER_MS,
                                .fence_deadline_ns = 7 * FL_NS_PER_MS};
    x->below.ops = &OPS;
    x->now_ns = 1000;
    x->wake_ns = FL_NEVER;
    x->mem = calloc(1, FF_MEM_BYTES);
    x->f = tp_filters_new(&env, 0, 3, 1, &h);
    assert_non_null(x->f);
    x->port = tp_filters_over(x->f, &x->below);
    for (uint16_t peer = 1; peer < 3; peer++)
        ff_peer_up(x, peer);
    x->told_count = 0;
    return x;
}

static inline void ff_free(struct ff *x)
{
    x->port->ops->close(&x->port);
    assert_null(x->port);
    assert_true(x->closed);
    free(x->mem);
    free(x);
}

/** Lets time pass; the stack runs whenever it wanted to. */
static inline void ff_run(struct ff *x, uint64_t for_ns)
{
    uint64_t until = x->now_ns + for_ns;
    while (x->wake_ns <= until) {
        if (x->wake_ns > x->now_ns)
            x->now_ns = x->wake_ns;
        x->wake_ns = FL_NEVER;
        tp_filters_run(x->f);
    }
    x->now_ns = until;
}

static inline void ff_arm(struct ff *x, uint32_t id, struct tp_fault t)
{
    x->inside = true;
    assert_int_equal(tp_filters_arm(x->f, id, &t), FL_OK);
    x->inside = false;
}

static inline void ff_disarm(struct ff *x, uint32_t id)
{
    x->inside = true;
    tp_filters_disarm(x->f, id);
    x->inside = false;
}

/** A write or read of a page towards @peer, 10 ms at most; tags also choose the page. */
static inline void ff_op(struct ff *x, enum ff_call kind, uint16_t peer, uint8_t cls, uint64_t tag)
{
    struct tp_rma r = {.tag = tag,
                       .peer = peer,
                       .cls = cls,
                       .local = x->mem + tag % 16 * FL_PAGE_BYTES,
                       .len_bytes = FL_PAGE_BYTES,
                       .deadline_ns = 10 * FL_NS_PER_MS};
    x->inside = true;
    if (kind == FF_WRITE)
        x->port->ops->write(x->port, &r);
    else
        x->port->ops->read(x->port, &r);
    x->inside = false;
}

/** A log batch with one line of page @seq % 16. */
static inline void ff_msg(struct ff *x, uint16_t peer, uint64_t seq, uint64_t tag)
{
    struct fl_msg m = {.type = FL_MSG_LOG_BATCH, .seq = seq, .entry_count = 1};
    const uint8_t *lines[1] = {x->mem + seq % 16 * FL_PAGE_BYTES};
    m.entries[0].mask = 2;
    x->inside = true;
    x->port->ops->send(x->port, peer, &m, lines, tag);
    x->inside = false;
}

static inline void ff_fence_op(struct ff *x, uint16_t peer, uint64_t tag)
{
    x->inside = true;
    x->port->ops->fence(x->port, peer, tag);
    x->inside = false;
}

/** A message of class normal (bulk: with a line of bytes @fill) comes from @peer. */
static inline void ff_arrive(struct ff *x, uint16_t peer, uint64_t seq, bool bulk, uint8_t fill)
{
    struct fl_msg m = {.type = bulk ? FL_MSG_LOG_BATCH : FL_MSG_OPEN_ACK, .seq = seq};
    uint8_t line[FL_LINE_BYTES];
    memset(line, fill, sizeof line);
    if (bulk) {
        m.entry_count = 1;
        m.entries[0].mask = 4;
    }
    const struct tp_handler *h = tp_filters_handler(x->f);
    h->msg(h->arg, peer, &m, line, bulk ? sizeof line : 0);
}

static inline struct ff_entry *ff_find(struct ff_entry *list, size_t count, int kind, size_t nth)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].kind == kind && nth-- == 0)
            return &list[i];
    return NULL;
}

/** The @nth call of the port of this kind, or what the owner was told; NULL: there is none. */
static inline struct ff_entry *ff_asked(struct ff *x, enum ff_call kind, size_t nth)
{
    return ff_find(x->asked, x->asked_count, kind, nth);
}

static inline struct ff_entry *ff_told(struct ff *x, enum ff_told kind, size_t nth)
{
    return ff_find(x->told, x->told_count, kind, nth);
}

/** The port answers its @nth call of this kind. */
static inline void ff_answer(struct ff *x, enum ff_call kind, size_t nth, int status)
{
    const struct tp_handler *h = tp_filters_handler(x->f);
    struct ff_entry *e = ff_asked(x, kind, nth);
    assert_non_null(e);
    h->done(h->arg, e->tag, status);
}

/** Answer to the owner's @tag, 1: none yet; fails when there are two. */
static inline int ff_status(struct ff *x, uint64_t tag)
{
    int status = 1;
    for (size_t i = 0; i < x->told_count; i++)
        if (x->told[i].kind == FF_DONE && x->told[i].tag == tag) {
            assert_int_equal(status, 1);
            status = x->told[i].status;
        }
    return status;
}

static inline size_t ff_asked_count(struct ff *x, enum ff_call kind)
{
    size_t n = 0;
    while (ff_asked(x, kind, n))
        n++;
    return n;
}

#endif
