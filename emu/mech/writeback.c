/* SPDX-License-Identifier: Apache-2.0 */
/* Mechanism W, the device: configuration, the one entry point, and figures. */
#include "emu/mech/writeback.h"

#include <string.h>

#include "emu/mech/wb_priv.h"

static int check_chunks(const struct wb_region_cfg *r, uint16_t n, struct fl_errmsg *err)
{
    uint64_t pages = 0;

    if (r->chunk_count < 1 || r->chunk_count > WB_CHUNKS_MAX) {
        return fl_fail(err, FL_EINVAL, "regions[%u].chunk_count: %u; allowed are 1 to %d", n,
                       r->chunk_count, WB_CHUNKS_MAX);
    }
    for (uint16_t c = 0; c < r->chunk_count; c++) {
        if (r->chunks[c].node >= WB_NODES_MAX) {
            return fl_fail(err, FL_EINVAL,
                           "regions[%u].chunks[%u].node: %u; give an index below %d", n, c,
                           r->chunks[c].node, WB_NODES_MAX);
        }
        if (r->chunks[c].page_count == 0) {
            return fl_fail(err, FL_EINVAL,
                           "regions[%u].chunks[%u].page_count: 0; leave out a chunk without pages",
                           n, c);
        }
        for (uint16_t d = 0; d < c; d++) {
            if (r->chunks[d].node == r->chunks[c].node &&
                r->chunks[d].chunk == r->chunks[c].chunk) {
                return fl_fail(err, FL_EINVAL,
                               "regions[%u].chunks[%u].chunk: the same as chunk %u; two parts of a "
                               "region need two chunks",
                               n, c, d);
            }
        }
        pages += r->chunks[c].page_count;
    }
    if (pages != r->page_count) {
        return fl_fail(
            err, FL_EINVAL,
            "regions[%u].page_count: %u, but its chunks have %llu pages; make them equal", n,
            r->page_count, (unsigned long long)pages);
    }
    return FL_OK;
}

static int check_region(const struct wb_region_cfg *r, uint16_t n, struct fl_errmsg *err)
{
    if (r->period_ns == 0) {
        return fl_fail(err, FL_EINVAL,
                       "regions[%u].period_ns: 0; give a time, or never to write back only on "
                       "eviction and close",
                       n);
    }
    if (r->op_deadline_ns == 0 || r->op_deadline_ns == FL_NEVER) {
        return fl_fail(err, FL_EINVAL,
                       "regions[%u].op_deadline_ns: every operation needs a deadline; give a time",
                       n);
    }
    if (r->close_deadline_ns == 0 || r->close_deadline_ns == FL_NEVER) {
        return fl_fail(err, FL_EINVAL,
                       "regions[%u].close_deadline_ns: close needs a deadline; give a time", n);
    }
    if (r->threshold_lines > FL_PAGE_LINES) {
        return fl_fail(err, FL_EINVAL,
                       "regions[%u].threshold_lines: %u; a page has %d lines, give 0 to %d", n,
                       r->threshold_lines, FL_PAGE_LINES, FL_PAGE_LINES);
    }
    if (r->path > WB_LOG) {
        return fl_fail(err, FL_EINVAL, "regions[%u].path: %u; direct is %d, log is %d", n, r->path,
                       WB_DIRECT, WB_LOG);
    }
    return check_chunks(r, n, err);
}

