/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/world_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"

/* Source: assumed; as in the real world, far behind the core's own deadlines. */
#define ACCESS_SLACK_NS (5 * FL_NS_PER_S)
#define CONNECT_NS (20 * FL_NS_PER_S)
#define RECONNECT_NS (10 * FL_NS_PER_MS)

void ws_trouble(struct ws *w, const char *fmt, ...)
{
    va_list ap;
    if (w->trouble[0])
        return;
    va_start(ap, fmt);
    vsnprintf(w->trouble, sizeof w->trouble, fmt, ap);
    va_end(ap);
}

/* --- emu_loop ------------------------------------------------------------------------------- */

struct ws_node *ws_node_of(struct ws *w, struct emu_node *node)
{
    return &w->nodes[emu_node_id(node)];
}

static uint64_t loop_now(void *arg)
{
    return ws_now(arg);
}

static void run_soon(void *arg, uint64_t a, uint64_t b)
{
    struct ws_node *n = arg;
    (void)a;
    (void)b;
    n->soon = false;
    if (n->paused)
        n->stale = true;
    else if (!n->dead)
        emu_node_run(n->node);
}

static void run_timer(void *arg, uint64_t a, uint64_t b)
{
    struct ws_node *n = arg;
    (void)a;
    (void)b;
    n->timer = 0;
    if (n->paused)
        n->stale = true;
    else if (!n->dead)
        emu_node_run(n->node);
}

void ws_wake(struct ws_node *n)
{
    if (n->soon || n->dead)
        return;
    n->soon = true;
    fl_evq_at(n->w->q, ws_now(n->w) + fl_rng_below(&n->sched, WS_DEVICE_NS), run_soon, n, 0, 0);
}

static void loop_wake_soon(void *arg, struct emu_node *node)
{
    ws_wake(ws_node_of(arg, node));
}

static void loop_wake_at(void *arg, struct emu_node *node, uint64_t at_ns)
{
    struct ws *w = arg;
    struct ws_node *n = ws_node_of(w, node);
    if (n->timer)
        fl_evq_cancel(w->q, n->timer);
    n->timer = at_ns == FL_NEVER ? 0 : fl_evq_at(w->q, at_ns, run_timer, n, 0, 0);
}

static void filters_run(void *arg, uint64_t a, uint64_t b)
{
    struct ws_node *n = arg;
    (void)a;
    (void)b;
    n->filter_timer = 0;
    n->filters_stale = n->paused;
    if (!n->paused && !n->dead && n->filters)
        tp_filters_run(n->filters);
}

static uint64_t filters_now(void *arg)
{
    return ws_now(((struct ws_node *)arg)->w);
}

static void filters_wake_at(void *arg, uint64_t t_ns)
{
    struct ws_node *n = arg;
    if (n->filter_timer)
        fl_evq_cancel(n->w->q, n->filter_timer);
    n->filter_timer = t_ns == FL_NEVER ? 0 : fl_evq_at(n->w->q, t_ns, filters_run, n, 0, 0);
}

void ws_resumed(struct ws_node *n)
{
    if (n->filters_stale)
        filters_run(n, 0, 0);
    if (n->stale) {
        n->stale = false;
        ws_wake(n);
    }
    ws_threads_resumed(n);
}

/* --- regions -------------------------------------------------------------------------------- */

static void region_asked(struct ws_node *n, uint16_t r, bool closing)
{
    if (closing)
        emu_node_close(n->node, r);
    else
        emu_node_open(n->node, r);
}

void ws_close_regions(struct ws_node *n)
{
    struct ws *w = n->w;
    n->closing_ns = ws_now(w);
    for (uint16_t r = 0; r < w->p->region_count; r++)
        if (w->p->regions[r].on == n->idx && w->regions[r].open_asked &&
            !w->regions[r].open_status) {
            w->regions[r].close_asked = true;
            n->closing++;
        }
    if (!n->closing)
        n->done = true;
    for (uint16_t r = 0; r < w->p->region_count; r++)
        if (w->p->regions[r].on == n->idx && w->regions[r].close_asked)
            region_asked(n, r, true);
}

