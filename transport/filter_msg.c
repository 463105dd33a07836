/* SPDX-License-Identifier: Apache-2.0 */
/** The stack of fault filters: messages that are held on their way down or up. */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "transport/filter_int.h"
#include "transport/wire.h"

/* --- down ----------------------------------------------------------------------------------- */

/** Pages with the lines of a packed payload: the codec takes them from there. */
static const uint8_t *const *unpack(struct tp_filters *f, const struct fl_msg *m,
                                    const uint8_t *payload)
{
    struct flt_scratch *s = f->scratch;
    for (unsigned i = 0; i < m->entry_count; i++) {
        s->lines[i] = s->pages[i];
        for (fl_mask left = fl_msg_bare(m->type) ? 0 : m->entries[i].mask; left; left &= left - 1) {
            memcpy(s->pages[i] + (size_t)fl_mask_first(left) * FL_LINE_BYTES, payload,
                   FL_LINE_BYTES);
            payload += FL_LINE_BYTES;
        }
    }
    return s->lines;
}

static void pass(struct tp_filters *f, uint16_t peer, const struct fl_msg *m,
                 const uint8_t *const *lines, uint64_t tag)
{
    f->below->ops->send(f->below, peer, m, lines, tag);
}

/** Keeps the message of @op; it counts as handed over. */
static void hold(struct tp_filters *f, struct flt_op *op, const struct fl_msg *m,
                 const uint8_t *const *lines)
{
    size_t len = op->bytes;
    op->saved = malloc(len);
    int rc = op->saved ? tp_wire_encode(m, lines, op->saved, len, &len) : FL_ENOMEM;
    flt_answer(f, op, rc);
    if (rc != FL_OK) {
        flt_leave(f, op);
        return;
    }
    op->saved_bytes = len;
    flt_queue(f, op);
}

void flt_send(struct tp_filters *f, uint16_t peer, const struct fl_msg *m,
              const uint8_t *const *lines, uint64_t tag)
{
    int cls = fl_msg_class(m->type);
    bool legal = cls >= 0 && m->entry_count <= FL_MSG_ENTRIES_MAX && peer < f->nodes;
    struct flt_op *op = legal ? flt_op_new(f, FLT_SEND, peer, tag) : NULL;
    if (!op) {
        pass(f, peer, m, lines, tag); /* the port says what is wrong with it */
        return;
    }
    struct flt_peer *p = f->peers[op->peer];
    op->cls = (uint8_t)cls;
    op->bytes = (uint32_t)tp_wire_size(m);
    if (p->down[cls].sends >= FLT_SENDS_MAX) {
        p->refused |= (uint8_t)(1U << cls);
        flt_answer(f, op, FL_EAGAIN);
        flt_leave(f, op);
        return;
    }
    flt_request_faults(f, op);
    if (op->lost) {
        flt_answer(f, op, FL_OK);
        flt_leave(f, op);
    } else if (flt_must_queue(f, op)) {
        hold(f, op, m, lines);
    } else {
        pass(f, peer, m, lines, flt_op_tag(op));
    }
}

void flt_send_below(struct tp_filters *f, struct flt_op *op)
{
    const uint8_t *payload = NULL;
    size_t bytes = 0;
    struct fl_msg *m = &f->scratch->m;
    int rc = tp_wire_decode(op->saved, op->saved_bytes, m, &payload, &bytes);
    FL_ASSERT(rc == FL_OK); /* it was encoded here */
    pass(f, op->peer, m, unpack(f, m, payload), flt_op_tag(op));
}

/* --- up ------------------------------------------------------------------------------------- */

int flt_encode(struct tp_filters *f, const struct flt_arrival *a, size_t *ret_len)
{
    return tp_wire_encode(a->m, unpack(f, a->m, a->payload), f->scratch->wire, tp_wire_max(),
                          ret_len);
}

