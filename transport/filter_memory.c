/* SPDX-License-Identifier: Apache-2.0 */
/**
 * short_read, stale_read, flip_bit, fail_registration: what memory does wrong, at the node that
 * reads or registers. A read that is lied about succeeds below; what it brought is then changed.
 */
#include <stdlib.h>
#include <string.h>

#include "transport/filter_int.h"

static bool chosen(const struct tp_filters *f, struct flt_fault *t, const struct flt_op *op)
{
    return op->what == FLT_READ && !op->lie && flt_out(f, t, op->peer) && flt_choose(t, op->cls);
}

/** The target as it is before the read. */
static void save(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (!chosen(f, t, op))
        return;
    op->saved = malloc(op->r.len_bytes);
    if (!op->saved) {
        flt_unchoose(t);
        return;
    }
    op->saved_bytes = op->r.len_bytes;
    memcpy(op->saved, op->r.local, op->saved_bytes);
    op->lie = t;
}

static void restore(struct flt_fault *t, struct flt_op *op, size_t from)
{
    if (op->lie != t || !op->saved)
        return;
    memcpy(op->r.local + from, op->saved + from, op->saved_bytes - from);
    t->fired++;
}

static void short_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    (void)f;
    restore(t, op, op->saved_bytes / 2);
}

static void stale_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    (void)f;
    restore(t, op, 0);
}

const struct flt_kind flt_short_read = {.request = save, .answer = short_answer};
const struct flt_kind flt_stale_read = {.request = save, .answer = stale_answer};

static void flip_request(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (chosen(f, t, op))
        op->lie = t;
}

static void flip_answer(struct tp_filters *f, struct flt_fault *t, struct flt_op *op)
{
    if (op->lie != t)
        return;
    uint64_t bit = fl_rng_below(&f->rng, (uint64_t)op->r.len_bytes * 8);
    op->r.local[bit / 8] ^= (uint8_t)(1U << bit % 8);
    t->fired++;
}

const struct flt_kind flt_bit_flip = {.request = flip_request, .answer = flip_answer};

static int reg_fails(struct tp_filters *f, struct flt_fault *t, size_t len_bytes,
                     struct fl_errmsg *err)
{
    if (t->t.from != f->self || !flt_hit(t, FL_URGENT))
        return FL_OK;
    return fl_fail(err, FL_ENOMEM,
                   "cannot register %zu bytes: the limit of locked memory is reached (an injected "
                   "fault); raise `ulimit -l`",
                   len_bytes);
}

const struct flt_kind flt_reg_fail = {.reg = reg_fails};
