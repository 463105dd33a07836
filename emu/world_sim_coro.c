/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Application threads in the simulator as coroutines: they really load and store, trap as in the
 * real world (coherence/mp_trap.c is the same code), and wait in virtual time. For programs, whose
 * accesses nobody can generate, and for any workload with tracker "coroutine".
 *
 * A program takes no time between two traps but what it is charged here: for each trap, and for
 * some of its allocations. Both are also where everything else gets its turn.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/coro.h"
#include "emu/native.h"
#include "emu/work_run.h"
#include "emu/world_sim.h"

enum {
    STACK_BYTES = 8 << 20, /* as the system's threads have */
    ALLOCS_A_TURN = 8,     /* one in so many allocations gives way */
    ALLOC_NS = 150,        /* Source: assumed; what a program does around an allocation */
};

/* Page-aligned: in which order memcpy goes through its source depends on the low bits of both. */
struct ws_coro {
    struct ws_thread *t;
    uint32_t index; /* within the workload */
    struct fl_coro *c;
    struct native_ctx *ctx;
    uint64_t deadline_ns; /* of the wait under way */
    bool watched;         /* an event for it is scheduled */
    struct native_result native;
    struct fl_errmsg cause;
    struct work_run run;
};

bool ws_has_programs(const struct plan *p)
{
    for (uint16_t i = 0; i < p->workload_count; i++)
        if (!work_is_actor(p->workloads[i].kind))
            return true;
    return false;
}

static const struct plan_workload *workload_of(const struct ws_thread *t)
{
    return &t->n->w->p->workloads[t->workload];
}

/* --- switching ------------------------------------------------------------------------------ */

static void run_on(struct ws_thread *t)
{
    struct ws *w = t->n->w;
    struct native_ctx *before = native_ctx_set(t->coro->ctx);
    w->inside = t;
    fl_coro_run(t->coro->c);
    w->inside = NULL;
    native_ctx_set(before);
    if (fl_coro_over(t->coro->c))
        ws_thread_over(t);
}

static void turn(void *arg, uint64_t a, uint64_t b)
{
    struct ws_thread *t = arg;
    (void)a;
    (void)b;
    if (t->n->dead || t->over)
        return;
    if (t->n->paused)
        t->stale = true;
    else
        run_on(t);
}

static void later(struct ws_thread *t, uint64_t after_ns)
{
    fl_evq_at(t->n->w->q, ws_now(t->n->w) + after_ns, turn, t, 0, 0);
}

void ws_coro_resumed(struct ws_thread *t)
{
    later(t, fl_rng_below(&t->sched, WS_STEP_NS));
}

/* --- what the tracker asks for, inside its signal handler ------------------------------------ */

static uint32_t trap_self(void *arg)
{
    const struct ws_node *n = arg;
    const struct ws_thread *t = n->w->inside;
    return t && t->n == n ? t->ticket : UINT32_MAX;
}

static uint64_t trap_now(void *arg)
{
    return ws_now(((const struct ws_node *)arg)->w);
}

static void trap_wake_device(void *arg)
{
    ws_wake(arg);
}

static void trap_wake(void *arg, uint32_t ticket)
{
    struct ws_node *n = arg;
    struct ws_thread *t = &n->w->threads[n->first_thread + ticket];
    if (!t->blocked)
        return;
    t->blocked = false;
    later(t, fl_rng_below(&t->sched, WS_STEP_NS));
}

static void watch(struct ws_thread *t);

/* One timer a thread: it finds out whether the wait it was set for is the one that goes on. */
static void watched(void *arg, uint64_t a, uint64_t b)
{
    struct ws_thread *t = arg;
    (void)a;
    (void)b;
    t->coro->watched = false;
    if (t->n->dead || t->over || !t->blocked)
        return;
    if (t->coro->deadline_ns > ws_now(t->n->w))
        watch(t);
    else
        trap_wake(t->n, t->ticket); /* it looks at the clock */
}

static void watch(struct ws_thread *t)
{
    if (t->coro->watched || t->coro->deadline_ns == FL_NEVER)
        return;
    t->coro->watched = true;
    fl_evq_at(t->n->w->q, t->coro->deadline_ns, watched, t, 0, 0);
}

