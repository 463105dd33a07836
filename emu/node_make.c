/* SPDX-License-Identifier: Apache-2.0 */
/* Building a node from the plan, taking it down, and its figures. */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/base/zeroed.h"
#include "emu/node_priv.h"

enum { SPANS_CAP = 4096, EVENTS_CAP = 256, GATES_CAP = 64, CREDITS = 16, WINDOW_OPS = 128 };

/* Source: assumed; generous against a busy host, small against a person's patience. */
#define CONNECT_DEADLINE_NS (10 * FL_NS_PER_S)
#define FENCE_DEADLINE_NS (2 * FL_NS_PER_S)
#define WINDOW_BYTES (8U << 20)

static bool asked(const struct plan *p, const char *id)
{
    for (unsigned i = 0; i < p->check_count; i++) {
        if (strcmp(p->checks[i], id) == 0) {
            return true;
        }
    }
    return false;
}

void emu_node_port_cfg(const struct plan *p, uint16_t self, struct tp_cfg *ret)
{
    *ret = (struct tp_cfg){.self = self,
                           .nodes = p->node_count,
                           .incarnation = 1,
                           .provider = "tcp",
                           .credits = CREDITS,
                           .window_ops = WINDOW_OPS,
                           .window_bytes = WINDOW_BYTES,
                           .heartbeat_ns = p->heartbeat_ns,
                           .heartbeat_miss_ns = p->heartbeat_miss_ns,
                           .connect_deadline_ns = CONNECT_DEADLINE_NS,
                           .fence_deadline_ns = FENCE_DEADLINE_NS,
                           .announce = asked(p, "W5"),
                           .rdma = {.set = true,
                                    .retry = (uint8_t)p->rdma_retry,
                                    .rnr_retry = (uint8_t)p->rdma_rnr_retry,
                                    .ack_timeout_ns = p->rdma_ack_timeout_ns},
                           .plants = p->plants};
}

/* --- compute nodes -------------------------------------------------------------------------- */

static void region_cfg(const struct plan *p, uint16_t r, uint64_t incarnation,
                       struct wb_region_cfg *c)
{
    const struct plan_region *g = &p->regions[r];

    c->page_count = (uint32_t)(g->size_bytes / FL_PAGE_BYTES);
    c->chunk_count = g->chunk_count;
    for (unsigned i = 0; i < g->chunk_count; i++) {
        c->chunks[i] =
            (struct wb_chunk_cfg){g->chunks[i].node, g->chunks[i].chunk, g->chunks[i].page_count};
    }
    c->period_ns = g->period_ns;
    c->op_deadline_ns = g->op_deadline_ns;
    c->close_deadline_ns = g->close_deadline_ns;
    c->threshold_lines = g->threshold_lines;
    c->path = g->path;
    c->lease_epoch = incarnation;
}

static uint16_t threads_of(const struct plan *p, uint16_t self)
{
    uint32_t t = 0;

    for (unsigned i = 0; i < p->workload_count; i++) {
        if (p->regions[p->workloads[i].region].on == self) {
            t += p->workloads[i].threads;
        }
    }
    return (uint16_t)(t > 0 ? t : 1);
}

static int make_wb(struct emu_node *n, struct fl_errmsg *err)
{
    const struct plan *p = n->cfg.plan;
    struct wb_cfg c = {.region_count = p->region_count,
                       .thread_count = threads_of(p, n->cfg.self),
                       .capacity_pages = (uint32_t)(n->pn->device_memory_bytes / FL_PAGE_BYTES),
                       .dclb_lines = n->pn->dclb_lines,
                       .buf_count = n->pn->buf_pages,
                       .log_batch_pages = n->pn->log_batch_pages,
                       .retry_max = n->pn->retry_max,
                       .evict = n->pn->evict,
                       .plants = p->plants};
    int rc;

    for (uint16_t r = 0; r < p->region_count; r++) {
        if (p->regions[r].on == n->cfg.self) {
            region_cfg(p, r, n->cfg.incarnation, &c.regions[r]);
        }
    }
    rc = wb_check(&c, err);
    if (rc != FL_OK) {
        return rc;
    }
    n->core_bytes = wb_size(&c);
    n->core_mem = fl_zeroed_new(n->core_bytes);
    if (n->core_mem == NULL) {
        return fl_fail(err, FL_ENOMEM, "no memory for %zu bytes of device state", n->core_bytes);
    }
    n->wb = wb_init(n->core_mem, &c);
    return FL_OK;
}