static int check_device(const struct wb_cfg *cfg, struct fl_errmsg *err)
{
    if (cfg->thread_count < 1 || cfg->thread_count > WB_THREADS_MAX) {
        return fl_fail(err, FL_EINVAL, "thread_count: %u; allowed are 1 to %d", cfg->thread_count,
                       WB_THREADS_MAX);
    }
    if (cfg->capacity_pages < (uint32_t)WB_PINS_PER_THREAD * cfg->thread_count) {
        return fl_fail(err, FL_EINVAL,
                       "capacity_pages: %u; %u threads need device memory of at least %u pages "
                       "(%d each), or they evict each other's pages without progress",
                       cfg->capacity_pages, cfg->thread_count,
                       (uint32_t)WB_PINS_PER_THREAD * cfg->thread_count, WB_PINS_PER_THREAD);
    }
    if (cfg->dclb_lines == 0) {
        return fl_fail(err, FL_EINVAL, "dclb_lines: 0; the dirty line buffer needs an entry");
    }
    if (cfg->buf_count < 4 || cfg->buf_count > WB_BUF_MAX) {
        return fl_fail(err, FL_EINVAL, "buf_count: %u; allowed are 4 to %d page buffers",
                       cfg->buf_count, WB_BUF_MAX);
    }
    if (cfg->log_batch_pages < 1 || cfg->log_batch_pages > FL_MSG_ENTRIES_MAX) {
        return fl_fail(err, FL_EINVAL, "log_batch_pages: %u; allowed are 1 to %d",
                       cfg->log_batch_pages, FL_MSG_ENTRIES_MAX);
    }
    if (cfg->retry_max == 0) {
        return fl_fail(err, FL_EINVAL,
                       "retry_max: 0; allow at least one fence before a node is lost");
    }
    if (cfg->evict > WB_CLOCK) {
        return fl_fail(err, FL_EINVAL, "evict: %u; lru is %d, clock is %d", cfg->evict, WB_LRU,
                       WB_CLOCK);
    }
    return FL_OK;
}

int wb_check(const struct wb_cfg *cfg, struct fl_errmsg *err)
{
    uint64_t pages = 0;
    int rc;

    if (cfg->region_count < 1 || cfg->region_count > WB_REGIONS_MAX) {
        return fl_fail(err, FL_EINVAL, "region_count: %u; allowed are 1 to %d", cfg->region_count,
                       WB_REGIONS_MAX);
    }
    rc = check_device(cfg, err);
    for (uint16_t r = 0; rc == FL_OK && r < cfg->region_count; r++) {
        pages += cfg->regions[r].page_count;
        if (cfg->regions[r].page_count > 0) {
            rc = check_region(&cfg->regions[r], r, err);
        }
    }
    if (rc == FL_OK && pages >= UINT32_MAX / 2) {
        return fl_fail(err, FL_EINVAL, "page_count: %llu pages in all regions; the limit is %u",
                       (unsigned long long)pages, UINT32_MAX / 2);
    }
    return rc;
}

/* Memory nodes that back regions, each once. */
static uint32_t collect_nodes(const struct wb_cfg *cfg,
                              uint16_t ids[WB_REGIONS_MAX * WB_CHUNKS_MAX])
{
    uint32_t n = 0;

    for (uint16_t r = 0; r < cfg->region_count; r++) {
        const struct wb_region_cfg *rc = &cfg->regions[r];

        for (uint16_t c = 0; rc->page_count > 0 && c < rc->chunk_count; c++) {
            uint32_t i = 0;

            while (i < n && ids[i] != rc->chunks[c].node) {
                i++;
            }
            ids[i] = rc->chunks[c].node;
            n = i == n ? n + 1 : n;
        }
    }
    return n;
}

struct layout {
    uint32_t pages, nodes;
    size_t off_nodes, off_bufs, off_pages, size;
};

static size_t align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static void layout(const struct wb_cfg *cfg, uint16_t *ids, struct layout *l)
{
    *l = (struct layout){.nodes = collect_nodes(cfg, ids)};
    for (uint16_t r = 0; r < cfg->region_count; r++) {
        l->pages += cfg->regions[r].page_count;
    }
    l->off_nodes = align64(sizeof(struct wb));
    l->off_bufs = align64(l->off_nodes + l->nodes * sizeof(struct wb_node));
    l->off_pages = align64(l->off_bufs + cfg->buf_count * sizeof(uint16_t));
    l->size = align64(l->off_pages + ((size_t)l->pages + WB_H_NODE + l->nodes * WB_NH_COUNT) *
                                         sizeof(struct wb_page));
}

size_t wb_size(const struct wb_cfg *cfg)
{
    uint16_t ids[WB_REGIONS_MAX * WB_CHUNKS_MAX];
    struct layout l;

    layout(cfg, ids, &l);
    return l.size;
}

