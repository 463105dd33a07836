/* SPDX-License-Identifier: Apache-2.0 */
/** Small plans for property tests, and runs of them in the simulator. */
#ifndef SIM_PLANS_H
#define SIM_PLANS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "emu/plan.h"
#include "emu/result.h"

/** One compute node "c0", memory nodes "m0".., one region "heap" over all of them, one workload
 * "mix" of @kind, all checks that apply. free() it. */
struct plan *sim_plan(uint64_t seed, uint16_t memory_nodes, uint32_t pages,
                      enum plan_work_kind kind, uint32_t threads, uint64_t ops);

/** Everything drawn from @seed: nodes, regions, capacity, thresholds, paths, workloads. */
struct plan *sim_plan_random(uint64_t seed);

/** Appends a step and returns it; @site FL_SITE_NONE: at @nth_or_ns after the start of the work. */
struct plan_step *sim_step(struct plan *p, enum plan_action action, const char *target,
                           enum fl_site site, uint64_t nth_or_ns);

/** Adds a planted bug; NULL: none. */
void sim_plant(struct plan *p, const char *plant);

/** Validates and runs; fails the test on an error of setting up. result_free() it. */
struct result *sim_run(const struct plan *p, const char *tracker);

/** Runs and demands that everything held; says which seed otherwise. */
struct result *sim_run_held(const struct plan *p, const char *tracker);

/** Sum over nodes ("misses"), or a figure of one ("c0.misses"); -1 when there is none. */
double sim_metric(const struct result *r, const char *name);

/** Text of a metric ("close.heap"); "" when there is none. */
const char *sim_text(const struct result *r, const char *name);

/** How often a check was violated; 0 when it does not exist. */
uint64_t sim_violated(const struct result *r, const char *id);

#endif
