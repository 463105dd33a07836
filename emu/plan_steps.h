/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Kinds of steps: the actions of enum plan_action and, in the place of PLAN_FAULT, every fault of
 * transport/filter.h. Scenarios, plan files, tables and results name them by this one table.
 */
#ifndef EMU_PLAN_STEPS_H
#define EMU_PLAN_STEPS_H

#include <stddef.h>

#include "emu/plan.h"
#include "transport/filter.h"

/** Numbers of kinds; PLAN_FAULT + TP_FAULT_CUT is none, a cut is PLAN_CUT. */
enum { PLAN_STEP_KINDS = PLAN_FAULT + TP_FAULT_COUNT };

/** What a step of a kind can say, and what it must. */
enum plan_option {
    PLAN_OPT_FOR = 1 << 0,     /* for_: undone after this */
    PLAN_OPT_BY = 1 << 1,      /* by: a time */
    PLAN_OPT_BPS = 1 << 2,     /* bps: a rate */
    PLAN_OPT_CLASS = 1 << 3,   /* class of traffic */
    PLAN_OPT_EVERY = 1 << 4,   /* every n-th */
    PLAN_OPT_COUNT = 1 << 5,   /* so often at most */
    PLAN_OPT_ONE_WAY = 1 << 6, /* of a link: from the first node to the second only */
    PLAN_OPT_AFTER = 1 << 7,   /* so long after the step's moment */
    PLAN_OPT_IMAGE = 1 << 8,   /* "kept" or "blank" */
};

struct plan_step_info {
    const char *name;
    bool pair;        /* on a link: two nodes */
    bool both;        /* on a link: both ways unless one_way = true */
    unsigned options; /* enum plan_option */
    unsigned needs;   /* those of them that have no default */
    const char *doc;
};

/** Description of a kind; NULL for a number that is none. */
const struct plan_step_info *plan_step_info(unsigned kind);

/** Kind of that name; PLAN_STEP_KINDS when there is none. */
unsigned plan_step_find(const char *name);

/** Kind of a step; PLAN_STEP_KINDS when its numbers are none. */
unsigned plan_step_kind(const struct plan_step *s);

/** Makes @s one of that kind: action and fault; the rest stays. */
void plan_step_set_kind(struct plan_step *s, unsigned kind);

/** "kill m0", "cut c0,m0" */
void plan_step_text(const struct plan *p, const struct plan_step *s, char *ret, size_t size);

/** "c0.page_fetched#12", "5000000 ns", "start" */
void plan_step_when_text(const struct plan *p, const struct plan_step *s, char *ret, size_t size);

/** Moments that the scenario left to the seed get their value and are fixed from then on: what is
 * run, recorded and repeated is the same. Steps of one at (...) happen at one moment. */
void plan_steps_draw(struct plan *p);

/** The filter that a step on a link is, cuts included. */
void plan_step_fault(const struct plan_step *s, struct tp_fault *ret);

/** True when the step counts what it really hits; of the others it is enough that they were done
 * (a cut or clog holds back heartbeats at once). */
bool plan_step_counts_hits(const struct plan_step *s);

/** True for a registration that is to fail: it concerns a node that is not there yet. */
bool plan_step_before_life(const struct plan_step *s);

/** True when the step is done by filters in the stacks of both ends of its link. */
bool plan_step_filters(const struct plan_step *s);

#endif
