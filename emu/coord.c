/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/coord.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"

uint64_t coord_ms_from_now(uint64_t ms)
{
    return fl_clock_ns() + ms * FL_NS_PER_MS;
}

void coord_fail(struct coord *c, const char *fmt, ...)
{
    va_list ap;
    if (c->failed)
        return;
    c->failed = true;
    c->r->node_failed = true;
    va_start(ap, fmt);
    vsnprintf(c->r->why, sizeof(c->r->why), fmt, ap);
    va_end(ap);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct coord *c = arg;
    (void)what;
    if (sig == SIGCHLD)
        coord_reap(c);
    else
        c->interrupted = emu_interrupted = (int)sig;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg; /* only ends the wait of the loop */
}

int coord_wait(struct coord *c, bool (*cond)(const struct coord *c), uint64_t deadline_ns)
{
    for (;;) {
        if (emu_interrupted) /* also one that came before our handlers */
            c->interrupted = (int)emu_interrupted;
        if (c->interrupted)
            return FL_ECANCELED;
        if (c->failed)
            return FL_EIO;
        if (cond(c))
            return FL_OK;
        uint64_t now = fl_clock_ns();
        if (now >= deadline_ns)
            return FL_ETIMEDOUT;
        uint64_t us = (deadline_ns - now) / FL_NS_PER_US + 1;
        struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
        evtimer_add(c->tick, &tv);
        if (event_base_loop(c->base, EVLOOP_ONCE) < 0)
            return FL_EIO;
    }
}

/* --- what the phases wait for --------------------------------------------------------------- */

/** Nodes that the plan has killed or stopped hold nobody up. */
static bool waits_for(const struct coord_node *n)
{
    return !n->planned_death && !n->exited;
}

static bool all_ready(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (!c->nodes[i].ready)
            return false;
    return true;
}

static bool all_connected(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (!c->nodes[i].connected)
            return false;
    return true;
}

static bool is_compute(const struct coord *c, uint16_t i)
{
    return c->p->nodes[i].role == PLAN_COMPUTE;
}

static bool all_running(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (is_compute(c, i) && waits_for(&c->nodes[i]) && !c->nodes[i].running)
            return false;
    return true;
}

static bool all_done(const struct coord *c)
{
    if (coord_restarts_pending(c))
        return false;
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (is_compute(c, i) && waits_for(&c->nodes[i]) && !c->nodes[i].done)
            return false;
    return true;
}

/** Names of the nodes for which @lacks holds, for messages. */
static void name_nodes(const struct coord *c, size_t flag_offset, bool compute_only, char *ret,
                       size_t cap)
{
    size_t len = 0;
    ret[0] = 0;
    for (uint16_t i = 0; i < c->p->node_count && len + PLAN_NAME_MAX + 2 < cap; i++) {
        const struct coord_node *n = &c->nodes[i];
        bool flag = *(const bool *)((const char *)n + flag_offset);
        if (!flag && (is_compute(c, i) || !compute_only))
            len += (size_t)snprintf(ret + len, cap - len, "%s%s", len ? ", " : "",
                                    c->p->nodes[i].name);
    }
}

/* --- phases --------------------------------------------------------------------------------- */

/** Failure before the start: an error of setting up, unless a node simply crashed. */
static int setup_failed(struct coord *c, int rv, const char *what, size_t flag_offset)
{
    char names[256];
    if (c->setup_status)
        return c->setup_status; /* the message is written */
    if (rv == FL_ECANCELED)
        return fl_fail(c->err, FL_ECANCELED, "interrupted by signal %d", c->interrupted);
    if (rv == FL_ETIMEDOUT) {
        name_nodes(c, flag_offset, false, names, sizeof(names));
        return fl_fail(c->err, FL_ETIMEDOUT,
                       "nodes did not %s within %d s: %s; look into their logs in %s", what,
                       COORD_JOIN_MS / 1000, names, c->o->out_dir);
    }
    return FL_OK; /* c->failed: the result tells */
}