static int add_region(struct emu_node *n, uint16_t r, struct fl_errmsg *err)
{
    const struct plan_region *g = &n->cfg.plan->regions[r];
    /* One fixed place per region: addresses repeat from run to run, aligned for any allocator. */
    struct coh_region_cfg c = {.region = r,
                               .len_bytes = g->size_bytes,
                               .addr_hint = UINT64_C(0x200000000000) + ((uint64_t)r << 36)};
    int rc = n->trk->ops->region_add(n->trk, &c, &n->bases[r], err);

    if (rc != FL_OK) {
        return fl_wrap(err, rc, "region %s", g->name);
    }
    if (g->sample_ns != FL_NEVER && g->sample_ns != 0) {
        n->sample_ns = g->sample_ns < n->sample_ns ? g->sample_ns : n->sample_ns;
        n->sampled_bits[r] = fl_zeroed_new(g->size_bytes / FL_PAGE_BYTES / 8 + 1);
        if (n->sampled_bits[r] == NULL) {
            return fl_fail(err, FL_ENOMEM, "no memory for region %s", g->name);
        }
    }
    return FL_OK;
}

static void free_lists(struct emu_node *n)
{
    for (uint32_t i = 0; i < n->op_count; i++) {
        n->ops[i].next_free = i + 1 < n->op_count ? i + 1 : 0xffffffffU;
    }
    n->flight_free = 0xffffffffU; /* there are many, and most are never used: see flight_take */
}

static int make_io(struct emu_node *n, struct fl_errmsg *err)
{
    n->buf_count = n->pn->buf_pages;
    n->op_count = 2 * n->buf_count;
    n->flight_count = n->op_count * (FL_PAGE_LINES / 2);
    n->span_cap = SPANS_CAP;
    n->bufs = fl_zeroed_new((size_t)n->buf_count * FL_PAGE_BYTES);
    n->ops = calloc(n->op_count, sizeof *n->ops);
    n->flights = malloc(n->flight_count * sizeof *n->flights);
    n->spans = malloc(n->span_cap * sizeof *n->spans);
    if (n->bufs == NULL || n->ops == NULL || n->flights == NULL || n->spans == NULL) {
        return fl_fail(err, FL_ENOMEM, "no memory for %u page buffers: lower buf_pages",
                       n->buf_count);
    }
    free_lists(n);
    return FL_OK;
}

static int make_compute(struct emu_node *n, struct fl_errmsg *err)
{
    int rc = make_wb(n, err);

    n->sample_ns = FL_NEVER;
    if (rc == FL_OK) {
        rc = make_io(n, err);
    }
    for (uint16_t r = 0; rc == FL_OK && r < n->cfg.plan->region_count; r++) {
        if (n->cfg.plan->regions[r].on == n->cfg.self) {
            rc = add_region(n, r, err);
        }
    }
    return rc;
}

/* --- memory nodes --------------------------------------------------------------------------- */

static int make_memory(struct emu_node *n, struct fl_errmsg *err)
{
    const struct plan *p = n->cfg.plan;
    struct mn_cfg c = {
        .plants = p->plants, .durable = n->cfg.image != NULL, .incarnation = n->cfg.incarnation};
    int rc;

    for (unsigned r = 0; r < p->region_count; r++) {
        for (unsigned i = 0; i < p->regions[r].chunk_count; i++) {
            const struct plan_chunk *k = &p->regions[r].chunks[i];

            if (k->node == n->cfg.self && k->chunk < MN_CHUNKS_MAX) {
                c.chunk_pages[k->chunk] = k->page_count;
                c.chunk_count = k->chunk >= c.chunk_count ? k->chunk + 1 : c.chunk_count;
            }
        }
    }
    for (uint16_t k = 0; k < c.chunk_count; k++) {
        n->chunk_pages[k] = c.chunk_pages[k];
        n->chunk_off[k] = node_remote_off(p, (struct fl_slot){n->cfg.self, k, 0});
    }
    rc = mn_check(&c, err);
    if (rc != FL_OK) {
        return rc;
    }
    n->core_bytes = mn_size(&c);
    n->core_mem = fl_zeroed_new(n->core_bytes);
    n->pool_bytes = n->pn->memory_bytes;
    n->pool = n->cfg.image != NULL ? n->cfg.image : fl_zeroed_new(n->pool_bytes);
    if (n->core_mem == NULL || n->pool == NULL) {
        return fl_fail(err, FL_ENOMEM, "no memory for a pool of %zu bytes: lower memory",
                       n->pool_bytes);
    }
    n->mn = mn_init(n->core_mem, &c);
    n->recovered = n->cfg.incarnation > 1 && node_image_recover(n);
    return FL_OK;
}

/* --- both ----------------------------------------------------------------------------------- */

