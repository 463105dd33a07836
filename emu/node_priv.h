/* SPDX-License-Identifier: Apache-2.0 */
/** Inside of emu/node*.c. */
#ifndef EMU_NODE_PRIV_H
#define EMU_NODE_PRIV_H

#include "emu/node.h"

enum {
    NODE_TIMERS_MAX = 64,
    NODE_MERGE_MAX = 16, /* operations in one merged span: 64 KiB of whole pages */
    NODE_LATENCY_BUCKETS = 64 * 8,
    NODE_SAMPLE_BUDGET = 512, /* pages looked at in one sampling tick */
};

/* What a DONE answered, in its a: the world's note to the oracle, no core reads it. */
enum { NODE_TOLD_WRITE = 1, NODE_TOLD_FENCE };

struct node_timer {
    uint64_t tag, at_ns;
};

struct gate_wait {
    uint64_t tag;
    uint32_t page, count;
    uint16_t region;
    enum fl_prot prot;
};

/* One one-sided operation of the core: several spans, one answer. */
struct node_op {
    struct fl_rma rma;
    uint32_t spans_left;
    int status;
    bool write;
    uint32_t next_free;
};

/* One span in the fabric; with merging it serves several operations. */
struct node_flight {
    uint16_t op_count;
    uint32_t ops[NODE_MERGE_MAX];
    uint32_t next_free;
};

/* A send or fence that the fabric has not answered: the core's own tag uses all of its 64 bits. */
struct node_call {
    uint64_t tag;
    uint16_t node;
    uint32_t next_free;
};

/* A span that waits for the end of the step, when neighbours are known. */
struct node_span {
    struct tp_rma rma;
    uint32_t flight;
};

/* A log batch in flight: what it carried, for the oracle's acknowledgements. */
struct node_batch {
    uint64_t seq; /* of the message; 0: unused */
    uint64_t tag; /* of the send, while the fabric has not accepted it */
    bool accepted;
    bool doubtful; /* a fence is due: its answer may come, and the core may have given it up */
    uint16_t node, entry_count;
    struct fl_msg_entry entries[FL_MSG_ENTRIES_MAX];
    struct fl_slot slots[FL_MSG_ENTRIES_MAX];
    uint8_t *bytes; /* entry_count pages: the lines as sent */
};

/* A message that waits in the event queue: only a slow device leaves it there. */
struct node_held {
    struct fl_msg m; /* first: the event knows it by this */
    uint8_t payload[];
};

struct node_ref {
    uint16_t region;
    uint32_t page;
};

struct emu_node {
    struct fl_env env; /* first: cores know the node by it */
    struct emu_node_cfg cfg;
    const struct plan_node *pn;
    void *core_mem;
    size_t core_bytes;
    struct wb *wb;
    struct mn *mn;
    struct coh_tracker *trk;
    struct tp_port *port;
    struct oracle *oracle;
    struct fl_rng rng[FL_RNG_STREAMS];

    struct fl_event *events; /* ring, capacity a power of two */
    uint32_t ev_head, ev_count, ev_cap;
    const struct fl_msg *msg; /* being handled */
    const uint8_t *payload;
    bool running;
    uint64_t slow_ns, slow_until_ns, slow_hits; /* a fault: steps come this far apart */
    uint64_t steps;                             /* of the core */

    struct node_timer timers[NODE_TIMERS_MAX];
    unsigned timer_count;
    uint64_t woken_for_ns;
    uint64_t timer_at_ns;   /* when the timer being delivered was due */
    uint64_t queued_due_ns; /* earliest of those that wait in the event queue */
    bool armed;
    uint64_t drained_ns;
    uint64_t period_from_ns[PLAN_REGIONS_MAX]; /* when the running period of a region began */
    bool period_ran[PLAN_REGIONS_MAX];

    struct gate_wait *gates;
    uint32_t gate_count, gate_cap;
    bool gate_retry;

