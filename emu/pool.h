/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Many simulated runs on all cores: forked workers, numbers handed out over pipes, one fixed note
 * back per number. A worker that crashes or hangs is a note too, and gets a successor.
 */
#ifndef EMU_POOL_H
#define EMU_POOL_H

#include "emu/plan_steps.h"
#include "emu/result.h"

enum { POOL_JOBS_MAX = 64, POOL_KINDS = PLAN_STEP_KINDS, NOTE_KEY_MAX = 16 };

/** What a worker tells of one run; plain bytes, at most PIPE_BUF. */
struct pool_note {
    enum emu_exit verdict;
    bool crashed, hung; /* filled by the pool */
    bool twice;         /* was done twice */
    uint64_t trace_hash;
    uint32_t asked[POOL_KINDS]; /* by kind of step */
    uint32_t fired[POOL_KINDS];
    uint16_t check_count;
    struct {
        char id[8];
        uint64_t checked, violated;
    } checks[PLAN_CHECKS_MAX];
    char key[NOTE_KEY_MAX]; /* what failed: "W3", "no-progress", "deadline", ...; else empty */
    char why[400];
};

struct pool {
    unsigned jobs;        /* 1 .. POOL_JOBS_MAX */
    uint64_t first, last; /* numbers, both inclusive */
    uint64_t wall_ns;     /* one run may take this long on the wall clock */
    void *arg;
    void (*work)(void *arg, uint64_t i, struct pool_note *ret);    /* in a worker */
    void (*got)(void *arg, uint64_t i, const struct pool_note *n); /* here, in any order */
    bool (*enough)(void *arg);                                     /* NULL: never */
    void (*tick)(void *arg);                                       /* NULL, or some 10 a second */
};

/** Until every number was answered, enough() says so or emu_interrupted is set: then workers are
 * ended at once. No worker is left behind, also not when this process is killed. */
int pool_run(const struct pool *p, struct fl_errmsg *err);

/** Cores this process may use, at most POOL_JOBS_MAX. */
unsigned pool_cores(void);

#endif
