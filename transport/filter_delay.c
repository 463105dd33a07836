/* SPDX-License-Identifier: Apache-2.0 */
/**
 * delay, rate: a slow link. At the sender requests and messages wait before the port gets them; at
 * the other end the acknowledgements of its own operations wait, for they travel the link as well.
 * Lanes keep the order of each class. Connects and fences are not held up.
 */
#include "transport/filter_int.h"

static void wait_until(struct flt_op *op, struct flt_fault *t, uint64_t at_ns)
{
    if (at_ns <= op->due_ns)
        return;
    op->due_ns = at_ns;
    op->due_by = t;
}

static void delay(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    uint64_t now = flt_now(f);
    if (flt_hit(t, op->cls))
        wait_until(op, t, (op->due_ns > now ? op->due_ns : now) + t->t.by_ns);
}

static void delay_request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_out(f, t, op->peer))
        delay(f, t, op);
}

static void delay_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_in(f, t, op->peer))
        delay(f, t, op);
}

const struct flt_kind flt_delay = {.request = delay_request, .answer = delay_answer};

/** A class waits for itself and for those above it, as on connections of their own. */
static void serialise(struct tp_filters *f, struct flt_fault *t, struct flt_op *op, uint32_t bytes)
{
    uint64_t start = flt_now(f);
    if (!flt_hit(t, op->cls))
        return;
    if (t->busy_ns[op->cls] > start)
        start = t->busy_ns[op->cls];
    uint64_t end = start + (uint64_t)bytes * 8 * FL_NS_PER_S / t->t.rate_bps;
    for (int c = op->cls; c < FL_CLASSES; c++)
        if (t->busy_ns[c] < end)
            t->busy_ns[c] = end;
    wait_until(op, t, end);
}

static void rate_request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_out(f, t, op->peer))
        serialise(f, t, op, op->bytes);
}

static void rate_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (flt_in(f, t, op->peer))
        serialise(f, t, op, op->what == FLT_READ ? op->r.len_bytes : FLT_REQUEST_BYTES);
}

const struct flt_kind flt_rate = {.request = rate_request, .answer = rate_answer};
