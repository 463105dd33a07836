/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "emu/base/assert.h"
#include "emu/base/log.h"
#include "emu/node_priv.h"

/* --- events --------------------------------------------------------------------------------- */

void node_trace(struct emu_node *n, enum fl_trace_kind kind, unsigned code, uint32_t region,
                uint32_t page, uint64_t a, uint64_t b)
{
    if (n->cfg.trace != NULL) {
        struct fl_trace_rec r = {
            node_now(n), n->cfg.self, (uint16_t)kind, (uint16_t)code, region, page, a, b};
        fl_trace_add(n->cfg.trace, &r);
    }
}

void node_post(struct emu_node *n, const struct fl_event *ev)
{
    if (n->ev_count == n->ev_cap) {
        uint32_t cap = n->ev_cap * 2;
        struct fl_event *q = malloc(cap * sizeof *q);

        FL_ASSERT(q != NULL);
        for (uint32_t i = 0; i < n->ev_count; i++) {
            q[i] = n->events[(n->ev_head + i) & (n->ev_cap - 1)];
        }
        free(n->events);
        n->events = q;
        n->ev_cap = cap;
        n->ev_head = 0;
    }
    n->events[(n->ev_head + n->ev_count++) & (n->ev_cap - 1)] = *ev;
}

static void post_answer(struct emu_node *n, enum fl_ev_kind kind, uint64_t tag, int status)
{
    node_post(n, &(struct fl_event){.kind = kind, .tag = tag, .status = status});
}

/* An event that tells of stores carries in b the earliest time they can have happened, FL_NEVER for
 * now: the world's own note to the oracle, no core reads it. Where no period runs the note has
 * woken the device and the store is of now; else it is no older than that period. */
static void tell_dirty(struct emu_node *n, const struct fl_event *ev)
{
    uint64_t since_ns = ev->b;

    if (since_ns == FL_NEVER || !wb_period_runs(n->wb, ev->region)) {
        since_ns = node_now(n);
    } else if (since_ns < n->period_from_ns[ev->region]) {
        since_ns = n->period_from_ns[ev->region];
    }
    oracle_on_dirty(n->oracle, ev->region, ev->page, since_ns);
}

static void watch_periods(struct emu_node *n)
{
    for (uint16_t r = 0; r < n->cfg.plan->region_count; r++) {
        bool runs = n->cfg.plan->regions[r].on == n->cfg.self && wb_period_runs(n->wb, r);

        if (runs && !n->period_ran[r]) {
            n->period_from_ns[r] = node_now(n);
        }
        n->period_ran[r] = runs;
    }
}

static void tell_error(struct emu_node *n, const struct fl_event *ev)
{
    if (ev->kind == FL_EV_DONE && ev->a == NODE_TOLD_FENCE) {
        oracle_on_fence(n->oracle, ev->node, ev->status);
        if (ev->status == FL_OK) {
            node_batches_fenced(n, ev->node);
        }
    } else if ((ev->kind == FL_EV_DONE && ev->a == NODE_TOLD_WRITE && ev->status != FL_OK) ||
               (ev->msg != NULL && ev->msg->type == FL_MSG_LOG_ACK && ev->msg->status != FL_OK)) {
        node_batches_doubtful(n, ev->node);
        oracle_on_error(n->oracle, ev->node);
    }
}

static void step(struct emu_node *n, const struct fl_event *ev)
{
    n->steps++;
    node_trace(n, FL_TR_EVENT, ev->kind, ev->region, ev->page, ev->tag ^ ev->ticket,
               (uint64_t)(uint32_t)ev->status);
    if (n->wb == NULL) {
        mn_step(n->mn, &n->env, ev);
        return;
    }
    if (ev->kind == FL_EV_TIMER) {
        n->timer_at_ns = ev->b;
        n->queued_due_ns = FL_NEVER; /* timers are delivered in one go, the first is late enough */
    }
    if (n->oracle != NULL) {
        tell_error(n, ev);
    }
    wb_step(n->wb, &n->env, ev);
    if (n->oracle != NULL) {
        watch_periods(n);
    }
    /* After the step, which may have begun the period: its own time (it wakes threads) is no
     * staleness. */
    if (n->oracle != NULL && ev->b != 0 && (ev->kind == FL_EV_DIRTY || ev->kind == FL_EV_GATED)) {
        tell_dirty(n, ev);
    }
}

