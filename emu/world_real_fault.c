/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults in a node process: filters between node and port, a slow device, full slots, a restarted
 * peer. At a site of its own the node arms its end before it asks the coordinator, which has the
 * other end arm before the site goes on; at other moments the coordinator says when.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "emu/base/clock.h"
#include "emu/base/log.h"
#include "emu/plan_steps.h"
#include "emu/world_real.h"

enum { RECONNECT_MS = 20 };

/* --- filters -------------------------------------------------------------------------------- */

static void on_filter_time(evutil_socket_t fd, short what, void *arg)
{
    struct rw *w = arg;
    (void)fd;
    (void)what;
    tp_filters_run(w->filters);
    w->soon = true;
}

static uint64_t filter_now(void *arg)
{
    return fl_clock_ns() - ((struct rw *)arg)->epoch_ns;
}

static void filter_wake_at(void *arg, uint64_t t_ns)
{
    struct rw *w = arg;
    uint64_t now = filter_now(w), us = t_ns > now ? (t_ns - now) / FL_NS_PER_US + 1 : 0;
    struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    if (t_ns == FL_NEVER)
        event_del(w->filter_ev);
    else
        evtimer_add(w->filter_ev, &tv);
}

static bool wants_filters(const struct plan *p)
{
    for (int i = 0; i < p->step_count; i++)
        if (plan_step_filters(&p->steps[i]))
            return true;
    return false;
}

int rw_filters_make(struct rw *w, const struct tp_cfg *cfg, struct tp_handler *h,
                    struct fl_errmsg *err)
{
    const struct tp_filter_env env = {.arg = w,
                                      .now_ns = filter_now,
                                      .wake_at = filter_wake_at,
                                      .connect_deadline_ns = cfg->connect_deadline_ns,
                                      .fence_deadline_ns = cfg->fence_deadline_ns};
    if (!wants_filters(w->plan))
        return FL_OK;
    w->filter_ev = evtimer_new(w->base, on_filter_time, w);
    if (w->filter_ev)
        w->filters = tp_filters_new(&env, w->self, w->plan->node_count, w->plan->seed, h);
    if (!w->filters)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    *h = *tp_filters_handler(w->filters);
    for (int i = 0; i < w->plan->step_count; i++)
        if (w->faults[i].early)
            rw_step_set(w, i, true);
    return FL_OK;
}

/* --- steps ---------------------------------------------------------------------------------- */

static bool is_mine(const struct rw *w, const struct plan_step *s)
{
    struct tp_fault f;
    plan_step_fault(s, &f);
    if (plan_step_filters(s))
        return f.from == w->self || f.to == w->self;
    return (s->action == PLAN_SLOW || s->action == PLAN_SLOTS_FULL) && s->target == w->self;
}

static uint64_t device_hits(const struct rw *w, const struct plan_step *s)
{
    return s->action == PLAN_SLOW ? emu_node_slow_hits(w->node) : emu_node_fill_hits(w->node);
}

void rw_step_set(struct rw *w, int step, bool on)
{
    const struct plan_step *s = &w->plan->steps[step];
    struct rw_fault *k = &w->faults[step];
    struct tp_fault f;
    if (k->armed == on || !is_mine(w, s))
        return;
    k->armed = on;
    k->ever = true;
    plan_step_fault(s, &f);
    if (plan_step_filters(s) && !on) {
        tp_filters_disarm(w->filters, (uint32_t)step + 1);
    } else if (plan_step_filters(s)) {
        if (tp_filters_arm(w->filters, (uint32_t)step + 1, &f))
            fl_log(FL_LOG_ERROR, "a fault of the plan cannot be armed: out of memory");
    } else {
        if (on)
            k->from = device_hits(w, s);
        else
            k->hits = device_hits(w, s) - k->from;
        if (s->action == PLAN_SLOW)
            emu_node_slow(w->node, on ? s->by_ns : 0);
        else
            emu_node_fill_slots(w->node, on);
    }
    w->any_fault = true;
}