static void send_peers(struct coord *c)
{
    json_t *addrs = json_array();
    for (uint16_t i = 0; addrs && i < c->p->node_count; i++)
        json_array_append_new(addrs, json_string(c->nodes[i].addr));
    coord_broadcast(c, json_pack("{s:s,s:o}", "t", "peers", "addrs", addrs));
}

/** Spawns, sends plan and addresses. *ret_go: everything is up. */
static int set_up(struct coord *c, bool *ret_go)
{
    int rv = coord_listen(c);
    if (!rv)
        coord_ext_announce(c);
    for (uint16_t i = 0; !rv && i < c->p->node_count; i++)
        rv = c->nodes[i].external ? FL_OK : coord_spawn(c, i);
    if (rv)
        return rv;
    rv = coord_wait(c, coord_ext_joined, coord_ms_from_now(c->join_ms));
    if (rv == FL_ETIMEDOUT)
        return coord_ext_missing(c);
    rv = rv ? rv : coord_wait(c, all_ready, coord_ms_from_now(COORD_JOIN_MS));
    if (rv)
        return setup_failed(c, rv, "get ready", offsetof(struct coord_node, ready));
    send_peers(c);
    rv = coord_wait(c, all_connected, coord_ms_from_now(COORD_JOIN_MS));
    if (rv)
        return setup_failed(c, rv, "connect to each other", offsetof(struct coord_node, connected));
    *ret_go = true;
    return FL_OK;
}

static void ended_early(struct coord *c, int rv)
{
    char names[256];
    if (rv != FL_ETIMEDOUT)
        return; /* interrupted, or failed with its reason written */
    name_nodes(c, offsetof(struct coord_node, done), true, names, sizeof(names));
    bool fired = false;
    for (size_t i = 0; i < c->r->fault_count; i++)
        fired = fired || c->r->faults[i].fired > 0;
    /* While a fault is in force it decides nothing that a node hangs; after it does. */
    if (fired && !coord_in_force(c))
        c->r->no_progress = true;
    else
        c->r->timed_out = true;
    snprintf(c->r->why, sizeof(c->r->why), "run deadline of %llu ms passed while waiting for %s",
             (unsigned long long)(c->p->run_deadline_ns / FL_NS_PER_MS), names);
}

static int work(struct coord *c)
{
    c->started = true;
    c->t0_ns = fl_clock_ns();
    c->deadline_ns = c->t0_ns + c->p->run_deadline_ns;
    coord_steps_start(c);
    coord_broadcast(c, json_pack("{s:s}", "t", "start"));
    int rv = coord_wait(c, all_running, c->deadline_ns);
    if (!rv) {
        coord_steps_running(c);
        rv = coord_wait(c, all_done, c->deadline_ns);
    }
    c->r->duration_ns = fl_clock_ns() - c->t0_ns;
    if (rv)
        ended_early(c, rv);
    else
        coord_final(c);
    return c->interrupted ? fl_fail(c->err, FL_ECANCELED,
                                    "interrupted by signal %d; all nodes "
                                    "were ended",
                                    c->interrupted)
                          : FL_OK;
}

static void tear_down(struct coord *c, bool orderly)
{
    if (orderly) {
        c->stopping = true;
        coord_broadcast(c, json_pack("{s:s}", "t", "stop"));
        coord_wait(c, coord_all_gone, coord_ms_from_now(COORD_STOP_MS));
    }
    coord_kill_all(c);
}

/* --- set-up of the coordinator itself ------------------------------------------------------- */