static void step_queued(struct emu_node *n)
{
    struct fl_event ev = n->events[n->ev_head];
    struct node_held *held = (struct node_held *)(uintptr_t)ev.msg;

    n->ev_head = (n->ev_head + 1) & (n->ev_cap - 1);
    n->ev_count--;
    if (held == NULL) {
        step(n, &ev);
        return;
    }
    n->msg = &held->m;
    n->payload = held->payload;
    step(n, &ev);
    n->msg = NULL;
    n->payload = NULL;
    free(held);
}

static void drain_events(struct emu_node *n)
{
    while (n->ev_count > 0) {
        step_queued(n);
    }
}

/* --- slow ----------------------------------------------------------------------------------- */

void emu_node_slow(struct emu_node *n, uint64_t by_ns)
{
    n->slow_ns = by_ns;
    n->slow_until_ns = 0;
    node_timers_arm(n);
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

uint64_t emu_node_slow_hits(const struct emu_node *n)
{
    return n->slow_hits;
}

static void hold_msg(struct emu_node *n, uint16_t peer, const struct fl_msg *m,
                     const uint8_t *payload, size_t payload_bytes)
{
    struct node_held *h = malloc(sizeof *h + payload_bytes);

    FL_ASSERT(h != NULL);
    h->m = *m;
    if (payload_bytes > 0) {
        memcpy(h->payload, payload, payload_bytes);
    }
    node_post(n, &(struct fl_event){.kind = FL_EV_MSG, .node = peer, .msg = &h->m});
}

/* --- tracker notes -------------------------------------------------------------------------- */

void node_drain_notes(struct emu_node *n)
{
    struct coh_note note;

    if (n->trk == NULL) {
        return;
    }
    while (n->trk->ops->next(n->trk, &note)) {
        struct fl_event ev = {.region = note.region,
                              .page = note.page,
                              .ticket = note.ticket,
                              .access = note.access,
                              .mask = note.mask};

        switch (note.kind) {
        case COH_NOTE_MISS:
            ev.kind = FL_EV_MISS;
            n->miss_at_ns[note.ticket % COH_THREADS_MAX] = node_now(n);
            node_post(n, &ev);
            break;
        case COH_NOTE_DIRTY:
            ev.kind = FL_EV_DIRTY;
            ev.b = n->drained_ns; /* no store is older than the last look */
            node_sample_add(n, note.region, note.page);
            node_post(n, &ev);
            break;
        case COH_NOTE_GATE_FREE:
            n->gate_retry = true;
            break;
        }
    }
    n->drained_ns = node_now(n);
}

/* --- calls of the core: time, memory ------------------------------------------------------- */

static struct emu_node *of(struct fl_env *e)
{
    return (struct emu_node *)(void *)e;
}

static uint64_t env_now(struct fl_env *e)
{
    return node_now(of(e));
}

static uint64_t env_rng(struct fl_env *e, enum fl_stream s)
{
    return fl_rng_next(&of(e)->rng[s]);
}

static void env_timer(struct fl_env *e, uint64_t tag, uint64_t after_ns)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_TIMER, 0, 0, tag, after_ns);
    node_timer_set(n, tag, after_ns == FL_NEVER ? FL_NEVER : node_now(n) + after_ns);
}

