/* SPDX-License-Identifier: Apache-2.0 */
/** What a run found: filled by the worlds, judged and written out by emu/verdict and emu/outputs. */
#ifndef EMU_RESULT_H
#define EMU_RESULT_H

#include <signal.h>

#include "emu/plan.h"

/** Set by SIGINT and SIGTERM while a scenario runs: end soon, leave nothing behind. A world may
 * handle these signals itself while it runs and answer FL_ECANCELED. */
extern volatile sig_atomic_t emu_interrupted;

/** Exit statuses of the command, which are verdicts too. */
enum emu_exit {
    EMU_HELD = 0,
    EMU_VIOLATED = 1,
    EMU_UNDECIDED = 2,
    EMU_NO_PROGRESS = 3,
    EMU_USAGE = 64,
    EMU_SKIPPED = 77,
};

enum { RESULT_METRICS_MAX = 64 * PLAN_NODES_MAX, RESULT_FIRST_MAX = 512 };

struct result_metric {
    char name[64]; /* "c0.pages_fetched"; unit last: "c0.miss_ns_p50" */
    double value;
    char text[32]; /* when the metric is a word ("FL_EPEERDEAD"); else empty */
    bool summed;   /* result_sum_metrics has begun with it */
};

/** What is known of a first violation beside its text; empty texts: nothing, or no such thing. */
struct result_first {
    char expected[80], seen[80];
    char writer[224];   /* who stored last in the lines in question */
    uint64_t writer_ns; /* when; both after the start of the workloads, 0: not known */
    uint64_t t_ns;
};

struct result_check {
    char id[8];
    uint64_t checked; /* bytes or states that were really compared */
    uint64_t violated;
    char unit[16];                /* "bytes", "states", "pages" */
    char first[RESULT_FIRST_MAX]; /* first violation: expected, seen, where, when */
    struct result_first what;
};

struct result_fault {
    char kind[96]; /* "kill m0" */
    char at[64];   /* "c0.page_fetched#12" */
    uint64_t asked, fired;
    uint64_t t_ns;
};

struct result_node {
    char name[PLAN_NAME_MAX];
    char role[16];
    int pid; /* 0 in sim */
    int exit_code, signal;
    char why[RESULT_FIRST_MAX]; /* crash or failure with the node's last log lines */
};

struct result {
    char fabric[16], tracker[16];
    uint64_t trace_hash;   /* 0 in real runs */
    uint64_t image_digest; /* XXH64 over all chunks of all memory nodes */
    uint64_t duration_ns;
    bool timed_out, no_progress, skipped, node_failed;
    char why[RESULT_FIRST_MAX]; /* of the flags above */
    size_t metric_count, check_count, fault_count, node_count;
    struct result_metric *metrics; /* RESULT_METRICS_MAX */
    void *by_name;                 /* of them: a tree of search.h */
    struct result_check checks[PLAN_CHECKS_MAX];
    struct result_fault faults[PLAN_STEPS_MAX];
    struct result_node *nodes; /* PLAN_NODES_MAX */
};

struct result *result_new(void);
void result_free(struct result **r);

/** After the metrics were moved, or copied from another process: their names are found again. */
void result_metrics_moved(struct result *r);

/** Sets or adds; silently keeps the first RESULT_METRICS_MAX. */
void result_metric(struct result *r, const char *name, double value);
void result_metric_text(struct result *r, const char *name, const char *text);

/** Sums over nodes are added under the bare name ("misses" = sum of "*.misses"). */
void result_sum_metrics(struct result *r);

/** Enters every step of the plan as a fault that is asked for once and has not fired. */
void result_ask_faults(const struct plan *p, struct result *r);

/** The check's record, created when new; NULL when the table is full. */
struct result_check *result_check(struct result *r, const char *id, const char *unit);

/** The last fault that fired before @t_ns; NULL: none did, or the time is not known. */
const struct result_fault *result_fault_before(const struct result *r, uint64_t t_ns);

/** Times of a check were counted from another zero: @zero_ns is the start of the workloads. */
void result_first_rebase(struct result_first *f, uint64_t zero_ns);

/** Verdict by the contract: 1 before 3 before 2; a requested check that compared nothing, or a
 * fault that never fired, is undecided. @why: one line for people. */
enum emu_exit result_judge(const struct plan *p, const struct result *r, struct fl_errmsg *why);

enum expect_state { EXPECT_HOLDS, EXPECT_FAILS, EXPECT_UNKNOWN };

/** State of expectation @i; @why: one line that names figure, expected and seen value.
 * EXPECT_UNKNOWN: the run has no such figure. */
enum expect_state result_expect(const struct plan *p, int i, const struct result *r,
                                struct fl_errmsg *why);

/** Order of severity of exit statuses: the worse of two (1, 3, 2, 64, 77, 0). */
enum emu_exit emu_exit_worse(enum emu_exit a, enum emu_exit b);

struct run_opts {
    const char *fabric;  /* "tcp", "sockets", "verbs", "sim" */
    const char *tracker; /* "mprotect", "actor" */
    const char *wait;    /* "adaptive", "block", "spin" */
    const char *bind;    /* local address of the nodes' fabric, NULL for loopback */
    const char *listen;  /* ADDR[:PORT] of the control port; NULL: loopback, any port */
    /* Nodes that somebody else starts: "all" or NAME[=CONTAINER],...; NULL: none. They need
     * @token_file, the run's key, made by the run when there is no such file. */
    const char *external, *token_file;
    uint64_t join_ms; /* deadline for nodes to join; 0: COORD_JOIN_MS */
    /* What pauses and cuts external nodes: "podman" or "docker", and the network that a cut takes a
     * container from; NULL: such steps are refused. */
    const char *driver, *driver_network;
    const char *out_dir; /* exists and is writable */
    bool quiet;
    uint64_t *site_counts; /* sim: passings, [node * FL_SITE_COUNT + site]; NULL: not counted */
};

/** Run one plan (one variant). Fill @ret; FL_OK also when something was violated. Errors are those
 * of setting up: FL_EINVAL and the like, message in @err. */
int emu_run_real(const struct plan *p, const struct run_opts *o, struct result *ret,
                 struct fl_errmsg *err);
int emu_run_sim(const struct plan *p, const struct run_opts *o, struct result *ret,
                struct fl_errmsg *err);

#endif
