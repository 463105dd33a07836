/* SPDX-License-Identifier: Apache-2.0 */
/**
 * cut, clog: nothing passes. At the sender requests and messages vanish (clog: wait), and the port
 * is mute; at the other end the acknowledgements of its operations do, and what messages still
 * come. No connection is made or fenced over such a link. When a cut ends that swallowed a message,
 * the connection breaks: a reliable one does not lose a message and go on.
 */
#include "transport/filter_int.h"

static void block(struct tp_filters *f, const struct flt_fault *t, bool on)
{
    if (t->t.from == f->self)
        flt_mute(f, t->t.to, on);
    if (t->t.from == f->self || t->t.to == f->self)
        flt_block(f, t->t.from == f->self ? t->t.to : t->t.from, on);
}

static int arm(struct tp_filters *f, struct flt_fault *t)
{
    block(f, t, true);
    return FL_OK;
}

static void disarm(struct tp_filters *f, struct flt_fault *t)
{
    block(f, t, false);
}

/** Its silence was noticed, whether or not anything else was on the link. */
static void down(struct tp_filters *f, struct flt_fault *t, uint16_t peer, int cause)
{
    if (cause == FL_ETIMEDOUT && (flt_out(f, t, peer) || flt_in(f, t, peer)))
        t->fired++;
}

static void cut_request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (!flt_out(f, t, op->peer) || !flt_hit(t, op->cls))
        return;
    op->lost = true;
    if (op->what == FLT_SEND)
        f->peers[op->peer]->lost_messages = true;
}

static void cut_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_in(f, t, op->peer) && flt_hit(t, op->cls))
        op->lost = true;
}

static void cut_arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    if (!flt_in(f, t, a->peer) || !flt_hit(t, a->cls))
        return;
    a->taken = true;
    f->peers[a->peer]->lost_messages = true;
}

const struct flt_kind flt_cut = {.arm = arm,
                                 .disarm = disarm,
                                 .request = cut_request,
                                 .answer = cut_answer,
                                 .arrival = cut_arrival,
                                 .down = down};

static void clog_request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_out(f, t, op->peer) && flt_hit(t, op->cls))
        op->parked = t;
}

static void clog_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_in(f, t, op->peer) && flt_hit(t, op->cls))
        op->parked = t;
}

const struct flt_kind flt_clog = {
    .arm = arm, .disarm = disarm, .request = clog_request, .answer = clog_answer, .down = down};
