/* SPDX-License-Identifier: Apache-2.0 */
/**
 * reorder: at the receiver a message waits until the next of its class from there has come, but no
 * longer than by_ns (10 ms when that is 0), nor past the end of its connection.
 */
#include "transport/filter_int.h"

#define WAIT_NS (10 * FL_NS_PER_MS)

static void arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    if (!flt_in(f, t, a->peer) || flt_copy_held(f, a->peer, a->cls) || !flt_choose(t, a->cls))
        return;
    uint64_t wait_ns = t->t.by_ns ? t->t.by_ns : WAIT_NS;
    a->taken = flt_copy_hold(f, t, a, flt_now(f) + wait_ns, true);
    if (a->taken)
        t->fired++;
    else
        flt_unchoose(t);
}

const struct flt_kind flt_reorder = {.arrival = arrival};