struct wb *wb_init(void *mem, const struct wb_cfg *cfg)
{
    uint16_t ids[WB_REGIONS_MAX * WB_CHUNKS_MAX];
    struct wb *w = mem;
    struct layout l;
    uint32_t base = 0;

    FL_ASSERT(wb_check(cfg, NULL) == FL_OK);
    layout(cfg, ids, &l);
    w->cfg = *cfg;
    w->off_nodes = l.off_nodes;
    w->off_bufs = l.off_bufs;
    w->off_pages = l.off_pages;
    w->page_total = l.pages;
    w->node_count = l.nodes;
    for (uint32_t n = 0; n < l.nodes; n++) {
        wb_nd(w, n)->id = ids[n];
    }
    for (uint32_t h = l.pages; h < l.pages + WB_H_NODE + l.nodes * WB_NH_COUNT; h++) {
        struct wb_page *p = wb_pg(w, h);

        p->lru_prev = p->lru_next = p->q_prev = p->q_next = h;
    }
    for (uint32_t b = 0; b < cfg->buf_count; b++) {
        wb_buf_put(w, b);
    }
    for (uint16_t r = 0; r < cfg->region_count; r++) {
        w->regions[r].base = base;
        base += cfg->regions[r].page_count;
        for (uint16_t c = 0; c < cfg->regions[r].chunk_count && cfg->regions[r].page_count > 0;
             c++) {
            w->regions[r].chunk_node[c] = (uint16_t)wb_node_find(w, cfg->regions[r].chunks[c].node);
        }
    }
    return w;
}

/* Everything that became possible by this event, a bounded amount of it. */
static void pump(struct wb *w, struct fl_env *e)
{
    uint32_t budget = WB_STEP_MAX;

    w->more = 0;
    wb_pump_regions(w, e, &budget);
    wb_pump_refused(w, e);
    wb_pump_frames(w, e, &budget);
    wb_pump_fetch(w, e, &budget);
    wb_pump_evict(w, e);
    wb_pump_due(w, e, &budget);
    wb_pump_log(w, e);
    wb_pump_regions(w, e, &budget);
    if (w->more || budget == 0) {
        fl_timer(e, wb_tag(WB_T_GO_ON, 0, 0), 0);
    }
}

static void on_timer(struct wb *w, struct fl_env *e, uint64_t tag)
{
    switch (wb_tag_kind(tag)) {
    case WB_T_PERIOD:
        wb_on_period(w, e, (uint16_t)wb_tag_lo(tag));
        break;
    case WB_T_CTL:
        wb_on_ctl_timer(w, e, (uint16_t)wb_tag_lo(tag));
        break;
    case WB_T_BATCH:
        wb_on_log_timer(w, e, tag);
        break;
    case WB_T_RETRY:
        w->paused = 0;
        wb_serve_all(w, e);
        break;
    case WB_T_FENCE_AGAIN:
        wb_on_fence_again(w, e, wb_tag_lo(tag));
        break;
    default: /* WB_T_GO_ON: the pump runs after every event */
        break;
    }
}

static void on_done(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    switch (wb_tag_kind(tag)) {
    case WB_T_READ:
        wb_on_read(w, e, tag, status);
        break;
    case WB_T_WRITE:
        wb_on_write(w, e, tag, status);
        break;
    case WB_T_FENCE:
        wb_on_fence(w, e, tag, status);
        break;
    case WB_T_SEND_LOG:
        wb_on_log_sent(w, e, tag, status);
        break;
    case WB_T_SEND_CTL:
        wb_on_ctl_sent(w, e, tag, status);
        break;
    default:
        break;
    }
}

/* Bytes from a peer: what does not fit is ignored. */
static void on_msg(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    int n = wb_node_find(w, ev->node);

    if (n < 0) {
        return;
    }
    switch (ev->msg->type) {
    case FL_MSG_OPEN_ACK:
    case FL_MSG_CLOSE_ACK:
        wb_on_ctl_msg(w, e, ev);
        break;
    case FL_MSG_LOG_ACK:
        wb_on_log_ack(w, e, (uint32_t)n, ev->msg->seq, ev->msg->status);
        break;
    default:
        break;
    }
}

