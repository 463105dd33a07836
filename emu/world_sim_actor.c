/* SPDX-License-Identifier: Apache-2.0 */
/* Application threads in the simulator: generated accesses in sub-steps, scheduled in virtual time. */
#include <string.h>

#include "emu/world_sim.h"

static void thread_step(void *arg, uint64_t a, uint64_t b);

static void later(struct ws_thread *t, uint64_t after_ns)
{
    fl_evq_at(t->n->w->q, ws_now(t->n->w) + after_ns, thread_step, t, 0, 0);
}

/* --- one access ----------------------------------------------------------------------------- */

static uint64_t first8(const uint8_t *b, uint32_t len)
{
    uint64_t v = 0;
    for (uint32_t i = len < 8 ? len : 8; i > 0; i--)
        v = v << 8 | b[i - 1];
    return v;
}

static uint16_t region_of(const struct ws_thread *t)
{
    return t->n->w->p->workloads[t->workload].region;
}

static void begin(struct ws_thread *t)
{
    struct coh_access a = {.region = region_of(t),
                           .store = t->op.store,
                           .off = t->op.off,
                           .len_bytes = t->op.len_bytes,
                           .src = t->buf,
                           .dst = t->buf};
    if (t->op.store) {
        work_bytes(&t->op, t->buf);
        if (t->shadow) {
            oracle_on_store(emu_node_oracle(t->n->node), region_of(t), t->op.off, t->op.len_bytes,
                            t->workload, t->index, t->gen.done);
            memcpy(t->old, t->shadow + t->op.off, t->op.len_bytes);
            memcpy(t->shadow + t->op.off, t->buf, t->op.len_bytes);
        }
    }
    t->busy = true;
    coh_actor_begin(t->n->trk, t->ticket, &a);
}

static void compare_load(struct ws_thread *t)
{
    struct oracle *o = emu_node_oracle(t->n->node);
    const uint8_t *want = t->shadow + t->op.off;
    uint32_t len = t->op.len_bytes, i = 0;
    if (memcmp(t->buf, want, len) == 0) {
        oracle_good_loads(o, len);
        return;
    }
    while (t->buf[i] == want[i])
        i++;
    oracle_bad_load(o, region_of(t), t->op.off + i, first8(want + i, len - i),
                    first8(t->buf + i, len - i));
}

static void failed(struct ws_thread *t)
{
    struct ws *w = t->n->w;
    uint32_t done = coh_actor_progress(t->n->trk, t->ticket);
    unsigned long long at = t->op.off + done;
    uint16_t r = region_of(t);
    t->status = coh_actor_status(t->n->trk, t->ticket);
    t->n->access_errors++;
    if (!w->regions[r].access_status)
        w->regions[r].access_status = t->status;
    /* Here it is known which bytes were stored: the shadow keeps exactly those. */
    if (t->op.store && t->shadow)
        memcpy(t->shadow + t->op.off + done, t->old + done, t->op.len_bytes - done);
    ws_trouble(w, "workload %s: %s at offset 0x%llx of region %s failed: %s",
               w->p->workloads[t->workload].name, t->op.store ? "store" : "load", at,
               w->p->regions[r].name, fl_strerror(t->status));
}

void ws_thread_over(struct ws_thread *t)
{
    t->over = true;
    if (--t->n->threads_left == 0)
        ws_close_regions(t->n);
}

static uint64_t think(struct ws_thread *t)
{
    uint64_t ns = t->n->w->p->workloads[t->workload].think_ns;
    uint64_t after = WS_STEP_NS / 2 + fl_rng_below(&t->sched, WS_STEP_NS);
    if (ns)
        after += ns / 2 + fl_rng_below(&t->sched, ns);
    return after;
}

/* --- waiting -------------------------------------------------------------------------------- */

static void watch(struct ws_thread *t, uint64_t at_ns);

/* One timer a thread: it finds out whether the wait it was set for is the one that goes on. */
static void watched(void *arg, uint64_t nth, uint64_t b)
{
    struct ws_thread *t = arg;
    (void)b;
    t->watched = false;
    if (t->n->dead || t->over || !t->blocked)
        return;
    uint64_t due = t->blocked_ns + t->n->access_deadline_ns;
    if (due > ws_now(t->n->w))
        watch(t, due);
    else
        coh_actor_expire(t->n->trk, t->ticket, coh_actor_waits(t->n->trk, t->ticket));
    (void)nth;
}

static void watch(struct ws_thread *t, uint64_t at_ns)
{
    t->watched = true;
    fl_evq_at(t->n->w->q, at_ns, watched, t, 0, 0);
}

static void block(struct ws_thread *t)
{
    t->blocked = true;
    t->blocked_ns = ws_now(t->n->w);
    if (!t->watched)
        watch(t, t->blocked_ns + t->n->access_deadline_ns);
}

void ws_thread_wake(void *arg, uint32_t ticket)
{
    struct ws_node *n = arg;
    struct ws_thread *t = &n->w->threads[n->first_thread + ticket];
    if (t->blocked) {
        t->blocked = false;
        later(t, fl_rng_below(&t->sched, WS_STEP_NS));
    }
}

/* --- scheduling ----------------------------------------------------------------------------- */

/** Sub-steps until the access ends, blocks, or the scheduler takes its turn. */
static void run_access(struct ws_thread *t)
{
    struct ws_node *n = t->n;
    for (;;) {
        enum coh_act act = coh_actor_step(n->trk, t->ticket);
        if (coh_actor_urgent(n->trk))
            ws_wake(n);
        if (act == COH_ACT_AGAIN && fl_rng_below(&t->sched, 4) != 0)
            continue;
        if (act == COH_ACT_AGAIN) {
            later(t, fl_rng_below(&t->sched, WS_STEP_NS));
            return;
        }
        if (act == COH_ACT_BLOCKED) {
            block(t);
            return;
        }
        t->busy = false;
        n->accesses += act == COH_ACT_DONE;
        if (act == COH_ACT_FAILED) {
            failed(t);
            ws_thread_over(t);
            return;
        }
        if (!t->op.store && t->shadow)
            compare_load(t);
        later(t, think(t));
        return;
    }
}

static void thread_step(void *arg, uint64_t a, uint64_t b)
{
    struct ws_thread *t = arg;
    (void)a;
    (void)b;
    if (t->n->dead || t->over)
        return;
    if (t->n->paused) {
        t->stale = true;
        return;
    }
    if (!t->busy) {
        if (!work_next(&t->gen, &t->op)) {
            ws_thread_over(t);
            return;
        }
        begin(t);
    }
    run_access(t);
}

void ws_threads_resumed(struct ws_node *n)
{
    for (uint32_t i = 0; i < n->threads; i++) {
        struct ws_thread *t = &n->w->threads[n->first_thread + i];
        if (t->stale) {
            t->stale = false;
            if (t->coro)
                ws_coro_resumed(t);
            else
                later(t, fl_rng_below(&t->sched, WS_STEP_NS));
        }
    }
}

void ws_threads_start(struct ws_node *n)
{
    struct ws *w = n->w;
    struct oracle *o = emu_node_oracle(n->node);
    for (uint32_t i = 0; i < n->threads; i++) {
        struct ws_thread *t = &w->threads[n->first_thread + i];
        t->shadow = o ? oracle_shadow(o, region_of(t)) : NULL;
        if (t->coro)
            ws_coro_start(t);
        else
            later(t, think(t));
    }
}