/* True when the gate is done, whichever way. */
static bool try_gate(struct emu_node *n, const struct gate_wait *g)
{
    int rc = n->trk->ops->gate(n->trk, g->region, g->page, g->count, g->prot);

    if (rc == FL_EAGAIN) {
        return false;
    }
    if (rc == FL_OK && n->oracle != NULL) {
        oracle_on_gate(n->oracle, g->region, g->page, g->count, g->prot);
    }
    if (rc == FL_OK && g->prot == FL_PROT_RW) {
        for (uint32_t i = 0; i < g->count; i++) {
            node_sample_add(n, g->region, g->page + i);
        }
    }
    /* Stores made before the change are told before its answer. */
    node_drain_notes(n);
    node_post(n, &(struct fl_event){.kind = FL_EV_GATED,
                                    .tag = g->tag,
                                    .status = rc,
                                    .region = g->region,
                                    .page = g->page,
                                    .b = rc == FL_OK && g->prot == FL_PROT_RW ? FL_NEVER : 0});
    return true;
}

static void env_gate(struct fl_env *e, uint16_t region, uint32_t page, uint32_t count,
                     enum fl_prot prot, uint64_t tag)
{
    struct emu_node *n = of(e);
    struct gate_wait g = {tag, page, count, region, prot};

    node_trace(n, FL_TR_CALL, FL_CALL_GATE, region, page, count, prot);
    if (!try_gate(n, &g)) {
        if (n->gate_count == n->gate_cap) {
            n->gate_cap *= 2;
            n->gates = realloc(n->gates, n->gate_cap * sizeof *n->gates);
            FL_ASSERT(n->gates != NULL);
        }
        n->gates[n->gate_count++] = g;
    }
}

static void retry_gates(struct emu_node *n)
{
    uint32_t kept = 0;

    n->gate_retry = false;
    for (uint32_t i = 0; i < n->gate_count; i++) {
        struct gate_wait g = n->gates[i];

        if (!try_gate(n, &g)) {
            n->gates[kept++] = g;
        }
    }
    n->gate_count = kept;
}

static fl_mask env_snap(struct fl_env *e, uint16_t region, uint32_t page, uint32_t buf)
{
    struct emu_node *n = of(e);
    fl_mask m = n->trk->ops->snap(n->trk, region, page, node_buf(n, buf));

    node_trace(n, FL_TR_CALL, FL_CALL_SNAP, region, page, buf, m);
    node_sample_remove(n, region, page);
    if (n->oracle != NULL) {
        oracle_on_snap(n->oracle, region, page, node_now(n) - node_overdue_ns(n));
    }
    return m;
}

static void install_from_msg(struct emu_node *n, uint16_t chunk, uint32_t page, fl_mask mask,
                             uint32_t entry)
{
    const struct fl_msg *m = n->msg;
    const uint8_t *src = n->payload;
    uint8_t *dst = node_slot(n, chunk, page);

    FL_ASSERT(m != NULL && entry < m->entry_count && dst != NULL);
    for (uint32_t i = 0; i < entry; i++) {
        src += (size_t)fl_mask_count(m->entries[i].mask) * FL_LINE_BYTES;
    }
    for (fl_mask left = m->entries[entry].mask; left != 0; left &= left - 1) {
        unsigned line = fl_mask_first(left);

        if ((mask >> line) & 1) {
            memcpy(dst + line * FL_LINE_BYTES, src, FL_LINE_BYTES);
        }
        src += FL_LINE_BYTES;
    }
    if (n->oracle != NULL) {
        oracle_on_apply(n->oracle, chunk, page, m->entries[entry].seq);
    }
}

static void env_install(struct fl_env *e, uint16_t region, uint32_t page, fl_mask mask,
                        struct fl_src src)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_INSTALL, region, page, mask, src.idx);
    if (src.kind == FL_SRC_MSG) {
        install_from_msg(n, region, page, mask, src.idx);
        return;
    }
    if (n->oracle != NULL) {
        oracle_on_install(n->oracle, region, page, mask, node_buf(n, src.idx));
    }
    n->trk->ops->install(n->trk, region, page, mask, node_buf(n, src.idx));
}

static void env_map(struct fl_env *e, uint16_t region, uint32_t page, enum fl_map_kind kind,
                    struct fl_slot slot, uint64_t tag)
{
    struct emu_node *n = of(e);
    int status = FL_OK;

