/* SPDX-License-Identifier: Apache-2.0 */
/** corrupt: at the receiver one bit of a message's bytes is wrong. The codec's refusal is the end. */
#include "transport/filter_int.h"

static void arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    size_t len = 0;
    if (!flt_in(f, t, a->peer) || !flt_choose(t, a->cls))
        return;
    if (flt_encode(f, a, &len) == FL_OK) {
        size_t bit = (size_t)fl_rng_below(&f->rng, len * 8);
        f->scratch->wire[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    flt_spoiled(f, t, a, len);
}

const struct flt_kind flt_corrupt = {.arrival = arrival};