static void deliver(struct tp_filters *f, uint16_t peer, const struct fl_msg *m,
                    const uint8_t *payload, size_t payload_bytes)
{
    f->above.msg(f->above.arg, peer, m, payload, payload_bytes);
}

static void copy_free(struct tp_filters *f, struct flt_copy *c)
{
    tpo_timer_set(&f->timers, &c->timer, FL_NEVER);
    TAILQ_REMOVE(&f->copies, c, link);
    f->copy_count--;
    free(c);
}

bool flt_copy_hold(struct tp_filters *f, struct flt_fault *by, const struct flt_arrival *a,
                   uint64_t at_ns, bool behind_next)
{
    if (f->copy_count == FLT_COPIES_MAX)
        return false;
    struct flt_copy *c = malloc(sizeof *c + a->payload_bytes);
    if (!c)
        return false;
    *c = (struct flt_copy){.timer.kind = FLT_T_COPY,
                           .by = by,
                           .peer = a->peer,
                           .cls = a->cls,
                           .behind_next = behind_next,
                           .payload_bytes = a->payload_bytes};
    c->m = *a->m;
    if (a->payload_bytes)
        memcpy(c->payload, a->payload, a->payload_bytes);
    TAILQ_INSERT_TAIL(&f->copies, c, link);
    f->copy_count++;
    tpo_timer_set(&f->timers, &c->timer, at_ns);
    return true;
}

static struct flt_copy *held_behind(const struct tp_filters *f, uint16_t peer, uint8_t cls)
{
    struct flt_copy *c;
    TAILQ_FOREACH(c, &f->copies, link)
    if (c->behind_next && c->peer == peer && c->cls == cls)
        return c;
    return NULL;
}

bool flt_copy_held(const struct tp_filters *f, uint16_t peer, uint8_t cls)
{
    return held_behind(f, peer, cls) != NULL;
}

void flt_copy_deliver(struct tp_filters *f, struct flt_copy *c)
{
    /* Out of the list first: the owner may do anything while it is told. */
    tpo_timer_set(&f->timers, &c->timer, FL_NEVER);
    TAILQ_REMOVE(&f->copies, c, link);
    f->copy_count--;
    deliver(f, c->peer, &c->m, c->payload, c->payload_bytes);
    free(c);
}

void flt_copies_end(struct tp_filters *f, uint16_t peer)
{
    struct flt_copy *c;
    for (int cls = 0; cls < FL_CLASSES; cls++)
        while ((c = held_behind(f, peer, (uint8_t)cls)) != NULL)
            flt_copy_deliver(f, c);
    for (struct flt_copy *next = TAILQ_FIRST(&f->copies); (c = next) != NULL;) {
        next = TAILQ_NEXT(c, link);
        if (c->peer == peer)
            copy_free(f, c);
    }
}

void flt_copies_release(struct tp_filters *f, const struct flt_fault *by)
{
    struct flt_copy *c;
    TAILQ_FOREACH(c, &f->copies, link)
    if (c->by == by)
        tpo_timer_set(&f->timers, &c->timer, flt_now(f));
}

void flt_copies_free(struct tp_filters *f)
{
    struct flt_copy *c;
    while ((c = TAILQ_FIRST(&f->copies)) != NULL)
        copy_free(f, c);
}

void flt_arrived(struct tp_filters *f, struct flt_arrival *a)
{
    struct flt_fault *t;
    STAILQ_FOREACH(t, &f->armed, link)
    if (flt_kind_of(t)->arrival && !a->taken)
        flt_kind_of(t)->arrival(f, t, a);
    if (a->taken)
        return;
    struct flt_copy *behind = held_behind(f, a->peer, a->cls);
    deliver(f, a->peer, a->m, a->payload, a->payload_bytes);
    if (a->doubled)
        deliver(f, a->peer, a->m, a->payload, a->payload_bytes);
    if (behind && held_behind(f, a->peer, a->cls) == behind)
        flt_copy_deliver(f, behind);
}