static void node_opened(struct ws_node *n)
{
    struct ws *w = n->w;
    bool good = true;
    for (uint16_t r = 0; r < w->p->region_count; r++)
        good = good && (w->p->regions[r].on != n->idx || !w->regions[r].open_status);
    n->running = true;
    if (good && n->threads)
        ws_threads_start(n);
    else
        ws_close_regions(n);
}

static void open_regions(struct ws_node *n)
{
    struct ws *w = n->w;
    for (uint16_t r = 0; r < w->p->region_count; r++)
        if (w->p->regions[r].on == n->idx) {
            w->regions[r].open_asked = true;
            n->opening++;
        }
    for (uint16_t r = 0; r < w->p->region_count; r++)
        if (w->p->regions[r].on == n->idx)
            region_asked(n, r, false);
    if (!n->opening)
        node_opened(n);
}

static void loop_answer(void *arg, struct emu_node *node, uint32_t ticket, int status)
{
    struct ws *w = arg;
    struct ws_node *n = ws_node_of(w, node);
    bool closing = ticket >= EMU_TICKET_CLOSE;
    uint32_t r = ticket - (closing ? EMU_TICKET_CLOSE : EMU_TICKET_OPEN);
    if (n->dead || r >= w->p->region_count)
        return;
    if (status)
        ws_trouble(w, "region %s could not be %s: %s", w->p->regions[r].name,
                   closing ? "closed" : "opened", fl_strerror(status));
    if (closing) {
        w->regions[r].close_status = status;
        w->regions[r].close_ns = ws_now(w) - n->closing_ns;
        if (--n->closing == 0)
            n->done = true;
    } else {
        w->regions[r].open_status = status;
        if (--n->opening == 0)
            node_opened(n);
    }
}

static void reconnect(void *arg, uint64_t peer, uint64_t b)
{
    struct ws_node *n = arg, *m = &n->w->nodes[peer];
    struct fl_errmsg err;
    (void)b;
    if (!n->dead && !m->dead && n->port->ops->connect(n->port, m->idx, &m->addr, &err))
        ws_trouble(n->w, "%s cannot reach the restarted %s: %s", n->w->p->nodes[n->idx].name,
                   n->w->p->nodes[m->idx].name, err.text);
}

static void loop_peer(void *arg, struct emu_node *node, uint16_t peer, bool up, int cause)
{
    struct ws *w = arg;
    struct ws_node *n = ws_node_of(w, node);
    (void)cause;
    n->peers_up += up;
    if (!up && w->nodes[peer].incarnation > 1 && w->p->nodes[n->idx].role == PLAN_COMPUTE)
        fl_evq_at(w->q, ws_now(w) + RECONNECT_NS, reconnect, n, peer, 0);
}

/* --- what lands at memory nodes -------------------------------------------------------------- */

/** Chunk and page behind an offset of a memory node's pool. */
static bool slot_at(const struct ws_node *n, uint64_t off, struct fl_slot *ret)
{
    for (uint16_t c = 0; c < MN_CHUNKS_MAX; c++) {
        const struct ws_chunk *k = &n->chunks[c];
        uint64_t page = (off - k->off) / FL_PAGE_BYTES;
        if (k->pages && off >= k->off && page < k->pages) {
            *ret = (struct fl_slot){n->idx, c, (uint32_t)page};
            return true;
        }
    }
    return false;
}

/** Where a page of a region lives. */
static struct fl_slot slot_of(const struct plan *p, uint16_t region, uint32_t page)
{
    const struct plan_region *g = &p->regions[region];
    for (uint16_t c = 0; c < g->chunk_count; c++) {
        if (page < g->chunks[c].page_count)
            return (struct fl_slot){g->chunks[c].node, g->chunks[c].chunk, page};
        page -= g->chunks[c].page_count;
    }
    return (struct fl_slot){FL_NO_NODE, 0, 0};
}