static void trap_yield(void *arg, enum coh_way way, uint64_t deadline_ns)
{
    struct ws_thread *t = ((const struct ws_node *)arg)->w->inside;
    switch (way) {
    case COH_WAY_STEP:
        if (fl_rng_below(&t->sched, 4) != 0)
            return;
        later(t, fl_rng_below(&t->sched, WS_STEP_NS));
        break;
    case COH_WAY_TRAP:
        later(t, WS_STEP_NS / 2 + fl_rng_below(&t->sched, WS_STEP_NS));
        break;
    case COH_WAY_LET:
        later(t, 1 + fl_rng_below(&t->sched, WS_STEP_NS));
        break;
    case COH_WAY_WAIT:
        t->blocked = true;
        t->coro->deadline_ns = deadline_ns;
        watch(t);
        break;
    }
    fl_coro_yield();
}

int ws_coro_tracker(struct ws_node *n, const struct coh_cfg *base, struct fl_errmsg *err)
{
    struct coh_cfg c = *base;
    c.coro = (struct coh_coro){.arg = n,
                               .self = trap_self,
                               .yield = trap_yield,
                               .wake = trap_wake,
                               .wake_device = trap_wake_device,
                               .now_ns = trap_now};
    return coh_mprotect_new(&c, &n->trk, err);
}

/* --- what runs inside ------------------------------------------------------------------------ */

static uint64_t think_ns(struct ws_thread *t)
{
    uint64_t ns = workload_of(t)->think_ns;
    uint64_t after = WS_STEP_NS / 2 + fl_rng_below(&t->sched, WS_STEP_NS);
    return ns ? after + ns / 2 + fl_rng_below(&t->sched, ns) : after;
}

static void between_accesses(void *arg)
{
    struct ws_thread *t = arg;
    later(t, think_ns(t));
    fl_coro_yield();
}

static void before_allocation(void *arg)
{
    struct ws_thread *t = arg;
    if (fl_rng_below(&t->sched, ALLOCS_A_TURN) != 0)
        return;
    later(t, ALLOC_NS * ALLOCS_A_TURN);
    fl_coro_yield();
}

/** The cause that the region knows, once an access has failed. */
static void access_failed(struct ws_thread *t)
{
    uint16_t r = workload_of(t)->region;
    int status = coh_region_error(t->n->trk, r);
    t->status = status ? status : FL_EPOISONED;
    t->n->access_errors++;
    if (!t->n->w->regions[r].access_status)
        t->n->w->regions[r].access_status = t->status;
}

static void run_accesses(struct ws_thread *t)
{
    const struct plan_workload *wl = workload_of(t);
    struct work_run *r = &t->coro->run;
    uint64_t off = 0;
    r->between = between_accesses;
    r->arg = t;
    work_run_init(r, t->n->w->p, wl, t->coro->index, emu_node_region_base(t->n->node, wl->region),
                  emu_node_oracle(t->n->node));
    int rc = work_run(r, &off);
    t->n->accesses += r->accesses;
    if (rc == FL_OK)
        return;
    access_failed(t);
    fl_fail(&t->coro->cause, rc, "%s at offset 0x%" PRIx64 " of region %s failed: %s",
            r->op.store ? "store" : "load", off, t->n->w->p->regions[wl->region].name,
            fl_strerror(t->status));
}

static void run_program(struct ws_thread *t)
{
    struct ws *w = t->n->w;
    struct ws_coro *k = t->coro;
    const struct plan_workload *wl = workload_of(t);
    struct oracle *o = emu_node_oracle(t->n->node);
    struct native_mem mem = {.base = emu_node_region_base(t->n->node, wl->region),
                             .len_bytes = w->p->regions[wl->region].size_bytes};
    native_ctx_on_alloc(k->ctx, before_allocation, t);
    t->status = wl->kind == PLAN_SQLITE ? native_sqlite(w->p, wl, &mem, &k->native, &k->cause)
                                        : native_lua(w->p, wl, &mem, &k->native, &k->cause);
    bool deceived = native_deceived(t->status, &k->native);
    if (o && (deceived || !t->status))
        oracle_on_program(o, wl->region, deceived, k->cause.text);
    if (t->status == FL_EPOISONED)
        access_failed(t);
}