static void on_credit(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    int n = wb_node_find(w, ev->node);

    if (n < 0) {
        return;
    }
    wb_log_credit(w, e, (uint32_t)n);
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        wb_ctl_send(w, e, r);
    }
}

void wb_step(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    switch (ev->kind) {
    case FL_EV_TIMER:
        on_timer(w, e, ev->tag);
        break;
    case FL_EV_MSG:
        on_msg(w, e, ev);
        break;
    case FL_EV_DONE:
        on_done(w, e, ev->tag, ev->status);
        break;
    case FL_EV_CREDIT:
        on_credit(w, e, ev);
        break;
    case FL_EV_PEER_UP:
        wb_on_peer_up(w, e, ev);
        break;
    case FL_EV_PEER_DOWN:
        wb_on_peer_down(w, e, ev);
        break;
    case FL_EV_MISS:
        wb_on_miss(w, e, ev);
        break;
    case FL_EV_DIRTY:
        wb_on_dirty(w, e, ev);
        break;
    case FL_EV_GATED:
        if (wb_tag_kind(ev->tag) == WB_T_GATE_UP) {
            wb_on_gate_up(w, e, ev->tag, ev->status);
        } else {
            wb_on_gate_down(w, e, ev->tag, ev->status);
        }
        break;
    case FL_EV_MAPPED:
        wb_on_mapped(w, e, ev->tag, ev->status);
        break;
    case FL_EV_OPEN:
        wb_on_open(w, e, ev);
        break;
    case FL_EV_CLOSE:
        wb_on_close(w, e, ev);
        break;
    case FL_EV_PRESSURE:
        w->pressure += ev->a;
        break;
    case FL_EV_ADMIN:
        wb_on_admin(w, e, ev);
        break;
    default: /* START and events of other mechanisms */
        break;
    }
    pump(w, e);
}

const struct wb_stats *wb_stats(const struct wb *w)
{
    return &w->stats;
}

enum wb_region_state wb_region_state(const struct wb *w, uint16_t region)
{
    return region < w->cfg.region_count ? (enum wb_region_state)w->regions[region].state
                                        : WB_CLOSED;
}

enum wb_page_state wb_page_state(const struct wb *w, uint16_t region, uint32_t page)
{
    if (region >= w->cfg.region_count || page >= w->cfg.regions[region].page_count) {
        return WB_NOT_CACHED;
    }
    return (enum wb_page_state)wb_pg((struct wb *)(uintptr_t)w, w->regions[region].base + page)
        ->state;
}

uint64_t wb_lost_lines(const struct wb *w, uint16_t region)
{
    return region < w->cfg.region_count ? w->regions[region].lost_lines : 0;
}

bool wb_quiescent(const struct wb *w)
{
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        const struct wb_region *rg = &w->regions[r];

        if (rg->dirty_pages > rg->lost_pages || rg->inflight > 0 || rg->state == WB_OPENING ||
            rg->state == WB_CLOSING) {
            return false;
        }
    }
    for (uint16_t t = 0; t < w->cfg.thread_count; t++) {
        if (w->threads[t].page != 0) {
            return false;
        }
    }
    for (uint32_t n = 0; n < w->node_count; n++) {
        if (wb_nd((struct wb *)(uintptr_t)w, n)->state == WB_N_FENCING) {
            return false;
        }
    }
    return w->gating == 0 && w->evicting == 0 && w->granting == 0 && w->wanting == 0;
}

struct fl_slot wb_slot(const struct wb_cfg *cfg, uint16_t region, uint32_t page)
{
    const struct wb_region_cfg *r = &cfg->regions[region];
    uint16_t c = 0;

    while (c + 1 < r->chunk_count && page >= r->chunks[c].page_count) {
        page -= r->chunks[c].page_count;
        c++;
    }
    return (struct fl_slot){.node = r->chunks[c].node, .chunk = r->chunks[c].chunk, .page = page};
}
