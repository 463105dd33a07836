/* SPDX-License-Identifier: Apache-2.0 */
/**
 * stick: a write sits in a queue of the old connection and lands by_ns later, whatever its owner was
 * told meanwhile, unless a fence closes that connection first. It is overtaken by later writes, as
 * by those on a new connection. Its bytes are copied: they are those of the time it was posted.
 */
#include "transport/filter_int.h"

static int arm(struct tp_filters *f, struct flt_fault *t)
{
    (void)t;
    return flt_slots_reg(f);
}

static void request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (op->what != FLT_WRITE || !flt_out(f, t, op->peer) || !flt_choose(t, op->cls))
        return;
    if (!flt_copy_bytes(f, op)) {
        flt_unchoose(t);
        return;
    }
    t->fired++;
    op->apart = true;
    op->due_ns = flt_now(f) + t->t.by_ns;
}

const struct flt_kind flt_stuck = {.arm = arm, .request = request};
