/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Generated accesses carried out on memory that traps: real loads and stores, each known to the
 * shadow first. For threads of the real world and coroutines of the simulated one.
 */
#ifndef EMU_WORK_RUN_H
#define EMU_WORK_RUN_H

#include "emu/oracle.h"
#include "emu/workload.h"

struct work_run {
    struct work_gen gen;
    struct work_op op;      /* the access under way */
    uint8_t *base, *shadow; /* of the region; no shadow without oracles */
    struct oracle *oracle;  /* may be NULL */
    uint16_t region, workload;
    uint32_t index; /* of the thread within the workload */
    uint64_t accesses;
    void (*between)(void *arg); /* after each access; may be NULL */
    void *arg;
    uint8_t buf[FL_PAGE_BYTES];
};

/** @r: zeroed, @between set or not. @index: of the thread within workload @w. */
void work_run_init(struct work_run *r, const struct plan *p, const struct plan_workload *w,
                   uint32_t index, uint8_t *base, struct oracle *oracle);

/** All accesses. FL_OK, or native_guard's error: the one under way failed (its bytes are undecided
 * then) or crashed; @ret_off: where in the region. */
int work_run(struct work_run *r, uint64_t *ret_off);

#endif
