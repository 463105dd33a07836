/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/plan_fields.h"

#include <string.h>

#include "emu/mech/writeback.h"

const char *const plan_kind_names[] = {"sequential", "random", "zipf", "stamp",
                                       "hammer",     "sqlite", "lua",  NULL};
const char *const plan_role_names[] = {"compute", "memory", NULL};
const char *const plan_when_names[] = {"start", "site", "time", NULL};
const char *const plan_cmp_names[] = {"eq", "ne", "lt", "le", "gt", "ge", NULL};
static const char *const evict_names[] = {"lru", "clock", NULL};
static const char *const path_names[] = {"direct", "log", NULL};

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

#define AT(type, member) (uint16_t) offsetof(type, member), (uint16_t)sizeof(((type *)0)->member)
#define SIZE(k, j, ty, m, ro, pg, d, lo, hi, doc)                                                  \
    {                                                                                              \
        k, j, PLAN_F_SIZE, AT(ty, m), ro, false, pg, d, lo, hi, NULL, doc                          \
    }
#define TIME(k, j, ty, m, nv, d, lo, hi, doc)                                                      \
    {                                                                                              \
        k, j, PLAN_F_TIME, AT(ty, m), PLAN_ROLE_ANY, nv, false, d, lo, hi, NULL, doc               \
    }
#define COUNT(k, j, ty, m, ro, d, lo, hi, doc)                                                     \
    {                                                                                              \
        k, j, PLAN_F_COUNT, AT(ty, m), ro, false, false, d, lo, hi, NULL, doc                      \
    }
#define ENUM(k, j, ty, m, ro, d, names, doc)                                                       \
    {                                                                                              \
        k, j, PLAN_F_ENUM, AT(ty, m), ro, false, false, d, 0,                                      \
            sizeof(names) / sizeof(names[0]) - 2, names, doc                                       \
    }

static const struct plan_field run_fields[] = {
    COUNT("seed", "seed", struct plan, seed, PLAN_ROLE_ANY, "1", 0, INT64_MAX,
          "seed of everything random in the run"),
    TIME("deadline", "run_deadline_ns", struct plan, run_deadline_ns, false, "30s", FL_NS_PER_MS,
         3600 * FL_NS_PER_S, "the run is undecided when it takes longer"),
    TIME("heartbeat", "heartbeat_ns", struct plan, heartbeat_ns, false, "50ms", FL_NS_PER_MS,
         60 * FL_NS_PER_S, "idle peers are probed this often"),
    TIME("heartbeat_miss", "heartbeat_miss_ns", struct plan, heartbeat_miss_ns, false, "500ms",
         FL_NS_PER_MS, 600 * FL_NS_PER_S, "a peer silent for this long counts as down"),
    COUNT("rdma_retry", "rdma_retry", struct plan, rdma_retry, PLAN_ROLE_ANY, "7", 0, 7,
          "how often a device sends again before the connection breaks (verbs)"),
    COUNT("rdma_rnr_retry", "rdma_rnr_retry", struct plan, rdma_rnr_retry, PLAN_ROLE_ANY, "7", 0, 7,
          "the same when the peer has no receive posted; 7: without end (verbs)"),
    TIME("rdma_ack_timeout", "rdma_ack_timeout_ns", struct plan, rdma_ack_timeout_ns, false, "0", 0,
         8 * FL_NS_PER_S, "when a device sends again; 0: the kernel's own, about 2 s (verbs)"),
};

static const struct plan_field node_fields[] = {
    SIZE("memory", "memory_bytes", struct plan_node, memory_bytes, PLAN_ROLE_MEMORY, true, "64M",
         FL_PAGE_BYTES, 256 * GIB, "memory that the node lends"),
    SIZE("device_memory", "device_memory_bytes", struct plan_node, device_memory_bytes,
         PLAN_ROLE_COMPUTE, true, "1M", 4 * FL_PAGE_BYTES, 64 * GIB,
         "the device's memory: how much of all regions is cached; at least 4 pages a thread"),
    COUNT("dclb", "dclb_lines", struct plan_node, dclb_lines, PLAN_ROLE_COMPUTE, "4096", 1,
          UINT64_C(1) << 24, "entries of the dirty cache-line buffer"),
    COUNT("buffers", "buf_pages", struct plan_node, buf_pages, PLAN_ROLE_COMPUTE, "64", 4, 65536,
          "page buffers of the device: reads and snapshots in flight"),
    COUNT("log_batch", "log_batch_pages", struct plan_node, log_batch_pages, PLAN_ROLE_COMPUTE,
          "16", 1, FL_MSG_ENTRIES_MAX, "pages gathered into one message on the log path"),
    SIZE("merge", "merge_bytes", struct plan_node, merge_bytes, PLAN_ROLE_COMPUTE, false, "64K", 0,
         MIB, "neighbouring writes are merged up to this; 0: never"),
    COUNT("retries", "retry_max", struct plan_node, retry_max, PLAN_ROLE_COMPUTE, "3", 0, 1000,
          "fences in a row before a node counts as lost"),
    ENUM("evict", "evict", struct plan_node, evict, PLAN_ROLE_COMPUTE, "lru", evict_names,
         "which page leaves full device memory"),
};

