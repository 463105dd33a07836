/* SPDX-License-Identifier: Apache-2.0 */
/** Runs in which bugs show that a plain run does not show. @plant, @blind: NULL for none. */
#ifndef SIM_SPECIAL_H
#define SIM_SPECIAL_H

#include "tests/sim/plans.h"

/** A memory node is told write-backs 1 and 2 of a page, then 2 and 1 again; its checks. */
struct result *sim_old_numbers(uint64_t seed, const char *plant, const char *blind);

/** The scenario of several thresholds T, run by the command inside runs_dir; the checks of its
 * verdict.json. Demands exit status 1 with a plant, 0 without. */
struct result *sim_thresholds(uint64_t seed, const char *plant, const char *blind);

#endif
