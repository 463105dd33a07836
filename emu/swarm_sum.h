/* SPDX-License-Identifier: Apache-2.0 */
/** What many runs found together: counted run by run, judged at the end, told in four forms. */
#ifndef EMU_SWARM_SUM_H
#define EMU_SWARM_SUM_H

#include <limits.h>
#include <stdio.h>

#include "emu/pool.h"

enum { SWARM_FAILS_MAX = 64, SWARM_ASKED_ENOUGH = 20 };

struct swarm_failure {
    uint64_t seed;
    enum emu_exit verdict;
    char key[NOTE_KEY_MAX];
    char why[400];
    char shrunk[256];
    bool written; /* to DIR/seed-N */
};

struct swarm_sum {
    const struct plan *base;
    char dir[PATH_MAX]; /* of what is kept */
    uint64_t first, last;
    unsigned jobs;
    uint64_t done, twice, run_ns;
    uint64_t by_verdict[EMU_SKIPPED + 1];
    struct {
        uint64_t asked, fired, survived, violated;
    } kinds[POOL_KINDS]; /* survived, violated: runs in which it fired */
    struct {
        char id[8];
        uint64_t checked, violated;
    } checks[PLAN_CHECKS_MAX];
    uint16_t check_count;
    struct swarm_failure fails[SWARM_FAILS_MAX]; /* the lowest seeds, in order */
    size_t fail_count;
    enum emu_exit worst;
    char why[400];
};

/** Counts one run. */
void swarm_sum_add(struct swarm_sum *s, uint64_t seed, const struct pool_note *n);

/** The verdict over all runs. A kind of fault that was asked for often and never fired, and a check
 * that compared nothing in any run, decide nothing; nor does a swarm that was interrupted. */
void swarm_sum_judge(struct swarm_sum *s, bool interrupted);

/** Prints the report for people. */
void swarm_sum_print(FILE *f, const struct swarm_sum *s);

/** swarm.json, report.html as texts; free() them. NULL: out of memory. @flags: jansson's. */
char *swarm_sum_json(const struct swarm_sum *s, size_t flags);
char *swarm_sum_html(const struct swarm_sum *s);

#endif
