/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The plan: what a scenario file evaluates to. Plain data; prints as canonical JSON, travels to
 * nodes, replays and shrinks. Everything is validated before the first process starts.
 */
#ifndef EMU_PLAN_H
#define EMU_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "emu/base/env.h"
#include "emu/base/plants.h"

enum {
    PLAN_VERSION = 1,
    PLAN_NAME_MAX = 32,
    PLAN_NODES_MAX = 1024,
    PLAN_LINKS_MAX = 1024,
    PLAN_REGIONS_MAX = 16,
    PLAN_CHUNKS_MAX = 16,
    PLAN_WORKLOADS_MAX = 16,
    PLAN_STEPS_MAX = 64,
    PLAN_EXPECTS_MAX = 64,
    PLAN_CHECKS_MAX = 64,
    PLAN_VARIANTS_MAX = 32,
};

enum plan_role { PLAN_COMPUTE, PLAN_MEMORY };

struct plan_node {
    char name[PLAN_NAME_MAX];
    enum plan_role role;
    uint64_t memory_bytes;        /* memory node: size of its pool */
    uint64_t device_memory_bytes; /* compute node: FMem */
    uint32_t dclb_lines;
    uint32_t buf_pages; /* page buffers of the device (reads and snapshots in flight) */
    uint32_t log_batch_pages;
    uint32_t merge_bytes; /* neighbouring writes are merged up to this; 0: never */
    uint16_t retry_max;
    uint8_t evict; /* enum wb_evict */
    int line;      /* in the scenario file, for messages */
};

struct plan_link {
    uint16_t a, b;
    uint64_t delay_ns, rate_bps;
    int line;
};

struct plan_chunk {
    uint16_t node, chunk;
    uint32_t page_count;
};

struct plan_region {
    char name[PLAN_NAME_MAX];
    uint16_t on; /* compute node */
    uint64_t size_bytes;
    uint16_t chunk_count;
    struct plan_chunk chunks[PLAN_CHUNKS_MAX];
    uint64_t period_ns, sample_ns, op_deadline_ns, close_deadline_ns;
    uint32_t threshold_lines;
    uint8_t path; /* enum wb_path */
    int line;
};

enum plan_work_kind {
    PLAN_SEQUENTIAL,
    PLAN_RANDOM,
    PLAN_ZIPF,
    PLAN_STAMP,
    PLAN_HAMMER,
    PLAN_SQLITE,
    PLAN_LUA
};

struct plan_workload {
    char name[PLAN_NAME_MAX];
    uint16_t region;
    enum plan_work_kind kind;
    uint32_t threads;
    uint64_t ops;           /* accesses over all threads; rows for sqlite, rounds for lua */
    uint32_t write_percent; /* 0..100 */
    uint32_t len_bytes;     /* length of one access, 1..4096; may cross lines and pages */
    uint64_t span_bytes;    /* part of the region that is touched, from its start; 0: all */
    double zipf_theta;      /* 0 < theta < 1 */
    uint64_t think_ns;      /* virtual time between accesses, sim only */
    char source[256];       /* sqlite: text file to load; lua: program below scenarios/workloads */
    int line;
};

/** When a step happens. */
enum plan_when { PLAN_AT_START, PLAN_AT_SITE, PLAN_AT_TIME };
enum plan_action {
    PLAN_KILL,
    PLAN_PAUSE,
    PLAN_RESUME,
    PLAN_CUT, /* both ways are two steps */
    PLAN_HEAL,
    PLAN_RESTART,    /* a killed node comes back @by_ns after the step, incarnation higher */
    PLAN_SLOW,       /* each step of the node's device takes @by_ns longer */
    PLAN_SLOTS_FULL, /* the device has no page buffer left */
    PLAN_FAULT,      /* @fault, a filter on the link target -> target2 */
};

struct plan_step {
    enum plan_when when;
    uint16_t node;  /* AT_SITE: whose site */
    uint16_t site;  /* enum fl_site */
    uint64_t nth;   /* AT_SITE: the n-th passing, from 1 */
    uint64_t at_ns; /* AT_TIME: after the workloads start */
    uint16_t draw;  /* nth or at_ns is drawn between itself and @to, in this stream; 0: it is not */
    uint64_t to;
    enum plan_action action;
    uint16_t target, target2; /* node; cut, heal: from, to */
    uint64_t for_ns;          /* undone after this; FL_NEVER: not */
    uint8_t fault;            /* enum tp_fault_kind; these are as in struct tp_fault */
    uint8_t classes;
    uint32_t every;
    uint64_t count, by_ns, rate_bps;
    bool blank; /* restart: without its image */
    int line;
};

enum plan_cmp { PLAN_EQ, PLAN_NE, PLAN_LT, PLAN_LE, PLAN_GT, PLAN_GE };

/** Expectation on a metric ("evictions", "c0.misses", "close.heap") of the run. */
struct plan_expect {
    char metric[64];
    enum plan_cmp cmp;
    double value;
    char text[32]; /* expected text (an error name); then value is unused */
    int line;
};

/** One of several runs of the same scenario with some settings changed; images must be equal when
 * the scenario says so. */
struct plan_variant {
    char name[PLAN_NAME_MAX];
    char set[8][96]; /* "region.heap.threshold=63": at most 8, empty from the first unused */
};

struct plan {
    int version;
    char title[128];
    char file[256];
    uint64_t seed;
    uint64_t run_deadline_ns;
    uint64_t heartbeat_ns, heartbeat_miss_ns;
    uint64_t rdma_ack_timeout_ns; /* verbs; see struct tp_rdma */
    uint16_t rdma_retry, rdma_rnr_retry;
    uint16_t node_count, link_count, region_count, workload_count, step_count, expect_count,
        check_count, variant_count;
    bool same_image; /* all variants must leave equal images: W9 */
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_link links[PLAN_LINKS_MAX];
    struct plan_region regions[PLAN_REGIONS_MAX];
    struct plan_workload workloads[PLAN_WORKLOADS_MAX];
    struct plan_step steps[PLAN_STEPS_MAX];
    struct plan_expect expects[PLAN_EXPECTS_MAX];
    char checks[PLAN_CHECKS_MAX][8]; /* ids, "W3" */
    struct plan_variant variants[PLAN_VARIANTS_MAX];
    struct fl_plants plants;
};

/** Canonical JSON text (keys sorted, units explicit); free() it. NULL: out of memory. */
char *plan_to_json(const struct plan *p);

/** Reads what plan_to_json wrote. FL_EINVAL: the message names the field. */
int plan_from_json(const char *text, struct plan *ret, struct fl_errmsg *err);

/** Checks everything that can be known before a start; "file:line: cause; remedy" in @err. */
int plan_validate(const struct plan *p, struct fl_errmsg *err);

/** Evaluates a scenario file in a child process under limits of CPU, memory and time, with
 * "k=v" overrides; the result is validated. FL_EINVAL: scenario error (exit 64), FL_ETIMEDOUT:
 * limit reached (exit 64 as well). */
int plan_load(const char *file, const char *const *sets, int set_count, struct plan *ret,
              struct fl_errmsg *err);

/** Plan of variant @v: @p with its settings applied. */
int plan_variant_apply(const struct plan *p, int v, struct plan *ret, struct fl_errmsg *err);

/** Index of the node, region of that name; -1 when there is none. */
int plan_node_find(const struct plan *p, const char *name);
int plan_region_find(const struct plan *p, const char *name);

#endif
