/* SPDX-License-Identifier: Apache-2.0 */
/**
 * truncate: at the receiver a message's bytes end early. The codec that takes what comes from the
 * wire judges them; its refusal ends the connection.
 */
#include "transport/filter_int.h"
#include "transport/wire.h"

void flt_spoiled(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a, size_t len)
{
    const uint8_t *payload;
    size_t payload_bytes;
    int rc = tp_wire_decode(f->scratch->wire, len, &f->scratch->m, &payload, &payload_bytes);
    if (rc == FL_OK) {
        flt_unchoose(t); /* the codec has not seen it: no harm was done, none is counted */
        return;
    }
    a->taken = true;
    t->fired++;
    f->below->ops->sever(f->below, a->peer, rc);
}

static void arrival(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a)
{
    size_t len = 0;
    if (!flt_in(f, t, a->peer) || !flt_choose(t, a->cls))
        return;
    if (flt_encode(f, a, &len) == FL_OK)
        len = (size_t)fl_rng_below(&f->rng, len);
    flt_spoiled(f, t, a, len);
}

const struct flt_kind flt_truncate = {.arrival = arrival};
