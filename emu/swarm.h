/* SPDX-License-Identifier: Apache-2.0 */
/** Faults drawn from a seed, and how a run under such faults is judged. */
#ifndef EMU_SWARM_H
#define EMU_SWARM_H

#include "emu/pool.h"

/**
 * @ret becomes @base under @seed with faults of the seed's FAULT stream on top of its own steps.
 * One seed in five draws none (then everything the scenario expects counts); under drawn faults
 * only the checks count, without W6, which bounds what waits for a period but not for a cut link.
 * A scenario with variants is one of them. @lies: also faults that no mechanism without checksums
 * from end to end survives (a completion before its time, a read that brings wrong bytes). Returns
 * true when faults were drawn.
 */
bool swarm_draw(const struct plan *base, uint64_t seed, bool lies, struct plan *ret);

/** Judges a run of such a plan. @drawn: as swarm_draw said. @note: verdict, key and why, counts. */
void swarm_judge(const struct plan *p, const struct result *r, bool drawn, struct pool_note *note);

/** Runs @p in the simulator and judges it; @twice: two times, and both traces must be equal. */
void swarm_run(const struct plan *p, bool drawn, bool twice, struct pool_note *ret);

/** Runs every variant of @base under @seed, without drawn faults: W9 compares their images. */
void swarm_run_variants(const struct plan *base, uint64_t seed, struct plan *scratch,
                        struct pool_note *ret);

/** True when @key ("W3", "no-progress", "deadline", "node") failed in @r. */
bool swarm_failed(const struct plan *p, const struct result *r, const char *key);

/** True for faults of a link that can hit either direction; operations begin at compute nodes. */
bool swarm_either_way(unsigned kind);

/** Takes a check out of those that the plan asks for. */
void swarm_drop_check(struct plan *p, const char *id);

/** Removes the steps that did not fire in @r: what is left repeats the run. */
void swarm_drop_unfired(struct plan *p, const struct result *r);

#endif