/* Of a merged write only the first page's number is known: the others are not judged here. */
static void on_land(void *arg, const struct tp_sim_land *l)
{
    struct ws *w = arg;
    struct fl_slot at, own = slot_of(w->p, l->region, l->page);
    struct oracle *o = emu_node_oracle(w->nodes[l->to].node);
    if (o && slot_at(&w->nodes[l->to], l->off, &at) && at.node == own.node &&
        at.chunk == own.chunk && at.page == own.page)
        oracle_on_land(o, at.chunk, at.page, l->seq);
}

/* --- building ------------------------------------------------------------------------------- */

static int make_tracker(struct ws_node *n, struct fl_errmsg *err)
{
    const struct plan *p = n->w->p;
    const struct plan_node *pn = &p->nodes[n->idx];
    uint64_t longest = 0;
    for (uint16_t r = 0; r < p->region_count; r++)
        if (p->regions[r].on == n->idx && p->regions[r].op_deadline_ns > longest)
            longest = p->regions[r].op_deadline_ns;
    n->access_deadline_ns = longest * 4 * (pn->retry_max + 1U) + ACCESS_SLACK_NS;
    struct coh_actor_cfg c = {
        .base = {.threads_max = n->threads ? n->threads : 1,
                 .cached_pages_max = (uint32_t)(pn->device_memory_bytes / FL_PAGE_BYTES),
                 .access_deadline_ns = n->access_deadline_ns,
                 .plants = p->plants},
        .sight = n->w->sight,
        .wake = ws_thread_wake,
        .arg = n};
    return n->w->coros ? ws_coro_tracker(n, &c.base, err) : coh_actor_new(&c, &n->trk, err);
}

/** A stack between node and port; @h: the node's handlers, then what the port is made with. */
static int make_filters(struct ws_node *n, const struct tp_cfg *cfg, struct tp_handler *h,
                        struct fl_errmsg *err)
{
    const struct tp_filter_env env = {.arg = n,
                                      .now_ns = filters_now,
                                      .wake_at = filters_wake_at,
                                      .connect_deadline_ns = cfg->connect_deadline_ns,
                                      .fence_deadline_ns = cfg->fence_deadline_ns};
    n->filters = tp_filters_new(&env, n->idx, n->w->p->node_count, n->w->p->seed, h);
    if (!n->filters)
        return fl_fail(err, FL_ENOMEM, "no memory for the faults of a node");
    *h = *tp_filters_handler(n->filters);
    ws_filters_made(n);
    return FL_OK;
}

static int make_port(struct ws_node *n, struct fl_errmsg *err)
{
    struct ws *w = n->w;
    struct tp_cfg cfg;
    emu_node_port_cfg(w->p, n->idx, &cfg);
    cfg.incarnation = n->incarnation;
    struct tp_handler h = emu_node_handler(n->node);
    int rc = w->with_filters ? make_filters(n, &cfg, &h, err) : FL_OK;
    if (rc == FL_OK)
        rc = tp_sim_new(w->net, &cfg, &h, &n->port, err);
    if (rc == FL_OK && n->filters)
        n->port = tp_filters_over(n->filters, n->port);
    if (rc == FL_OK)
        rc = emu_node_attach(n->node, n->port, err);
    if (rc == FL_OK)
        rc = n->port->ops->listen(n->port, &n->addr, err);
    return rc;
}

static int make_node(struct ws_node *n, struct fl_errmsg *err)
{
    struct ws *w = n->w;
    int rc = FL_OK;
    fl_rng_init(&n->sched, w->p->seed, n->idx, FL_RNG_SCHED, 0);
    if (w->p->nodes[n->idx].role == PLAN_COMPUTE) {
        rc = make_tracker(n, err);
        n->record_bytes = oracle_record_bytes(w->p, n->idx);
        n->record = n->record_bytes ? calloc(1, n->record_bytes) : NULL;
        if (rc == FL_OK && n->record_bytes && !n->record)
            rc =
                fl_fail(err, FL_ENOMEM, "no memory for the record of %s", w->p->nodes[n->idx].name);
    }
    struct emu_node_cfg cfg = {.plan = w->p,
                               .self = n->idx,
                               .incarnation = n->incarnation,
                               .loop = {.arg = w,
                                        .now_ns = loop_now,
                                        .wake_at = loop_wake_at,
                                        .wake_soon = loop_wake_soon,
                                        .site = ws_site,
                                        .peer = loop_peer,
                                        .answer = loop_answer},
                               .trace = w->trace,
                               .tracker = n->trk,
                               .oracles = true,
                               .image = n->image,
                               .record = n->record};
    if (rc == FL_OK)
        rc = emu_node_new(&cfg, &n->node, err);
    return rc == FL_OK ? make_port(n, err) : rc;
}

