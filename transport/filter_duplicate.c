/* SPDX-License-Identifier: Apache-2.0 */
/** duplicate: at the receiver a message comes again, at once or by_ns later. */
#include "transport/filter_int.h"

static void arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    if (!flt_in(f, t, a->peer) || !flt_choose(t, a->cls))
        return;
    if (t->t.by_ns == 0)
        a->doubled = true;
    else if (!flt_copy_hold(f, t, a, flt_now(f) + t->t.by_ns, false)) {
        flt_unchoose(t);
        return;
    }
    t->fired++;
}

const struct flt_kind flt_duplicate = {.arrival = arrival};