static void body(void *arg)
{
    struct ws_thread *t = arg;
    if (work_is_actor(workload_of(t)->kind))
        run_accesses(t);
    else
        run_program(t);
    if (t->status)
        ws_trouble(t->n->w, "workload %s: %s", workload_of(t)->name, t->coro->cause.text);
}

/* --- beginning and end ------------------------------------------------------------------------- */

int ws_coro_check(const struct plan *p, struct fl_errmsg *err)
{
    const struct plan_workload *one = NULL;
    for (uint16_t i = 0; i < p->workload_count; i++) {
        const struct plan_workload *wl = &p->workloads[i];
        if (work_is_actor(wl->kind))
            continue;
        if (!native_heap_apart())
            return fl_fail(err, FL_EUNSUPPORTED,
                           "%s:%d: mimalloc serves all of this process, and a program that stands "
                           "still in a trap may hold it; do not preload it",
                           p->file, wl->line);
        int rc = native_repeatable(wl->kind, err);
        if (rc != FL_OK)
            return fl_wrap(err, rc, "%s:%d", p->file, wl->line);
        /* Libraries and allocator have state that two programs of one thread would share, and a
         * trap leaves it in the middle. */
        if (one)
            return fl_fail(err, FL_EUNSUPPORTED,
                           "%s:%d: a simulated run has room for one program, and \"%s\" is there "
                           "already; use --fabric tcp",
                           p->file, wl->line, one->name);
        one = wl;
    }
    return FL_OK;
}

static int make(struct ws_thread *t, uint32_t index, struct fl_errmsg *err)
{
    size_t bytes = (sizeof(struct ws_coro) + FL_PAGE_BYTES - 1) / FL_PAGE_BYTES * FL_PAGE_BYTES;
    t->coro = aligned_alloc(FL_PAGE_BYTES, bytes);
    if (!t->coro)
        return fl_fail(err, FL_ENOMEM, "no memory for a thread");
    memset(t->coro, 0, bytes);
    t->coro->t = t;
    t->coro->index = index;
    t->coro->ctx = native_ctx_new();
    if (!t->coro->ctx)
        return fl_fail(err, FL_ENOMEM, "no memory for a thread");
    return fl_coro_new(STACK_BYTES, body, t, &t->coro->c, err);
}

int ws_coro_init(struct ws *w, struct fl_errmsg *err)
{
    int rc = native_guard_init();
    if (rc == FL_OK)
        rc = native_guard_crashes();
    if (rc != FL_OK)
        return fl_fail(err, rc, "cannot take over the signals of crashes");
    for (uint32_t i = 0, index = 0; rc == FL_OK && i < w->thread_count; i++) {
        struct ws_thread *t = &w->threads[i];
        index = i > 0 && t[-1].workload == t->workload ? index + 1 : 0;
        rc = make(t, index, err);
    }
    return rc;
}

void ws_coro_start(struct ws_thread *t)
{
    later(t, think_ns(t));
}

void ws_coro_free(struct ws_thread *t)
{
    if (!t->coro)
        return;
    fl_coro_free(&t->coro->c);
    native_ctx_free(&t->coro->ctx);
    free(t->coro);
    t->coro = NULL;
}

static void report(struct result *r, const struct ws_thread *t, const char *what)
{
    const struct native_result *n = &t->coro->native;
    char key[64], hex[32];
    snprintf(key, sizeof key, "%.30s.rows", what);
    result_metric(r, key, (double)n->rows);
    snprintf(key, sizeof key, "%.30s.match", what);
    result_metric(r, key, n->match && !t->status);
    snprintf(key, sizeof key, "%.30s.heap_bytes", what);
    result_metric(r, key, (double)n->heap_bytes);
    snprintf(key, sizeof key, "%.30s.checksum", what);
    snprintf(hex, sizeof hex, "%016" PRIx64, n->checksum);
    result_metric_text(r, key, hex);
}

void ws_coro_report(struct ws *w)
{
    for (uint32_t i = 0; i < w->thread_count; i++) {
        const struct ws_thread *t = &w->threads[i];
        if (!t->coro || work_is_actor(workload_of(t)->kind) || t->n->dead)
            continue;
        report(w->r, t, workload_of(t)->name);
        report(w->r, t, workload_of(t)->kind == PLAN_SQLITE ? "sqlite" : "lua");
    }
}