    (void)slot;
    node_trace(n, FL_TR_CALL, FL_CALL_MAP, region, page, kind, tag);
    if (kind == FL_MAP_HOLE) {
        if (n->oracle != NULL) {
            oracle_on_drop(n->oracle, region, page, n->trk->ops->live(n->trk, region, page));
        }
        node_sample_remove(n, region, page);
        n->trk->ops->drop(n->trk, region, page);
    } else {
        status = FL_ENOSYS;
    }
    node_post(
        n, &(struct fl_event){
               .kind = FL_EV_MAPPED, .tag = tag, .status = status, .region = region, .page = page});
}

static void env_resume(struct fl_env *e, uint32_t ticket, int status)
{
    struct emu_node *n = of(e);

    node_trace(n, FL_TR_CALL, FL_CALL_RESUME, 0, 0, ticket, (uint64_t)(uint32_t)status);
    if (ticket < EMU_TICKET_OPEN) {
        node_latency_add(n, node_now(n) - n->miss_at_ns[ticket % COH_THREADS_MAX]);
        n->trk->ops->resume(n->trk, ticket, status);
        return;
    }
    if (ticket >= EMU_TICKET_CLOSE && n->oracle != NULL) {
        uint16_t region = (uint16_t)(ticket - EMU_TICKET_CLOSE);

        oracle_on_close(n->oracle, region, status, wb_lost_lines(n->wb, region));
    }
    n->cfg.loop.answer(n->cfg.loop.arg, n, ticket, status);
}

static void env_commit(struct fl_env *e, uint16_t node, uint64_t deadline_ns, uint64_t tag)
{
    node_trace(of(e), FL_TR_CALL, FL_CALL_COMMIT, 0, node, tag, deadline_ns);
    post_answer(of(e), FL_EV_DONE, tag, FL_ENOSYS); /* pools of this version are volatile */
}

static void env_vcpu(struct fl_env *e, uint16_t vm, enum fl_vcpu_op op, uint64_t tag)
{
    node_trace(of(e), FL_TR_CALL, FL_CALL_VCPU, vm, 0, op, tag);
    post_answer(of(e), FL_EV_VCPU, tag, FL_ENOSYS);
}

static void env_store(struct fl_env *e, const struct fl_store *s)
{
    struct emu_node *n = of(e);
    bool record = s->op == FL_STORE_RECORD && n->mn != NULL && n->msg != NULL;

    node_trace(n, FL_TR_CALL, FL_CALL_STORE, s->region, s->page, s->tag, s->seq);
    post_answer(n, FL_EV_DONE, s->tag, record && node_image_record(n, s->b) ? FL_OK : FL_ENOSYS);
}

static void env_halt(struct fl_env *e)
{
    node_trace(of(e), FL_TR_CALL, FL_CALL_HALT, 0, 0, 0, 0);
}

static void env_site(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a, uint64_t b)
{
    struct emu_node *n = of(e);
    uint64_t nth = ++n->site_counts[id];

    node_trace(n, FL_TR_SITE, id, region, 0, a, b);
    if (n->oracle != NULL) {
        if (id == FL_SITE_PERIOD) {
            oracle_on_period(n->oracle, region, node_now(n), node_now(n) - n->timer_at_ns);
        } else if (id == FL_SITE_REGION_CLOSING) {
            oracle_on_closing(n->oracle, region, node_now(n), node_overdue_ns(n));
        } else if (id == FL_SITE_PEER_LOST) {
            oracle_on_peer_down(n->oracle, (uint16_t)a);
        }
    }
    if (n->cfg.loop.site != NULL) {
        /* A kill happens here: what the core asked for earlier in this step is in the fabric. */
        node_flush_spans(n);
        n->cfg.loop.site(n->cfg.loop.arg, n, id, nth);
    }
}

const struct fl_env_ops node_env_ops = {
    .now = env_now,
    .rng = env_rng,
    .timer = env_timer,
    .send = node_send,
    .rma_read = node_rma_read,
    .rma_write = node_rma_write,
    .commit = env_commit,
    .fence = node_fence,
    .gate = env_gate,
    .snap = env_snap,
    .install = env_install,
    .map = env_map,
    .resume = env_resume,
    .vcpu = env_vcpu,
    .store = env_store,
    .halt = env_halt,
    .site = env_site,
};