static uint64_t hits_of(const struct rw *w, int step)
{
    const struct plan_step *s = &w->plan->steps[step];
    const struct rw_fault *k = &w->faults[step];
    if (plan_step_filters(s))
        return tp_filters_fired(w->filters, (uint32_t)step + 1);
    return k->armed ? device_hits(w, s) - k->from : k->hits;
}

void rw_hits_tell(struct rw *w, bool first_only)
{
    for (int i = 0; w->any_fault && i < w->plan->step_count; i++) {
        struct rw_fault *k = &w->faults[i];
        uint64_t n = k->ever ? hits_of(w, i) : 0;
        if (n == k->told || (first_only && k->told > 0))
            continue;
        k->told = n;
        ctl_send(w->conn, json_pack("{s:s,s:i,s:I}", "t", "hit", "step", i, "hits", (json_int_t)n));
    }
}

void rw_site_faults(struct rw *w, int step)
{
    const struct plan_step *s = &w->plan->steps[step];
    rw_step_set(w, step, true);
    for (int i = 0; s->action == PLAN_HEAL && i < w->plan->step_count; i++) {
        const struct plan_step *o = &w->plan->steps[i];
        if (o->action == PLAN_CUT && o->target == s->target && o->target2 == s->target2)
            rw_step_set(w, i, false);
    }
}

/* --- memory that outlives the process --------------------------------------------------------- */

int rw_memory_map(struct rw *w, int fd, struct fl_errmsg *err)
{
    bool memory = w->plan->nodes[w->self].role == PLAN_MEMORY;
    size_t len =
        memory ? emu_node_image_bytes(w->plan, w->self) : oracle_record_bytes(w->plan, w->self);
    struct stat st;
    if (fd < 0 || !len)
        return FL_OK;
    if (fstat(fd, &st) || (uint64_t)st.st_size != len)
        return fl_fail(err, FL_EPROTO, "the memory that outlives this node has another size");
    void *m = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (m == MAP_FAILED)
        return fl_fail(err, FL_ENOMEM, "no memory for %zu bytes that outlive this node", len);
    if (memory)
        w->image = m;
    else
        w->record = m;
    return FL_OK;
}

/* --- peers that come back --------------------------------------------------------------------- */

/** Until the old connection is gone, a new one is refused: asked again and again, the run's
 * deadline ends it. */
static void on_reconnect(evutil_socket_t fd, short what, void *arg)
{
    struct rw *w = arg;
    struct timeval tv = {0, RECONNECT_MS * 1000};
    bool again = false;
    (void)fd;
    (void)what;
    for (uint16_t i = 0; i < w->plan->node_count; i++) {
        struct fl_errmsg err;
        if (!w->back[i].wanted)
            continue;
        if (w->peer_up[i] || w->port->ops->connect(w->port, i, &w->back[i].addr, &err))
            again = true;
        else
            w->back[i].wanted = false;
    }
    if (again)
        evtimer_add(w->reconnect_ev, &tv);
}

void rw_peer_back(struct rw *w, uint16_t peer, const struct tp_addr *addr)
{
    if (!w->back)
        w->back = calloc(w->plan->node_count, sizeof(*w->back));
    if (!w->reconnect_ev)
        w->reconnect_ev = evtimer_new(w->base, on_reconnect, w);
    if (!w->back || !w->reconnect_ev) {
        rw_tell_failure(w, FL_ENOMEM, "out of memory");
        rw_exit(1);
    }
    w->back[peer].addr = *addr;
    w->back[peer].wanted = true;
    on_reconnect(-1, 0, w);
}

void rw_peer_lost(struct rw *w, uint16_t peer)
{
    struct timeval tv = {0, RECONNECT_MS * 1000};
    if (!w->back || !w->back[peer].addr.len)
        return;
    w->back[peer].wanted = true;
    evtimer_add(w->reconnect_ev, &tv);
}
