/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The coordinator's parts among themselves (emu_run_real is the way in): spawning and reaping
 * (coord_proc.c), control messages and steps of the plan (coord_msg.c), results and the final
 * compare (coord_final.c). One thread, one event loop; every wait names its deadline.
 */
#ifndef EMU_COORD_H
#define EMU_COORD_H

#include <event2/event.h>
#include <event2/listener.h>
#include <sys/types.h>

#include "emu/ctl.h"
#include "emu/result.h"
#include "transport/fabric.h"

enum coord_verb { COORD_KILL, COORD_PAUSE, COORD_RESUME, COORD_CUT, COORD_HEAL };

enum {
    COORD_JOIN_MS = 20000,  /* from spawn to ready; libfabric's first look around takes a while */
    COORD_STEP_MS = 5000,   /* a killed or stopped process must be so within this */
    COORD_FINAL_MS = 60000, /* final compare and reports */
    COORD_STOP_MS = 5000,   /* from stop to exit; then SIGKILL */
    COORD_QUERIES = 2,
    COORD_MEMORY_FD = 4,    /* where a node finds the memory that outlives it */
    COORD_JOBS = 16,        /* calls of the driver at a time */
    COORD_DRIVER_MS = 9000, /* one call of the driver; below RW_SITE_MS: a node may wait for it */
    COORD_WHO_MAX = 64,     /* name of a container */
};

struct coord;

struct coord_node {
    struct coord *c;
    uint16_t idx;
    bool external;           /* started by others: no pid, lost when its connection is */
    char who[COORD_WHO_MAX]; /* external: its container, for the driver */
    bool joined;             /* its connection was accepted, once */
    char ip[16];             /* address of its fabric, where its peers look for it */
    bool down;               /* the driver took it off its network */
    pid_t pid;               /* 0: not started or reaped */
    int wstatus;
    int memory_fd; /* outlives the process: image or record; -1: none */
    size_t memory_bytes;
    unsigned incarnation; /* from 1 */
    bool blank;           /* came back without its image */
    bool exited;          /* reaped; external: its connection is gone */
    bool lost_judged;     /* its loss has been dealt with */
    bool planned_death;   /* a step of the plan killed it */
    bool stopped;         /* SIGSTOP took effect */
    struct ctl_conn *conn;
    struct event *grace; /* the connection is gone, the process is still there */
    char addr[2 * TP_ADDR_MAX + 1];
    bool ready, connected, running, done, reported;
    char lost_how[96]; /* external: how its connection ended */
    int fail_status;   /* what the node said before it gave up */
    char fail_cause[RESULT_FIRST_MAX];
};

struct coord_step {
    struct coord *c;
    bool begun, ended;
    bool in_force;                 /* filters, slow, full slots: not undone yet */
    bool due, respawned;           /* restart */
    unsigned awaits;               /* ends that have not said that they armed it, a bit each */
    uint64_t hits[2], hits_before; /* told by the ends; by earlier lives of them */
    int waiter;                    /* node that waits in its site for this step, -1: none */
    struct event *timer;           /* AT_TIME, later the end of a pause */
};

/** A call of the driver. */
struct coord_job {
    struct coord *c;
    pid_t pid; /* 0: free */
    uint16_t node;
    int step; /* of the plan, -1: none */
    enum coord_verb verb;
    struct event *deadline;
};

struct coord_query {
    uint32_t id; /* 0: free */
    uint16_t node;
    json_t *reply;
};

struct coord {
    const struct plan *p;
    const struct run_opts *o;
    struct result *r;
    struct fl_errmsg *err;
    struct event_base *base;
    struct evconnlistener *listener;
    char addr[64]; /* ADDR:PORT of the listener */
    char join[64]; /* the same for nodes on this host */
    uint64_t join_ms;
    uint8_t key[CTL_KEY_BYTES];
    struct event *sig[3], *tick;
    struct coord_node *nodes;
    struct coord_step steps[PLAN_STEPS_MAX];
    struct coord_query queries[COORD_QUERIES];
    struct coord_job jobs[COORD_JOBS];
    struct ctl_conn **strangers; /* not yet authenticated; stranger_max places */
    int stranger_max;
    uint32_t last_query;
    int interrupted;   /* signal that asked us to end */
    int setup_status;  /* typed failure of a node before the start */
    bool started;      /* start was sent: failures are results from here on */
    bool stopping;     /* exits are wanted */
    bool failed;       /* the run cannot go on; result.why says why */
    uint64_t epoch_ns; /* nodes on this host count time from here */
    uint64_t t0_ns;    /* of the start */
    uint64_t deadline_ns;
};