static void find_chunks(struct ws *w)
{
    for (uint16_t r = 0; r < w->p->region_count; r++)
        for (uint16_t c = 0; c < w->p->regions[r].chunk_count; c++) {
            const struct plan_chunk *k = &w->p->regions[r].chunks[c];
            w->nodes[k->node].chunks[k->chunk].pages = k->page_count;
        }
    /* They lie one behind the other in the pool, in the order of their ids. */
    for (uint16_t i = 0; i < w->p->node_count; i++)
        for (uint16_t c = 1; c < MN_CHUNKS_MAX; c++) {
            const struct ws_chunk *before = &w->nodes[i].chunks[c - 1];
            w->nodes[i].chunks[c].off = before->off + (uint64_t)before->pages * FL_PAGE_BYTES;
        }
}

static int make_threads(struct ws *w, struct fl_errmsg *err)
{
    uint32_t k = 0;
    for (uint16_t i = 0; i < w->p->workload_count; i++)
        w->thread_count += w->p->workloads[i].threads;
    w->threads = calloc(w->thread_count ? w->thread_count : 1, sizeof *w->threads);
    if (!w->threads)
        return fl_fail(err, FL_ENOMEM, "no memory for %u threads", w->thread_count);
    for (uint16_t i = 0; i < w->p->node_count; i++) {
        struct ws_node *n = &w->nodes[i];
        n->first_thread = k;
        for (uint16_t j = 0; j < w->p->workload_count; j++) {
            const struct plan_workload *wl = &w->p->workloads[j];
            for (uint32_t t = 0; w->p->regions[wl->region].on == i && t < wl->threads; t++) {
                struct ws_thread *th = &w->threads[k++];
                th->n = n;
                th->workload = j;
                th->ticket = n->threads++;
                th->index = t;
                fl_rng_init(&th->sched, w->p->seed, i, FL_RNG_SCHED, 1 + th->ticket);
                work_init(&th->gen, w->p, wl, t, w->p->regions[wl->region].size_bytes);
            }
        }
        n->threads_left = n->threads;
    }
    return FL_OK;
}

/** Memory of nodes that come back with it. */
static int make_images(struct ws *w, struct fl_errmsg *err)
{
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *s = &w->p->steps[i];
        struct ws_node *n = &w->nodes[s->target];
        w->with_filters = w->with_filters || s->action == PLAN_FAULT;
        if (s->action != PLAN_RESTART || s->blank || n->image)
            continue;
        n->image = calloc(1, emu_node_image_bytes(w->p, n->idx));
        n->kept = calloc(1, emu_node_image_bytes(w->p, n->idx));
        if (!n->image || !n->kept)
            return fl_fail(err, FL_ENOMEM, "no memory for the image of %s; lower its memory",
                           w->p->nodes[n->idx].name);
    }
    return FL_OK;
}

static int make_nodes(struct ws *w, struct fl_errmsg *err)
{
    w->nodes = calloc(w->p->node_count, sizeof *w->nodes);
    if (!w->nodes)
        return fl_fail(err, FL_ENOMEM, "no memory for %u nodes", w->p->node_count);
    for (uint16_t i = 0; i < w->p->node_count; i++) {
        w->nodes[i].w = w;
        w->nodes[i].idx = i;
        w->nodes[i].incarnation = 1;
    }
    find_chunks(w);
    int rc = make_images(w, err);
    if (rc == FL_OK)
        rc = make_threads(w, err);
    if (rc == FL_OK && w->coros)
        rc = ws_coro_init(w, err);
    for (uint16_t i = 0; rc == FL_OK && i < w->p->node_count; i++)
        rc = make_node(&w->nodes[i], err);
    return rc;
}