    uint8_t *bufs;
    uint32_t buf_count;
    struct node_op *ops;
    uint32_t op_count, op_free, flight_count;
    struct node_flight *flights;
    uint32_t flight_free, flights_used; /* from there on never taken */
    struct node_span *spans;
    uint32_t span_count, span_cap;
    struct node_batch *batches;
    uint32_t batch_count;
    struct node_call *calls;
    uint32_t call_cap, call_free;

    void *bases[PLAN_REGIONS_MAX];
    uint8_t *pool;
    size_t pool_bytes;
    bool recovered; /* the image held a committed batch that was not unpacked to its end */
    uint64_t chunk_off[MN_CHUNKS_MAX];
    uint32_t chunk_pages[MN_CHUNKS_MAX];

    struct node_ref *sampled; /* pages whose lines the sampling diff looks at */
    uint32_t sampled_count, sampled_cap, sample_next;
    uint8_t *sampled_bits[PLAN_REGIONS_MAX];
    uint64_t sample_ns;

    uint64_t site_counts[FL_SITE_COUNT];
    uint64_t miss_at_ns[COH_THREADS_MAX];
    uint64_t latency[NODE_LATENCY_BUCKETS], latency_count;
    uint64_t page_grain_bytes, landed_bytes;
    bool bytes_checked;
};

static inline uint64_t node_now(const struct emu_node *n)
{
    return n->cfg.loop.now_ns(n->cfg.loop.arg);
}

static inline uint8_t *node_buf(struct emu_node *n, uint32_t buf)
{
    return n->bufs + (size_t)buf * FL_PAGE_BYTES;
}

extern const struct fl_env_ops node_env_ops;

/* node.c */
void node_post(struct emu_node *n, const struct fl_event *ev);
void node_trace(struct emu_node *n, enum fl_trace_kind kind, unsigned code, uint32_t region,
                uint32_t page, uint64_t a, uint64_t b);
void node_drain_notes(struct emu_node *n);
void node_step_msg(struct emu_node *n, uint16_t peer, const struct fl_msg *m,
                   const uint8_t *payload, size_t payload_bytes);

/* node_io.c: what goes through the fabric */
void node_rma_read(struct fl_env *e, const struct fl_rma *op);
void node_rma_write(struct fl_env *e, const struct fl_rma *op);
void node_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag);
void node_fence(struct fl_env *e, uint16_t node, uint64_t tag);
void node_flush_spans(struct emu_node *n);
/** Oracles: the device is told of an error, or asks for a fence. */
void node_batches_doubtful(struct emu_node *n, uint16_t node);
/** Oracles: a fence has succeeded, the answers to what was sent there before cannot come any more.
 * Until then they can, and count. */
void node_batches_fenced(struct emu_node *n, uint16_t node);
uint8_t *node_slot(struct emu_node *n, uint16_t chunk, uint32_t page);
/** Offset of a page of a chunk in what its node exposes. */
uint64_t node_remote_off(const struct plan *p, struct fl_slot slot);

/* node_image.c: a memory node's image that outlives it */
/** Writes the commit record of the batch being handled, or clears it (@commit 0: no entry). False:
 * this node has no such image. */
bool node_image_record(struct emu_node *n, uint64_t commit);
/** Completes the batch that has a record; true when there was one. */
bool node_image_recover(struct emu_node *n);

/* node_time.c: timers, sampling, latencies */
void node_timer_set(struct emu_node *n, uint64_t tag, uint64_t at_ns);
void node_timers_run(struct emu_node *n);
/** Asks the loop for the earliest timer again, after it was asked for another moment. */
void node_timers_arm(struct emu_node *n);
/** How late the timer is that should have been delivered first; 0: none is. */
uint64_t node_overdue_ns(const struct emu_node *n);
void node_sample_add(struct emu_node *n, uint16_t region, uint32_t page);
void node_sample_remove(struct emu_node *n, uint16_t region, uint32_t page);
void node_latency_add(struct emu_node *n, uint64_t ns);
/** Upper end of the bucket that holds the given share of all latencies. */
uint64_t node_latency_quantile(const struct emu_node *n, double q);

#endif
