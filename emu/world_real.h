/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A node process, its parts among themselves: the loop (world_real.c), what the coordinator asks
 * (world_real_ctl.c), application threads (world_real_work.c). Everything but the threads' own
 * functions runs on the main thread, which is the device thread.
 */
#ifndef EMU_WORLD_REAL_H
#define EMU_WORLD_REAL_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "emu/ctl.h"
#include "emu/native.h"
#include "emu/node.h"
#include "emu/outputs.h"
#include "emu/result.h"
#include "emu/work_run.h"
#include "transport/filter.h"

enum {
    RW_CONNECT_MS = 10000, /* to reach the coordinator, unless --join-deadline says */
    RW_RETRY_MS = 100,     /* between two attempts */
    RW_SITE_MS = 10000,
    RW_LIFE_S = 180, /* beyond the run's deadline: joining, final compare, leaving */
};

struct rw;

/** One application thread. */
struct rw_thread {
    struct rw *w;
    pthread_t id;
    uint16_t workload;
    uint32_t index; /* within the workload */
    atomic_bool done;
    bool parked; /* a native program lost its heap: the thread never ends */
    int status;  /* FL_OK, or why it ended early */
    struct fl_errmsg cause;
    uint64_t errors;
    struct native_result native;
    struct work_run run;
};

/** A step of the plan as far as this node has part in it. */
struct rw_fault {
    bool spent;  /* fired in an earlier life of this node */
    bool early;  /* to be armed before the node registers memory */
    bool driver; /* done to a container from outside */
    bool armed, ever;
    uint64_t from, hits, told; /* device's count at the beginning, at the end; told so far */
};

/** A peer that was restarted. */
struct rw_back {
    bool wanted; /* to be connected as soon as the old connection is gone */
    struct tp_addr addr;
};

struct rw {
    struct event_base *base;
    struct ctl_conn *conn;
    uint8_t key[CTL_KEY_BYTES];
    char name[CTL_NAME_MAX];
    struct plan *plan;
    uint16_t self;
    int wait; /* enum coh_wait */
    char fabric[16];
    bool external; /* no process of the coordinator's */
    struct event *life_ev;
    char bind[64]; /* local address of the fabric; empty: loopback */

    struct emu_node *node;
    struct tp_port *port;
    struct coh_tracker *trk;
    struct history *history; /* NULL: not kept */
    struct fl_trace *trace;
    uint64_t epoch_ns; /* times of this run count from here */
    bool soon;         /* emu_node_run is due */
    struct event *timer_ev, *trk_ev, *threads_ev;
    int timer_fd, threads_fd;

    uint8_t *peer_need, *peer_up;
    bool connecting, connected;

    struct tp_filters *filters; /* between node and port; NULL: the plan needs none */
    struct event *filter_ev, *reconnect_ev;
    struct rw_fault faults[PLAN_STEPS_MAX];
    bool any_fault;
    uint64_t incarnation;
    uint8_t *image; /* memory nodes: outlives this process; NULL: not kept */
    void *record;   /* compute nodes: the same for what the oracles know */
    struct rw_back *back;

    struct rw_thread *threads;
    unsigned thread_count;
    bool threads_over;
    uint32_t opening, closing; /* requests that are out */
    uint64_t closing_ns;
    int open_status[PLAN_REGIONS_MAX], close_status[PLAN_REGIONS_MAX];
    uint64_t close_ns[PLAN_REGIONS_MAX];
    bool open_asked[PLAN_REGIONS_MAX], close_asked[PLAN_REGIONS_MAX];
    struct fl_errmsg trouble; /* first thing that should not happen without a fault */

    bool quit;
};

/* world_real.c */
/** Builds node, tracker and port for the plan that has arrived, and listens. */
int rw_make(struct rw *w, struct tp_addr *ret_addr, struct fl_errmsg *err);
/** Ends the process with @code at once: threads may hang in accesses for ever. */
_Noreturn void rw_exit(int code);

/* world_real_ctl.c */
extern const struct ctl_handler rw_ctl_handler; /* arg to be set */
/** Tells the coordinator why this node gives up; the caller ends the process. */
void rw_tell_failure(struct rw *w, int status, const char *cause);
/** Tells the coordinator once every peer that is needed is up. */
void rw_connected(struct rw *w);
void rw_report(struct rw *w, const char *type);
/** A step of the plan fires at this site; see emu_loop.site. */
void rw_site(void *arg, struct emu_node *n, enum fl_site site, uint64_t nth);

/* world_real_fault.c */
/** A stack of filters, if the plan has any; @h: the node's handlers, then what the port is made
 * with. */
int rw_filters_make(struct rw *w, const struct tp_cfg *cfg, struct tp_handler *h,
                    struct fl_errmsg *err);
/** Arms or disarms this node's part of a step. */
void rw_step_set(struct rw *w, int step, bool on);
/** Tells the coordinator how often faults have hit; @first_only: only that they did. */
void rw_hits_tell(struct rw *w, bool first_only);
/** This node's part of a step at one of its sites. */
void rw_site_faults(struct rw *w, int step);
/** Maps what the coordinator keeps beyond this process; @fd -1: nothing. */
int rw_memory_map(struct rw *w, int fd, struct fl_errmsg *err);
void rw_peer_back(struct rw *w, uint16_t peer, const struct tp_addr *addr);
void rw_peer_lost(struct rw *w, uint16_t peer);

/* world_real_work.c */
void rw_start(struct rw *w);                               /* opens the regions */
void rw_answer(struct rw *w, uint32_t ticket, int status); /* an open or close ended */
void rw_threads_done(struct rw *w);                        /* a thread ended: looks which */
uint32_t rw_threads_of(const struct plan *p, uint16_t self);

#endif