static int coord_init(struct coord *c)
{
    static const int sigs[3] = {SIGCHLD, SIGINT, SIGTERM};
    c->nodes = calloc(c->p->node_count, sizeof(*c->nodes));
    c->base = event_base_new();
    /* Room for every node at once, and for as many others as may annoy us. */
    c->stranger_max = CTL_PENDING_MAX + c->p->node_count;
    c->strangers = calloc((size_t)c->stranger_max, sizeof(struct ctl_conn *));
    if (!c->nodes || !c->base || !c->strangers || ctl_key_new(c->key))
        return fl_fail(c->err, FL_ENOMEM, "cannot set up the coordinator: out of memory");
    c->tick = evtimer_new(c->base, on_tick, c);
    for (int i = 0; i < 3; i++) {
        c->sig[i] = evsignal_new(c->base, sigs[i], on_signal, c);
        if (!c->tick || !c->sig[i] || evsignal_add(c->sig[i], NULL))
            return fl_fail(c->err, FL_ENOMEM, "cannot set up the coordinator: out of memory");
    }
    for (uint16_t i = 0; i < c->p->node_count; i++) {
        struct result_node *rn = &c->r->nodes[i];
        c->nodes[i].c = c;
        c->nodes[i].idx = i;
        c->nodes[i].incarnation = 1;
        c->nodes[i].memory_fd = -1;
        memset(rn, 0, sizeof(*rn));
        snprintf(rn->name, sizeof(rn->name), "%s", c->p->nodes[i].name);
        snprintf(rn->role, sizeof(rn->role), "%s", is_compute(c, i) ? "compute" : "memory");
    }
    c->r->node_count = c->p->node_count;
    coord_steps_init(c);
    int rv = coord_ext_init(c);
    for (uint16_t i = 0; !rv && i < c->p->node_count; i++)
        rv = coord_memory_new(&c->nodes[i]);
    return rv;
}

static void coord_done(struct coord *c)
{
    coord_steps_done(c);
    coord_fault_done(c);
    for (uint16_t i = 0; c->nodes && i < c->p->node_count; i++) {
        ctl_close(&c->nodes[i].conn);
        if (c->nodes[i].grace)
            event_free(c->nodes[i].grace);
    }
    for (int i = 0; c->strangers && i < c->stranger_max; i++)
        ctl_close(&c->strangers[i]);
    free(c->strangers);
    for (int i = 0; i < COORD_QUERIES; i++)
        json_decref(c->queries[i].reply);
    for (int i = 0; i < 3; i++)
        if (c->sig[i])
            event_free(c->sig[i]);
    if (c->tick)
        event_free(c->tick);
    if (c->listener)
        evconnlistener_free(c->listener);
    for (int i = 0; i < COORD_JOBS; i++)
        if (c->jobs[i].deadline)
            event_free(c->jobs[i].deadline);
    if (c->base)
        event_base_free(c->base);
    memset(c->key, 0, sizeof(c->key));
    free(c->nodes);
}

/** What only the simulator offers is refused before anything starts. */
static int refuse(const struct coord *c)
{
    const struct plan *p = c->p;
    const struct run_opts *o = c->o;
    struct fl_errmsg *err = c->err;
    if (o->tracker && strcmp(o->tracker, "mprotect") != 0)
        return fl_fail(err, FL_EINVAL,
                       "processes use the tracker mprotect; tracker %s needs --fabric sim",
                       o->tracker);
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->action == PLAN_RESTART && c->nodes[s->target].external)
            return fl_fail(err, FL_EINVAL,
                           "%s:%d: node %s is started by others, who would have to start it "
                           "again; leave it out of --external",
                           p->file, s->line, p->nodes[s->target].name);
    }
    return FL_OK;
}

int emu_run_real(const struct plan *p, const struct run_opts *o, struct result *ret,
                 struct fl_errmsg *err)
{
    struct coord *c = calloc(1, sizeof(*c));
    if (!c)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    c->p = p;
    c->o = o;
    c->r = ret;
    c->err = err;
    c->join_ms = o->join_ms ? o->join_ms : COORD_JOIN_MS;
    c->epoch_ns = fl_clock_ns();
    snprintf(ret->fabric, sizeof(ret->fabric), "%s", o->fabric);
    snprintf(ret->tracker, sizeof(ret->tracker), "%s", o->tracker ? o->tracker : "mprotect");
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    bool go = false;
    int rv = coord_init(c);
    rv = rv ? rv : refuse(c);
    rv = rv ? rv : coord_ext_refuse(c);
    if (!rv)
        rv = set_up(c, &go);
    if (!rv && go)
        rv = work(c);
    tear_down(c, !rv && !c->failed && !c->r->timed_out && !c->r->no_progress);
    coord_done(c);
    signal(SIGPIPE, old);
    free(c);
    return rv;
}