/* --- running -------------------------------------------------------------------------------- */

/** Steps until @cond holds; FL_ETIMEDOUT when that takes longer than until @deadline_ns, or for
 * ever at one instant. */
static int run_until(struct ws *w, bool (*cond)(const struct ws *w), uint64_t deadline_ns)
{
    uint64_t at = ws_now(w), still = 0;
    while (!cond(w)) {
        if (emu_interrupted || fl_evq_next_ns(w->q) > deadline_ns || !fl_evq_step(w->q))
            return FL_ETIMEDOUT;
        still = ws_now(w) == at ? still + 1 : 0;
        at = ws_now(w);
        if (still > WS_EVENTS_STILL_MAX)
            return FL_ETIMEDOUT;
    }
    return FL_OK;
}

static bool all_connected(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (w->nodes[i].peers_up < w->nodes[i].peers_need)
            return false;
    return true;
}

static bool is_waited_for(const struct ws *w, uint16_t i)
{
    return w->p->nodes[i].role == PLAN_COMPUTE && !w->nodes[i].dead;
}

static bool all_running(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (is_waited_for(w, i) && !w->nodes[i].running)
            return false;
    return true;
}

static bool all_done(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (is_waited_for(w, i) && !w->nodes[i].done)
            return false;
    return true;
}

static bool all_quiet(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->step_count; i++)
        if (w->in_force[i] && w->p->steps[i].action == PLAN_RESTART)
            return false; /* it will happen: the scenario asked for it */
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (!w->nodes[i].dead && !w->nodes[i].paused && !emu_node_quiescent(w->nodes[i].node))
            return false;
    return true;
}

static int connect_all(struct ws *w, struct fl_errmsg *err)
{
    int rc = FL_OK;
    for (uint16_t i = 0; rc == FL_OK && i < w->p->node_count; i++) {
        struct ws_node *n = &w->nodes[i];
        if (w->p->nodes[i].role != PLAN_COMPUTE)
            continue;
        n->need = calloc(w->p->node_count, sizeof *n->need);
        if (!n->need)
            return fl_fail(err, FL_ENOMEM, "out of memory");
        for (uint16_t r = 0; r < w->p->region_count; r++)
            for (uint16_t c = 0; c < w->p->regions[r].chunk_count; c++)
                if (w->p->regions[r].on == i)
                    n->need[w->p->regions[r].chunks[c].node] = true;
        for (uint16_t m = 0; rc == FL_OK && m < w->p->node_count; m++)
            if (n->need[m]) {
                n->peers_need++;
                w->nodes[m].peers_need++;
                rc = n->port->ops->connect(n->port, m, &w->nodes[m].addr, err);
            }
    }
    for (uint16_t i = 0; rc == FL_OK && i < w->p->node_count; i++)
        emu_node_start(w->nodes[i].node);
    if (rc == FL_OK && run_until(w, all_connected, CONNECT_NS) != FL_OK)
        rc = fl_fail(err, FL_ETIMEDOUT, "nodes did not connect; are link delays sensible?");
    return rc;
}

static void name_waiting(const struct ws *w, char *ret, size_t cap)
{
    size_t len = 0;
    ret[0] = 0;
    for (uint16_t i = 0; i < w->p->node_count && len + PLAN_NAME_MAX + 2 < cap; i++)
        if ((is_waited_for(w, i) && !w->nodes[i].done) ||
            (!w->nodes[i].dead && !emu_node_quiescent(w->nodes[i].node)))
            len += (size_t)snprintf(ret + len, cap - len, "%s%s", len ? ", " : "",
                                    w->p->nodes[i].name);
}

static bool any_fired(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->step_count; i++)
        if (w->fired[i])
            return true;
    return false;
}

