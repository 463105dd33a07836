/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Exhaustive exploration of small configurations: the same core objects as in real runs, stepped
 * through every order of thread steps, deliveries, timers and faults, each fault within a budget
 * that is printed. Every state is checked.
 */
#ifndef EMU_EXPLORE_H
#define EMU_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "emu/base/err.h"
#include "emu/base/plants.h"
#include "emu/mech/writeback_rows.h"

struct explore_result {
    uint64_t states, transitions; /* over all configurations */
    uint32_t configs, complete;   /* how many, and how many were explored to the end */
    uint64_t rows[WB_ROW_COUNT];  /* how often each row of the state table was taken */
    uint32_t rows_missing;        /* rows that were never taken */
    bool violated;
    char check[8];      /* "W3"; "W-end" when nothing can happen but somebody waits */
    char what[256];     /* first violation, then its path on @out */
    const char *config; /* that was explored last: where the violation is */
};

/** Explores all configurations of a mechanism ("writeback"), and stops at the first violation.
 * Prints what it does on @out unless NULL. FL_EINVAL: no such mechanism; FL_ENOMEM. */
int emu_explore(const char *mechanism, const struct fl_plants *plants, FILE *out,
                struct explore_result *ret);

/** Only the small configurations, which still take every row of the state table. For tests. */
int emu_explore_quick(const char *mechanism, const struct fl_plants *plants, FILE *out,
                      struct explore_result *ret);

/** Only the configuration of that name. FL_EINVAL: there is none. */
int emu_explore_config(const char *name, const struct fl_plants *plants, FILE *out,
                       struct explore_result *ret);

/** Why a planted bug cannot show in any of the configurations; NULL when it can, and is found. */
const char *emu_explore_hides(enum fl_plant x);

/** One seeded walk of at most @steps through a larger configuration of the same world, then heal,
 * close and compare. For property tests. As emu_explore otherwise. */
int emu_explore_walk(uint64_t seed, uint32_t steps, const struct fl_plants *plants, FILE *out,
                     struct explore_result *ret);

#endif