/** Runs the loop until @cond holds. FL_ETIMEDOUT, FL_ECANCELED (interrupted), FL_EIO (failed). */
int coord_wait(struct coord *c, bool (*cond)(const struct coord *c), uint64_t deadline_ns);

/** The run cannot go on; the first reason stays. */
void coord_fail(struct coord *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t coord_ms_from_now(uint64_t ms);

/* coord_proc.c */
int coord_listen(struct coord *c);
int coord_spawn(struct coord *c, uint16_t idx);
/** Collects what exited or stopped. */
void coord_reap(struct coord *c);
/** Decides what a node's end means, once the process and its connection are gone. */
void coord_judge_loss(struct coord_node *n);
/** SIGKILL for whatever is left, and waits for it. */
void coord_kill_all(struct coord *c);
bool coord_all_gone(const struct coord *c);

/* coord_ext.c: nodes that others start */
/** Which nodes are external, and the run's key. */
int coord_ext_init(struct coord *c);
/** Steps that need a driver, without one: FL_EINVAL. */
int coord_ext_refuse(const struct coord *c);
/** True for a cut or heal that the driver does, to container *@ret_node of the two. */
bool coord_ext_cuts(const struct coord *c, const struct plan_step *s, uint16_t *ret_node);
/** Says on stderr where nodes are awaited, and which. */
void coord_ext_announce(const struct coord *c);
bool coord_ext_joined(const struct coord *c);
/** Names those that did not join, with the reason if one is known. Returns its error. */
int coord_ext_missing(struct coord *c);
/** A connection of @name ended before it was accepted. */
void coord_ext_stranger(struct coord *c, const char *name, int cause, const char *why);

/* coord_driver.c */
/** Calls the driver; its end comes through coord_driver_done. False: it could not be started. */
bool coord_driver_call(struct coord *c, uint16_t node, enum coord_verb verb, int step);
/** True while such a call is out for the node. */
bool coord_driver_busy(const struct coord *c, uint16_t node, enum coord_verb verb);
/** Collects calls that ended. */
void coord_driver_reap(struct coord *c);
/** Ends calls that are still out, lets stopped containers run again. */
void coord_driver_finish(struct coord *c);

/* coord_msg.c */
/** The driver has done a step, or could not. */
void coord_driver_done(struct coord *c, uint16_t node, enum coord_verb verb, int step, bool good);
void coord_take(struct coord *c, int fd); /* a connection was accepted */
void coord_send_plan(struct coord_node *n);
/** Sends @m to every living node (a new reference for each). */
void coord_broadcast(struct coord *c, json_t *m);
void coord_steps_init(struct coord *c);
void coord_steps_start(struct coord *c);   /* AT_START, before anything runs */
void coord_steps_running(struct coord *c); /* arms AT_TIME */
/** A node stopped, exited: steps that waited for it are over. */
void coord_steps_check(struct coord *c);
void coord_steps_done(struct coord *c);

/** The step is over: its site goes on. @fired: it was done. */
void coord_step_end(struct coord *c, int i, bool fired);
/** Its site goes on, the step is not over. */
void coord_step_release(struct coord *c, int i);
void coord_step_timer(struct coord *c, struct coord_step *s, event_callback_fn fn,
                      uint64_t after_ns);

/* coord_fault.c */
/** Begins a step of one of the kinds from PLAN_CUT on. */
void coord_fault_begin(struct coord *c, int i);
/** A node went or came: steps that waited for it. */
void coord_fault_check(struct coord *c);
void coord_fault_armed(struct coord_node *n, int i);
void coord_fault_hit(struct coord_node *n, int i, uint64_t hits);
/** A restarted node is ready. */
void coord_node_back(struct coord_node *n);
/** A restarted node could not come back, as a step of the plan wanted. */
bool coord_fault_bars(const struct coord_node *n);
/** Memory that outlives a node, if the plan needs it. */
int coord_memory_new(struct coord_node *n);
/** A fault is in force that nothing has healed. */
bool coord_in_force(const struct coord *c);
bool coord_restarts_pending(const struct coord *c);
void coord_fault_done(struct coord *c);

/* coord_crash.c */
/** What is left after a crash, against what its record says; counts for W3. */
void coord_crash(struct coord *c);

/* coord_final.c */
/** Asks one node for a page of its chunk. False: no answer. */
bool coord_image_page(struct coord *c, uint16_t node, uint16_t chunk, uint32_t page,
                      uint8_t ret[FL_PAGE_BYTES]);
void coord_take_report(struct coord_node *n, const json_t *m);
void coord_final(struct coord *c);

#endif