/** Time ran out. While a fault is in force that decides nothing; after it does. */
static void ended_early(struct ws *w, const char *what)
{
    char names[256];
    name_waiting(w, names, sizeof names);
    if (any_fired(w) && !ws_in_force(w))
        w->r->no_progress = true;
    else
        w->r->timed_out = true;
    snprintf(w->r->why, sizeof w->r->why, "%s at %llu ms of virtual time, waiting for %s", what,
             (unsigned long long)(ws_now(w) / FL_NS_PER_MS), names[0] ? names : "nothing");
}

static void work(struct ws *w)
{
    w->t0_ns = ws_now(w);
    uint64_t deadline = w->t0_ns + w->p->run_deadline_ns;
    ws_steps_when(w, PLAN_AT_START);
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (is_waited_for(w, i))
            open_regions(&w->nodes[i]);
    int rc = run_until(w, all_running, deadline);
    if (rc == FL_OK) {
        ws_steps_when(w, PLAN_AT_TIME);
        rc = run_until(w, all_done, deadline);
    }
    if (rc != FL_OK)
        ended_early(w, "the run's deadline passed");
    else if (run_until(w, all_quiet, ws_now(w) + WS_SETTLE_NS) != FL_OK)
        ended_early(w, "work was left over");
    w->r->duration_ns = ws_now(w) - w->t0_ns;
}

/* --- restart -------------------------------------------------------------------------------- */

void ws_kill(struct ws_node *n)
{
    n->dead = true;
    tp_simnet_kill(n->w->net, n->idx);
    if (n->image)
        memcpy(n->kept, n->image, emu_node_image_bytes(n->w->p, n->idx));
}

void ws_restart(struct ws_node *n, bool blank)
{
    struct ws *w = n->w;
    struct fl_errmsg err;
    if (n->timer)
        fl_evq_cancel(w->q, n->timer);
    if (n->filter_timer)
        fl_evq_cancel(w->q, n->filter_timer);
    n->timer = n->filter_timer = 0;
    ws_filters_over(n);
    if (emu_node_oracle(n->node))
        oracle_report(emu_node_oracle(n->node), w->r); /* what it saw in its life counts */
    emu_node_free(&n->node);
    size_t image_bytes = n->image ? emu_node_image_bytes(w->p, n->idx) : 0;
    if (image_bytes && blank)
        memset(n->image, 0, image_bytes);
    else if (image_bytes)
        memcpy(n->image, n->kept, image_bytes);
    n->blank = blank;
    n->incarnation++;
    n->dead = n->paused = n->stale = n->filters_stale = false;
    if (make_node(n, &err) != FL_OK) {
        n->dead = true;
        ws_trouble(w, "%s cannot come back: %s", w->p->nodes[n->idx].name, err.text);
        return;
    }
    emu_node_start(n->node);
    for (uint16_t i = 0; i < w->p->node_count; i++)
        if (w->nodes[i].need && w->nodes[i].need[n->idx])
            reconnect(&w->nodes[i], n->idx, 0);
}

/* --- the whole ------------------------------------------------------------------------------ */

/** Threads are coroutines that really touch memory: by name, or because there are programs. */
static bool needs_child(const struct plan *p, const struct run_opts *o)
{
    const char *name = o->tracker ? o->tracker : "actor";
    return strcmp(name, "coroutine") == 0 || (strcmp(name, "actor") == 0 && ws_has_programs(p));
}

static int choose_sight(struct ws *w, const struct run_opts *o, struct fl_errmsg *err)
{
    const char *name = o->tracker ? o->tracker : "actor";
    if (needs_child(w->p, o)) {
        w->coros = true;
        name = "coroutine";
    } else if (ws_has_programs(w->p)) {
        return fl_fail(err, FL_EINVAL,
                       "tracker %s cannot see the accesses of a program; use coroutine", name);
    } else if (strcmp(name, "actor") == 0)
        w->sight = COH_EXACT;
    else if (strcmp(name, "actor-sampled") == 0)
        w->sight = COH_SAMPLED;
    else
        return fl_fail(err, FL_EINVAL,
                       "tracker %s does not exist in the simulator; use actor (exact lines), "
                       "actor-sampled (lines by diff, as mprotect) or coroutine (real traps)",
                       name);
    snprintf(w->r->tracker, sizeof w->r->tracker, "%s", name);
    return FL_OK;
}

