/* SPDX-License-Identifier: Apache-2.0 */
/** drop: at the receiver a message vanishes. On a reliable connection that is its end. */
#include "transport/filter_int.h"

static void arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    if (!flt_in(f, t, a->peer) || !flt_hit(t, a->cls))
        return;
    a->taken = true;
    f->below->ops->sever(f->below, a->peer, FL_ECONN);
}

const struct flt_kind flt_drop = {.arrival = arrival};
