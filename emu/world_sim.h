/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of the simulated world (emu_run_sim is the way in): all nodes in one process over virtual
 * time, one trace, everything drawn from one seed. Nodes are emu/node.c as in the real world;
 * application threads are actors whose accesses go through coherence/tracker_actor.c.
 */
#ifndef EMU_WORLD_SIM_H
#define EMU_WORLD_SIM_H

#include "coherence/tracker_actor.h"
#include "emu/base/evq.h"
#include "emu/node.h"
#include "emu/outputs.h"
#include "emu/result.h"
#include "emu/workload.h"
#include "transport/filter.h"

enum {
    WS_ACCESS_MAX = 4096,
    WS_EVENTS_STILL_MAX = 20 * 1000 * 1000, /* events at one instant: time stands still */
};

/* Source: assumed, shorter than a coherent device's, so that orders are explored, not latencies. */
#define WS_DEVICE_NS 400                /* a device looks at new work within this */
#define WS_STEP_NS 60                   /* between two sub-steps of an access */
#define WS_WALL_NS (120 * FL_NS_PER_S)  /* of a run in a process of its own; seconds as a rule */
#define WS_SETTLE_NS (20 * FL_NS_PER_S) /* after the work: everything quiet within this */

struct ws;

struct ws_chunk {
    uint64_t off; /* in the node's pool */
    uint32_t pages;
};

struct ws_node {
    struct ws *w;
    uint16_t idx;
    struct emu_node *node;
    struct coh_tracker *trk; /* compute; owned by the node */
    struct tp_port *port;    /* owned by the node */
    struct tp_addr addr;
    struct tp_filters *filters; /* under @port's name; NULL: the plan needs none */
    uint64_t filter_timer;      /* in the event queue, 0: none */
    bool filters_stale;
    bool blank; /* came back without its image */
    uint64_t lost_lines;
    uint64_t incarnation;
    bool *need;   /* compute nodes: peers it works with */
    void *record; /* compute nodes: what the oracles keep beyond a crash */
    size_t record_bytes;
    uint8_t *kept;  /* the image as it was when the node died */
    uint8_t *image; /* memory nodes that come back with it; outlives the node */
    struct fl_rng sched;
    uint64_t timer;           /* in the event queue, 0: none */
    bool soon;                /* a run is scheduled */
    bool dead, paused, stale; /* stale: something fell due during the pause */
    uint32_t peers_need, peers_up;
    uint32_t first_thread, threads, threads_left, opening, closing;
    bool running, done;
    uint64_t access_deadline_ns, closing_ns;
    struct ws_chunk chunks[MN_CHUNKS_MAX];
    uint64_t accesses, access_errors;
};

struct ws_coro; /* world_sim_coro.c */

struct ws_thread {
    struct ws_node *n;
    struct ws_coro *coro; /* NULL: an actor, stepped */
    uint16_t workload;
    uint32_t ticket, index; /* of the node, of the workload */
    struct work_gen gen;
    struct work_op op;
    struct fl_rng sched;
    uint8_t *shadow; /* of the region, NULL without oracles */
    bool busy, blocked, over, stale;
    bool watched; /* a deadline event is scheduled */
    uint64_t blocked_ns;
    int status;
    uint8_t buf[WS_ACCESS_MAX]; /* what is stored, or was loaded */
    uint8_t old[WS_ACCESS_MAX]; /* shadow before a store, should it fail */
};

struct ws_region {
    bool open_asked, close_asked;
    int open_status, close_status, access_status;
    uint64_t close_ns;
};

struct ws {
    const struct plan *p;
    struct result *r;
    enum coh_sight sight;
    bool coros;               /* threads are coroutines that trap */
    struct ws_thread *inside; /* the coroutine that runs */
    struct fl_evq *q;
    struct tp_simnet *net;
    struct fl_trace *trace;
    struct history *history;
    struct ws_node *nodes;
    struct ws_thread *threads;
    uint32_t thread_count;
    struct ws_region regions[PLAN_REGIONS_MAX];
    bool fired[PLAN_STEPS_MAX], started, running;
    bool in_force[PLAN_STEPS_MAX]; /* done, and not yet undone */
    uint64_t hits[PLAN_STEPS_MAX]; /* of a fault, by stacks that are gone */
    bool with_filters;
    uint64_t t0_ns;
    uint64_t *site_counts; /* run_opts's */
    char trouble[RESULT_FIRST_MAX];
};

static inline uint64_t ws_now(const struct ws *w)
{
    return fl_evq_now_ns(w->q);
}

/** First failure of an access, open or close, for runs without faults. */
void ws_trouble(struct ws *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Runs the node's device soon. */
void ws_wake(struct ws_node *n);

/* world_sim_actor.c */
void ws_threads_start(struct ws_node *n);
void ws_threads_resumed(struct ws_node *n);      /* after a pause */
void ws_thread_wake(void *arg, uint32_t ticket); /* coh_actor_cfg.wake; @arg: struct ws_node */
void ws_thread_over(struct ws_thread *t);        /* its work is done or has failed */

/* world_sim_coro.c: threads that really load and store. In a process of their own. */
bool ws_has_programs(const struct plan *p);
/** FL_EUNSUPPORTED: these programs cannot run here, or not together. */
int ws_coro_check(const struct plan *p, struct fl_errmsg *err);
/** Signals and coroutines, before the trackers. */
int ws_coro_init(struct ws *w, struct fl_errmsg *err);
int ws_coro_tracker(struct ws_node *n, const struct coh_cfg *base, struct fl_errmsg *err);
void ws_coro_start(struct ws_thread *t);
void ws_coro_resumed(struct ws_thread *t);
void ws_coro_free(struct ws_thread *t);
void ws_coro_report(struct ws *w);

/* world_sim_child.c */
typedef int ws_run_fn(const struct plan *p, const struct run_opts *o, struct result *ret,
                      struct fl_errmsg *err);
/** Runs @run in a child and brings its answer. One that crashes, or does not come back within
 * @wall_ns, is a result, too: node_failed, timed_out. */
int ws_in_child(ws_run_fn *run, const struct plan *p, const struct run_opts *o, uint64_t wall_ns,
                struct result *ret, struct fl_errmsg *err);

/* world_sim_steps.c */
/** A node's stack of filters is new: what is in force on its links is armed there. */
void ws_filters_made(struct ws_node *n);
/** It will be gone: its counts are kept. */
void ws_filters_over(struct ws_node *n);
/** Enters into the result how often each fault hit. */
void ws_steps_count(struct ws *w);
/** A fault is in force that nothing has healed: what hangs may hang because of it. */
bool ws_in_force(const struct ws *w);
void ws_steps_when(struct ws *w, enum plan_when when);
void ws_site(void *arg, struct emu_node *node, enum fl_site site, uint64_t nth);

/* world_sim_final.c */
void ws_final(struct ws *w);

/* world_sim.c */
void ws_close_regions(struct ws_node *n);
void ws_resumed(struct ws_node *n);
/** A killed memory node comes back. */
/** A node dies now; called inside its own site, the step it is in goes on, but changes nothing. */
void ws_kill(struct ws_node *n);
void ws_restart(struct ws_node *n, bool blank);
/** Node of an emu_node callback. */
struct ws_node *ws_node_of(struct ws *w, struct emu_node *node);

#endif