static const struct plan_field link_fields[] = {
    TIME("delay", "delay_ns", struct plan_link, delay_ns, false, "5us", 0, 60 * FL_NS_PER_S,
         "one-way delay (simulator)"),
    {"rate", "rate_bps", PLAN_F_RATE, AT(struct plan_link, rate_bps), PLAN_ROLE_ANY, false, false,
     "10G", 1000, UINT64_C(10) * 1000 * 1000 * 1000 * 1000, NULL,
     "bandwidth in bits per second (simulator)"},
};

static const struct plan_field region_fields[] = {
    SIZE("size", "size_bytes", struct plan_region, size_bytes, PLAN_ROLE_ANY, true, NULL,
         FL_PAGE_BYTES, 256 * GIB, "address space of the region"),
    TIME("period", "period_ns", struct plan_region, period_ns, true, "10ms", 10 * FL_NS_PER_US,
         3600 * FL_NS_PER_S, "time between periodic write-backs"),
    TIME("sample", "sample_ns", struct plan_region, sample_ns, true, "2ms", 10 * FL_NS_PER_US,
         3600 * FL_NS_PER_S, "time between sampling diffs that feed the DCLB (mprotect)"),
    TIME("op_deadline", "op_deadline_ns", struct plan_region, op_deadline_ns, false, "500ms",
         10 * FL_NS_PER_US, 60 * FL_NS_PER_S, "longest time for one operation on the fabric"),
    TIME("close_deadline", "close_deadline_ns", struct plan_region, close_deadline_ns, false, "5s",
         10 * FL_NS_PER_US, 600 * FL_NS_PER_S, "longest time for closing the region"),
    COUNT("threshold", "threshold_lines", struct plan_region, threshold_lines, PLAN_ROLE_ANY, "16",
          0, FL_PAGE_LINES, "T: with more dirty lines than this the whole page counts as dirty"),
    ENUM("path", "path", struct plan_region, path, PLAN_ROLE_ANY, "direct", path_names,
         "write-back by one-sided writes, or by log batches that the memory node unpacks"),
};

static const struct plan_field workload_fields[] = {
    ENUM("kind", "kind", struct plan_workload, kind, PLAN_ROLE_ANY, NULL, plan_kind_names,
         "what the program does"),
    COUNT("threads", "threads", struct plan_workload, threads, PLAN_ROLE_ANY, "1", 1,
          WB_THREADS_MAX, "application threads"),
    COUNT("ops", "ops", struct plan_workload, ops, PLAN_ROLE_ANY, "1000", 1,
          UINT64_C(1000) * 1000 * 1000 * 1000,
          "accesses over all threads; rows (sqlite), rounds (lua)"),
    COUNT("write_percent", "write_percent", struct plan_workload, write_percent, PLAN_ROLE_ANY,
          "50", 0, 100, "how many of a hundred accesses are stores"),
    COUNT("len", "len_bytes", struct plan_workload, len_bytes, PLAN_ROLE_ANY, "64", 1,
          FL_PAGE_BYTES, "bytes of one access; may cross lines and pages"),
    SIZE("span", "span_bytes", struct plan_workload, span_bytes, PLAN_ROLE_ANY, false, "0", 0,
         256 * GIB, "how much of the region is touched, from its start; 0: all of it"),
    {"theta", "zipf_theta", PLAN_F_REAL, AT(struct plan_workload, zipf_theta), PLAN_ROLE_ANY, false,
     false, "0.99", 0, 1, NULL, "skew of kind zipf, between 0 and 1"},
    TIME("think", "think_ns", struct plan_workload, think_ns, false, "100ns", 0, FL_NS_PER_S,
         "virtual time between accesses (simulator)"),
    {"source", "source", PLAN_F_TEXT, AT(struct plan_workload, source), PLAN_ROLE_ANY, false, false,
     "", 0, 255, NULL, "sqlite: text file to load; lua: program in scenarios/workloads"},
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
    const char *name;
    const struct plan_field *fields;
    size_t count;
} objs[] = {
    [PLAN_OBJ_RUN] = {"run", run_fields, COUNT_OF(run_fields)},
    [PLAN_OBJ_NODE] = {"node", node_fields, COUNT_OF(node_fields)},
    [PLAN_OBJ_LINK] = {"link", link_fields, COUNT_OF(link_fields)},
    [PLAN_OBJ_REGION] = {"region", region_fields, COUNT_OF(region_fields)},
    [PLAN_OBJ_WORKLOAD] = {"workload", workload_fields, COUNT_OF(workload_fields)},
};

const struct plan_field *plan_fields(enum plan_obj obj, size_t *ret_count)
{
    *ret_count = objs[obj].count;
    return objs[obj].fields;
}

const char *plan_obj_name(enum plan_obj obj)
{
    return objs[obj].name;
}

const struct plan_field *plan_field_find(enum plan_obj obj, const char *key)
{
    for (size_t i = 0; i < objs[obj].count; i++)
        if (strcmp(objs[obj].fields[i].key, key) == 0)
            return &objs[obj].fields[i];
    return NULL;
}
