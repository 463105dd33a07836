/* SPDX-License-Identifier: Apache-2.0 */
/**
 * lose_completion, delay_completion, fail_completion, early_completion: at the node that posts, of
 * its one-sided operations. The operation itself is untouched; only success is ever withheld, for a
 * failure is known here. A late one is overtaken by those behind it.
 */
#include "transport/filter_int.h"

static bool hits(const struct tp_filters *f, struct flt_fault *t, const struct flt_op *op)
{
    return flt_out(f, t, op->peer) && flt_hit(t, op->cls);
}

static void lost(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (hits(f, t, op))
        op->lost = true;
}

const struct flt_kind flt_done_lost = {.answer = lost};

static void late(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    uint64_t now = flt_now(f);
    if (!hits(f, t, op))
        return;
    op->due_ns = (op->due_ns > now ? op->due_ns : now) + t->t.by_ns;
    op->apart = true;
}

const struct flt_kind flt_done_late = {.answer = late};

/* What libfabric's port says when an operation failed and its connection did not. */
static void error(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (op->status == FL_OK && hits(f, t, op))
        op->status = FL_EIO;
}

const struct flt_kind flt_done_error = {.answer = error};

/** Of writes: its bytes are copied, because the owner may use their place again at once. */
static void early(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (op->what != FLT_WRITE || !flt_out(f, t, op->peer) || !flt_choose(t, op->cls))
        return;
    if (!flt_copy_bytes(f, op)) {
        flt_unchoose(t);
        return;
    }
    t->fired++;
    op->apart = op->early = true;
    op->due_ns = flt_now(f) + t->t.by_ns;
}

static int early_arm(struct tp_filters *f, struct flt_fault *t)
{
    (void)t;
    return flt_slots_reg(f);
}

const struct flt_kind flt_done_early = {.arm = early_arm, .request = early};