/* --- running -------------------------------------------------------------------------------- */

/* The tracker need not wake us for a first store while the periods of all regions run: the next
 * one takes it along in time (W6). */
static void set_armed(struct emu_node *n)
{
    bool armed = true;

    if (n->trk == NULL) {
        return;
    }
    for (uint16_t r = 0; r < n->cfg.plan->region_count; r++) {
        const struct plan_region *g = &n->cfg.plan->regions[r];

        if (g->on == n->cfg.self && g->period_ns != FL_NEVER && !wb_period_runs(n->wb, r)) {
            armed = false;
        }
    }
    if (armed != n->armed) {
        n->armed = armed;
        n->drained_ns = node_now(n); /* what was stored before has woken us, or will at once */
        n->trk->ops->armed(n->trk, armed);
    }
}

/* Comes back when the next step may happen, no sooner; after the last, the core's timers count. */
static void slow_wait(struct emu_node *n)
{
    n->cfg.loop.wake_at(n->cfg.loop.arg, n, n->slow_until_ns);
}

/* One step, and then nothing for a while. */
static void slow_run(struct emu_node *n)
{
    node_drain_notes(n);
    node_timers_run(n);
    if (n->gate_retry) {
        retry_gates(n);
    }
    if (n->ev_count > 0) {
        step_queued(n);
        n->slow_hits++;
        n->slow_until_ns = node_now(n) + n->slow_ns;
    }
    node_flush_spans(n);
    if (n->ev_count > 0 || n->gate_retry) {
        slow_wait(n);
    } else {
        node_timers_arm(n);
    }
}

void emu_node_run(struct emu_node *n)
{
    if (n->running) {
        return;
    }
    if (n->slow_ns != 0 && node_now(n) < n->slow_until_ns) {
        slow_wait(n);
        return;
    }
    n->running = true;
    if (n->slow_ns != 0) {
        slow_run(n);
        set_armed(n);
        n->running = false;
        return;
    }
    do {
        node_drain_notes(n);
        node_timers_run(n);
        drain_events(n);
        if (n->gate_retry) {
            retry_gates(n);
        }
        node_flush_spans(n);
    } while (n->ev_count > 0 || n->gate_retry);
    set_armed(n);
    n->running = false;
}

void node_step_msg(struct emu_node *n, uint16_t peer, const struct fl_msg *m,
                   const uint8_t *payload, size_t payload_bytes)
{
    struct fl_event ev = {.kind = FL_EV_MSG, .node = peer, .msg = m};

    if (n->slow_ns != 0) {
        hold_msg(n, peer, m, payload, payload_bytes);
        return;
    }
    /* What was posted before the message is told before it. */
    drain_events(n);
    n->msg = m;
    n->payload = payload;
    step(n, &ev);
    n->msg = NULL;
    n->payload = NULL;
}

void emu_node_fill_slots(struct emu_node *n, bool full)
{
    node_post(n, &(struct fl_event){.kind = FL_EV_ADMIN, .a = FL_ADMIN_SLOTS, .b = full});
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

uint64_t emu_node_fill_hits(const struct emu_node *n)
{
    return n->wb != NULL ? wb_stats(n->wb)->slots_refused : 0;
}

void emu_node_start(struct emu_node *n)
{
    node_post(n, &(struct fl_event){.kind = FL_EV_START});
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

void emu_node_open(struct emu_node *n, uint16_t region)
{
    node_post(n, &(struct fl_event){
                     .kind = FL_EV_OPEN, .region = region, .ticket = EMU_TICKET_OPEN + region});
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}

void emu_node_close(struct emu_node *n, uint16_t region)
{
    node_post(n, &(struct fl_event){
                     .kind = FL_EV_CLOSE, .region = region, .ticket = EMU_TICKET_CLOSE + region});
    n->cfg.loop.wake_soon(n->cfg.loop.arg, n);
}
