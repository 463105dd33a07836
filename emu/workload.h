/* SPDX-License-Identifier: Apache-2.0 */
/** Actor workloads: seeded generators of accesses, the same in the real world and the simulator. */
#ifndef EMU_WORKLOAD_H
#define EMU_WORKLOAD_H

#include "emu/base/rng.h"
#include "emu/plan.h"

struct work_op {
    bool store;
    uint64_t off; /* in the region */
    uint32_t len_bytes;
    uint64_t value; /* seed of the bytes that a store writes; never twice the same in a run */
};

/** State of one thread of one workload. Plain data. */
struct work_gen {
    struct fl_rng rng;
    const struct plan_workload *w;
    uint64_t lo, hi;       /* bytes of the region this thread owns: [lo, hi) */
    uint32_t stride, lane; /* hammer: words of 8 bytes interleaved between threads */
    uint64_t done, ops;
    double zeta[3]; /* zipf: constants of the generator */
};

/** Prepares thread @thread of workload @w (one of @p's) on a region of @region_bytes. Every byte of
 * the region has at most one writer: threads own disjoint bytes, and actor workloads that share a
 * region divide it evenly (span_bytes then counts from the start of the share). */
void work_init(struct work_gen *g, const struct plan *p, const struct plan_workload *w,
               uint32_t thread, uint64_t region_bytes);

/** Next access; false when this thread is done. */
bool work_next(struct work_gen *g, struct work_op *ret);

/** Bytes a store writes at @off + @i: a function of value and offset only. */
void work_bytes(const struct work_op *op, uint8_t *dst);

/** Kinds that are generators (the rest are programs). */
bool work_is_actor(enum plan_work_kind k);

#endif