static int make_common(struct emu_node *n, struct fl_errmsg *err)
{
    n->ev_cap = EVENTS_CAP;
    n->gate_cap = GATES_CAP;
    n->events = calloc(n->ev_cap, sizeof *n->events);
    n->gates = calloc(n->gate_cap, sizeof *n->gates);
    if (n->cfg.oracles) {
        n->oracle = oracle_new(n->cfg.plan, n->cfg.self, n->trk);
        if (n->oracle != NULL && n->cfg.record != NULL) {
            oracle_record(n->oracle, n->cfg.record);
        }
        if (n->oracle != NULL) {
            oracle_set_clock(n->oracle, n->cfg.loop.now_ns, n->cfg.loop.arg);
        }
    }
    if (n->events == NULL || n->gates == NULL || (n->cfg.oracles && n->oracle == NULL)) {
        return fl_fail(err, FL_ENOMEM, "no memory for node %s", n->pn->name);
    }
    for (int s = 0; s < FL_RNG_STREAMS; s++) {
        fl_rng_init(&n->rng[s], n->cfg.plan->seed, n->cfg.self, (enum fl_stream)s, 0);
    }
    n->woken_for_ns = FL_NEVER;
    n->queued_due_ns = FL_NEVER;
    return FL_OK;
}

int emu_node_new(const struct emu_node_cfg *cfg, struct emu_node **ret, struct fl_errmsg *err)
{
    struct emu_node *n = calloc(1, sizeof *n);
    int rc;

    if (n == NULL) {
        return fl_fail(err, FL_ENOMEM, "no memory for a node");
    }
    n->env.ops = &node_env_ops;
    n->cfg = *cfg;
    n->trk = cfg->tracker;
    n->pn = &cfg->plan->nodes[cfg->self];
    rc = make_common(n, err);
    if (rc == FL_OK) {
        rc = n->pn->role == PLAN_COMPUTE ? make_compute(n, err) : make_memory(n, err);
    }
    if (rc != FL_OK) {
        emu_node_free(&n);
        return rc;
    }
    *ret = n;
    return FL_OK;
}

void emu_node_free(struct emu_node **pn)
{
    struct emu_node *n = pn != NULL ? *pn : NULL;

    if (n == NULL) {
        return;
    }
    if (n->port != NULL) {
        n->port->ops->close(&n->port);
    }
    oracle_free(&n->oracle);
    if (n->trk != NULL) {
        n->trk->ops->free(&n->trk);
    }
    for (unsigned r = 0; r < PLAN_REGIONS_MAX; r++) {
        if (n->sampled_bits[r] != NULL) {
            fl_zeroed_free(n->sampled_bits[r],
                           n->cfg.plan->regions[r].size_bytes / FL_PAGE_BYTES / 8 + 1);
        }
    }
    for (uint32_t i = 0; i < n->ev_count; i++) {
        const struct fl_event *ev = &n->events[(n->ev_head + i) & (n->ev_cap - 1)];

        free((void *)(uintptr_t)ev->msg);
    }
    for (uint32_t i = 0; i < n->batch_count; i++) {
        free(n->batches[i].bytes);
    }
    fl_zeroed_free(n->core_mem, n->core_bytes);
    if (n->cfg.image == NULL) {
        fl_zeroed_free(n->pool, n->pool_bytes);
    }
    fl_zeroed_free(n->bufs, (size_t)n->buf_count * FL_PAGE_BYTES);
    free(n->batches);
    free(n->calls);
    free(n->sampled);
    free(n->ops);
    free(n->flights);
    free(n->spans);
    free(n->gates);
    free(n->events);
    free(n);
    *pn = NULL;
}

int emu_node_attach(struct emu_node *n, struct tp_port *port, struct fl_errmsg *err)
{
    n->port = port;
    if (n->wb != NULL) {
        return port->ops->reg(port, n->bufs, (size_t)n->buf_count * FL_PAGE_BYTES, err);
    }
    return port->ops->expose(port, n->pool, n->pool_bytes, err);
}

void *emu_node_region_base(struct emu_node *n, uint16_t region)
{
    return n->bases[region];
}

struct coh_tracker *emu_node_tracker(struct emu_node *n)
{
    return n->trk;
}

struct oracle *emu_node_oracle(struct emu_node *n)
{
    return n->oracle;
}

struct tp_port *emu_node_port(struct emu_node *n)
{
    return n->port;
}

uint16_t emu_node_id(const struct emu_node *n)
{
    return n->cfg.self;
}

const struct wb *emu_node_wb(const struct emu_node *n)
{
    return n->wb;
}

bool emu_node_quiescent(const struct emu_node *n)
{
    return n->ev_count == 0 && n->gate_count == 0 && n->span_count == 0 &&
           (n->wb == NULL || wb_quiescent(n->wb));
}

