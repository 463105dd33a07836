/* SPDX-License-Identifier: Apache-2.0 */
/** The smallest schedule that still fails: steps first, then work, regions and nodes. */
#ifndef EMU_SHRINK_H
#define EMU_SHRINK_H

#include "emu/result.h"

struct shrink {
    const char *key;     /* what has to stay: "W3", "no-progress", "deadline", "node" */
    const char *tracker; /* of the simulator */
    uint32_t runs_max;
    uint64_t wall_ns; /* no further run begins after this */
    uint32_t runs;    /* done */
};

/** Makes @p smaller in place for as long as @s->key fails in a run of it. FL_EINVAL: it does not
 * fail in a run of @p itself. */
int shrink_plan(struct plan *p, struct shrink *s, struct fl_errmsg *err);

/** "5 steps to 1, 4000 accesses to 30, 2 threads to 1, 3 nodes to 2". */
void shrink_describe(const struct plan *before, const struct plan *after, char *ret, size_t size);

#endif