static int check_workloads(const struct plan *p, struct fl_errmsg *err)
{
    for (uint16_t i = 0; i < p->workload_count; i++) {
        const struct plan_workload *wl = &p->workloads[i];
        if (work_is_actor(wl->kind) && wl->len_bytes > WS_ACCESS_MAX)
            return fl_fail(err, FL_EINVAL, "%s:%d: accesses of %u bytes; at most %d", p->file,
                           wl->line, wl->len_bytes, WS_ACCESS_MAX);
    }
    return ws_coro_check(p, err);
}

static int make_world(struct ws *w, const struct run_opts *o, struct fl_errmsg *err)
{
    char path[4096];
    int rc = FL_OK;
    if (o->out_dir) {
        snprintf(path, sizeof path, "%s/history.ndjson", o->out_dir);
        rc = history_open(path, w->p, &w->history, err);
    }
    w->q = fl_evq_new();
    w->trace = fl_trace_new(w->history ? history_sink : NULL, w->history);
    if (rc == FL_OK && (!w->q || !w->trace))
        rc = fl_fail(err, FL_ENOMEM, "no memory for a simulation");
    if (rc != FL_OK)
        return rc;
    w->net = tp_simnet_new(w->q, w->p->seed, w->p->node_count);
    tp_simnet_on_land(w->net, on_land, w);
    for (uint16_t i = 0; i < w->p->link_count; i++) {
        const struct plan_link *l = &w->p->links[i];
        tp_simnet_link(w->net, l->a, l->b, l->delay_ns, l->rate_bps);
    }
    result_ask_faults(w->p, w->r);
    return make_nodes(w, err);
}

static int free_world(struct ws *w, int rc, struct fl_errmsg *err)
{
    for (uint16_t i = 0; w->nodes && i < w->p->node_count; i++) {
        struct ws_node *n = &w->nodes[i];
        w->nodes[i].dead = true;
        if (n->node)
            emu_node_free(&n->node);
        else if (n->trk)
            n->trk->ops->free(&n->trk);
        free(n->image);
        free(n->kept);
        free(n->record);
        free(n->need);
    }
    if (w->net)
        tp_simnet_free(&w->net);
    fl_evq_free(&w->q);
    fl_trace_free(&w->trace);
    for (uint32_t i = 0; w->threads && i < w->thread_count; i++)
        ws_coro_free(&w->threads[i]);
    free(w->nodes);
    free(w->threads);
    int rc2 = history_close(&w->history, rc == FL_OK ? err : NULL);
    free(w);
    return rc == FL_OK ? rc2 : rc;
}

static int run_here(const struct plan *p, const struct run_opts *o, struct result *ret,
                    struct fl_errmsg *err)
{
    struct ws *w = calloc(1, sizeof *w);
    if (!w)
        return fl_fail(err, FL_ENOMEM, "no memory for a simulation");
    w->p = p;
    w->r = ret;
    w->site_counts = o->site_counts;
    snprintf(ret->fabric, sizeof ret->fabric, "sim");
    int rc = choose_sight(w, o, err);
    if (rc == FL_OK)
        rc = check_workloads(p, err);
    if (rc == FL_OK)
        rc = make_world(w, o, err);
    if (rc == FL_OK)
        rc = connect_all(w, err);
    if (rc == FL_OK) {
        work(w);
        ws_final(w);
    }
    return free_world(w, rc, err);
}

int emu_run_sim(const struct plan *p, const struct run_opts *o, struct result *ret,
                struct fl_errmsg *err)
{
    if (needs_child(p, o))
        return ws_in_child(run_here, p, o, WS_WALL_NS, ret, err);
    return run_here(p, o, ret, err);
}