const uint8_t *emu_node_chunk(const struct emu_node *n, uint16_t chunk, uint32_t *ret_pages)
{
    if (n->pool == NULL || chunk >= MN_CHUNKS_MAX || n->chunk_pages[chunk] == 0) {
        return NULL;
    }
    *ret_pages = n->chunk_pages[chunk];
    return n->pool + n->chunk_off[chunk];
}

uint64_t emu_node_site_count(const struct emu_node *n, enum fl_site s)
{
    return n->site_counts[s];
}

/* --- figures -------------------------------------------------------------------------------- */

typedef void metric_fn(void *arg, const char *name, double value);

static void wb_metrics(struct emu_node *n, metric_fn *fn, void *arg)
{
    const struct wb_stats *s = wb_stats(n->wb);
    uint64_t lost = 0;
#define M(field) fn(arg, #field, (double)s->field)
    M(pages_fetched);
    M(refetched);
    M(misses);
    M(evictions);
    M(evictions_dirty);
    M(lines_dirtied);
    M(pages_flushed);
    M(pages_flushed_whole);
    M(lines_sent);
    M(bytes_sent);
    M(acks);
    M(flush_errors);
    M(fences);
    M(fence_failures);
    M(coarsened);
    M(dclb_overflows);
    M(dclb_max);
    M(cached_max);
    M(periods);
    M(log_batches);
    M(backpressure_waits);
    M(map_refusals);
    M(slots_refused);
#undef M
    for (uint16_t r = 0; r < n->cfg.plan->region_count; r++) {
        lost += n->cfg.plan->regions[r].on == n->cfg.self ? wb_lost_lines(n->wb, r) : 0;
    }
    fn(arg, "lost_lines", (double)lost);
    fn(arg, "bytes_page_grain", (double)n->page_grain_bytes);
    fn(arg, "miss_ns_p50", (double)node_latency_quantile(n, 0.5));
    fn(arg, "miss_ns_p99", (double)node_latency_quantile(n, 0.99));
}

static void trk_metrics(struct emu_node *n, metric_fn *fn, void *arg)
{
    struct coh_stats s;

    n->trk->ops->stats(n->trk, &s);
    fn(arg, "traps", (double)s.traps);
    fn(arg, "local_dirty", (double)s.local_dirty);
    fn(arg, "resident_pages_max", (double)s.resident_pages_max);
    fn(arg, "mappings", (double)s.mappings);
    fn(arg, "twins_max", (double)s.twins_max);
}

static void mn_metrics(struct emu_node *n, metric_fn *fn, void *arg)
{
    const struct mn_stats *s = mn_stats(n->mn);

    fn(arg, "leases", (double)s->opens);
    fn(arg, "leases_refused", (double)s->refused);
    fn(arg, "batches", (double)s->batches);
    fn(arg, "stale_entries", (double)s->stale);
    fn(arg, "batches_completed", (double)n->recovered);
}

static void port_metrics(struct emu_node *n, metric_fn *fn, void *arg)
{
    struct tp_ledger l = {0};

    if (n->port == NULL) {
        return;
    }
    n->port->ops->ledger(n->port, &l);
    fn(arg, "write_ops", (double)l.write_ops);
    fn(arg, "write_bytes", (double)l.write_bytes);
    fn(arg, "read_ops", (double)l.read_ops);
    fn(arg, "read_bytes", (double)l.read_bytes);
    fn(arg, "msg_sent", (double)l.msg_sent);
    fn(arg, "header_bytes", (double)(l.msg_bytes - l.msg_payload_bytes));
    fn(arg, "bytes_posted", (double)(l.write_bytes + l.msg_payload_bytes));
    fn(arg, "bytes_arrived", (double)(l.rx_announced_bytes + l.rx_msg_payload_bytes));
    fn(arg, "op_errors", (double)l.errors);
    fn(arg, "op_timeouts", (double)l.timeouts);
    fn(arg, "wakeups", (double)l.wakeups);
    if (n->wb != NULL && n->oracle != NULL && !n->bytes_checked) {
        n->bytes_checked = true;
        oracle_on_bytes(n->oracle, l.write_bytes + l.msg_payload_bytes,
                        wb_stats(n->wb)->bytes_sent);
    }
}

void emu_node_metrics(struct emu_node *n, metric_fn *fn, void *arg)
{
    if (n->wb != NULL) {
        wb_metrics(n, fn, arg);
        trk_metrics(n, fn, arg);
    } else {
        mn_metrics(n, fn, arg);
    }
    fn(arg, "core_steps", (double)n->steps);
    port_metrics(n, fn, arg);
}
