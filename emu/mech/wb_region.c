/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: leases, period, close gate and drain, quiesce (row W-r10, W1, W6). */
#include "emu/mech/wb_priv.h"

static uint16_t all_chunks(const struct wb *w, uint16_t region)
{
    return (uint16_t)((1u << w->cfg.regions[region].chunk_count) - 1);
}

static void send_one(struct wb *w, struct fl_env *e, uint16_t region, uint16_t c, uint64_t tag,
                     bool open)
{
    const struct wb_chunk_cfg *ch = &w->cfg.regions[region].chunks[c];
    struct fl_msg m = {.type = open ? FL_MSG_OPEN_REQ : FL_MSG_CLOSE_REQ,
                       .chunk = ch->chunk,
                       .region = region,
                       .count = open ? ch->page_count : 0,
                       .epoch = w->regions[region].epoch,
                       .a = w->regions[region].epoch};

    fl_send(e, ch->node, &m, tag);
}

void wb_ctl_send(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    for (uint16_t c = 0; rg->unsent != 0 && c < w->cfg.regions[region].chunk_count; c++) {
        if (((rg->unsent >> c) & 1) == 0 || wb_nd(w, rg->chunk_node[c])->state == WB_N_FENCING) {
            continue;
        }
        rg->unsent = (uint16_t)(rg->unsent & ~(1u << c));
        send_one(w, e, region, c, wb_tag(WB_T_SEND_CTL, c, region), rg->state == WB_OPENING);
    }
}

/* --- open ------------------------------------------------------------------------------------ */

void wb_on_open(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    struct wb_region *rg;

    if (ev->region >= w->cfg.region_count || w->cfg.regions[ev->region].page_count == 0) {
        fl_resume(e, ev->ticket, FL_EINVAL);
        return;
    }
    rg = &w->regions[ev->region];
    if (rg->state != WB_CLOSED) {
        fl_resume(e, ev->ticket, rg->state == WB_FAILED ? rg->error : FL_EAGAIN);
        return;
    }
    wb_region_row(w, ev->region, WB_R10);
    rg->ticket = ev->ticket;
    rg->epoch = (rg->epoch == 0 ? w->cfg.regions[ev->region].lease_epoch : rg->epoch + 1);
    rg->error = FL_OK;
    rg->flags = 0;
    rg->chunk_lost = 0;
    rg->pending = rg->unsent = all_chunks(w, ev->region);
    fl_timer(e, wb_tag(WB_T_CTL, 0, ev->region), w->cfg.regions[ev->region].close_deadline_ns);
    wb_ctl_send(w, e, ev->region);
    for (uint32_t n = 0; n < w->node_count; n++) {
        wb_on_fence_again(w, e, n); /* nobody asked while no region was in use */
    }
}

/* Leases that were granted, or still may be, are given back; nobody waits for the answers. */
static void release_leases(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    for (uint16_t c = 0; c < w->cfg.regions[region].chunk_count; c++) {
        if (((rg->unsent >> c) & 1) == 0 && wb_nd(w, rg->chunk_node[c])->state == WB_N_UP) {
            send_one(w, e, region, c, wb_tag(WB_T_FORGET, 0, 0), false);
        }
    }
    rg->pending = rg->unsent = 0;
}

static void open_failed(struct wb *w, struct fl_env *e, uint16_t region, int status)
{
    struct wb_region *rg = &w->regions[region];

    fl_timer(e, wb_tag(WB_T_CTL, 0, region), FL_NEVER);
    release_leases(w, e, region);
    rg->error = status;
    wb_region_row(w, region, WB_R10B);
    fl_resume(e, rg->ticket, status);
}

static void open_granted(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    fl_timer(e, wb_tag(WB_T_CTL, 0, region), FL_NEVER);
    wb_region_row(w, region, WB_R10A);
    fl_site(e, FL_SITE_REGION_OPEN, region, region, 0);
    fl_resume(e, rg->ticket, FL_OK);
}

/* --- period ---------------------------------------------------------------------------------- */

/* Armed only while something is dirty: an idle node sleeps. */
void wb_arm_period(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];
    uint64_t period_ns = w->cfg.regions[region].period_ns;

    if (rg->state == WB_OPEN && period_ns != FL_NEVER && !(rg->flags & WB_RF_TIMER)) {
        rg->flags |= WB_RF_TIMER;
        fl_timer(e, wb_tag(WB_T_PERIOD, 0, region), period_ns);
    }
}

bool wb_period_runs(const struct wb *w, uint16_t region)
{
    return (w->regions[region].flags & WB_RF_TIMER) != 0;
}

void wb_on_period(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    rg->flags &= (uint8_t)~WB_RF_TIMER;
    if (rg->state != WB_OPEN) {
        return;
    }
    rg->flags ^= wb_planted(w, FL_PLANT_NO_PERIOD) ? WB_RF_SKIP : 0;
    if (rg->flags & WB_RF_SKIP) {
        wb_arm_period(w, e, region);
        return;
    }
    w->stats.periods++;
    fl_site(e, FL_SITE_PERIOD, region, region, rg->dirty_pages);
    wb_q_splice(w, wb_head(w, WB_H_DUE), wb_head_dirty(w, region));
    if (rg->inflight > 0) { /* what got dirty in flight follows as soon as it is answered: W6 */
        rg->flags |= WB_RF_LATE;
    }
}

/* --- close ----------------------------------------------------------------------------------- */

void wb_on_close(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    struct wb_region *rg;

    if (ev->region >= w->cfg.region_count || w->regions[ev->region].state != WB_OPEN) {
        fl_resume(e, ev->ticket, ev->region >= w->cfg.region_count ? FL_EINVAL : FL_ECLOSED);
        return;
    }
    rg = &w->regions[ev->region];
    wb_region_row(w, ev->region, WB_R10C);
    fl_site(e, FL_SITE_REGION_CLOSING, ev->region, ev->region, 0);
    rg->ticket = ev->ticket;
    rg->cursor = wb_pg(w, wb_head(w, WB_H_LRU))->lru_next;
    if (rg->flags & WB_RF_TIMER) {
        fl_timer(e, wb_tag(WB_T_PERIOD, 0, ev->region), FL_NEVER);
    }
    rg->flags = 0;
    wb_fail_waiting(w, e, ev->region, false, FL_ECLOSED);
    fl_timer(e, wb_tag(WB_T_CTL, 0, ev->region), w->cfg.regions[ev->region].close_deadline_ns);
}

static void close_done(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    fl_timer(e, wb_tag(WB_T_CTL, 0, region), FL_NEVER);
    rg->pending = rg->unsent = 0;
    rg->flags = 0;
    wb_region_row(w, region, rg->error == FL_OK ? WB_R10D : WB_R10E);
    fl_site(e, FL_SITE_REGION_CLOSED, region, region, (uint64_t)(int64_t)rg->error);
    fl_resume(e, rg->ticket, rg->error);
}

/* Pages of the region leave one after the other, from the front of the list of victims. */
static void close_walk(struct wb *w, struct fl_env *e, uint16_t region, uint32_t *budget)
{
    struct wb_region *rg = &w->regions[region];
    uint32_t head = wb_head(w, WB_H_LRU);

    if (w->evicting > WB_EVICT_WINDOW - WB_GROUP_MAX) {
        return; /* until there is room for a group of neighbours */
    }
    while (rg->cursor != head && *budget > 0 && w->evicting < WB_EVICT_WINDOW) {
        uint32_t idx = rg->cursor;

        rg->cursor = wb_pg(w, idx)->lru_next;
        if (wb_at(w, idx).region == region) {
            wb_evict(w, e, idx, false);
        }
        --*budget;
    }
    w->more |= rg->cursor != head && *budget == 0;
}

static bool drained(const struct wb *w, const struct wb_region *rg)
{
    if (wb_planted(w, FL_PLANT_CLOSE_EARLY) && rg->dirty_pages == rg->lost_pages &&
        rg->inflight > 0) {
        return true;
    }
    return rg->busy == rg->lost_pages;
}

static void close_step(struct wb *w, struct fl_env *e, uint16_t region, uint32_t *budget)
{
    struct wb_region *rg = &w->regions[region];

    if (!(rg->flags & WB_RF_RELEASING)) {
        close_walk(w, e, region, budget);
        if (rg->cursor != wb_head(w, WB_H_LRU) || !drained(w, rg)) {
            return;
        }
        rg->flags |= WB_RF_RELEASING;
        if (rg->error == FL_ETIMEDOUT) { /* the time is up: no more waiting for answers */
            release_leases(w, e, region);
        } else {
            rg->pending = rg->unsent = (uint16_t)(all_chunks(w, region) & ~rg->chunk_lost);
            wb_ctl_send(w, e, region);
        }
    }
    /* The plant waits for no answer at all: a peer's often come in the order of the requests. */
    if (rg->pending == 0 || wb_planted(w, FL_PLANT_CLOSE_EARLY)) {
        close_done(w, e, region);
    }
}

/* --- answers --------------------------------------------------------------------------------- */

void wb_on_ctl_sent(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint16_t region = (uint16_t)wb_tag_lo(tag);
    uint16_t bit = (uint16_t)(1u << wb_tag_hi(tag));
    struct wb_region *rg = &w->regions[region];

    if (status == FL_OK || (rg->pending & bit) == 0) {
        return;
    }
    if (status == FL_EAGAIN) {
        rg->unsent |= bit;
    } else if (rg->state == WB_OPENING) {
        open_failed(w, e, region, status);
    } else {
        rg->error = rg->error == FL_OK ? status : rg->error;
        rg->pending = (uint16_t)(rg->pending & ~bit);
    }
}

void wb_on_ctl_msg(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    const struct fl_msg *m = ev->msg;
    bool open = m->type == FL_MSG_OPEN_ACK;
    struct wb_region *rg;

    if (m->region >= w->cfg.region_count) {
        return;
    }
    rg = &w->regions[m->region];
    if (m->a != rg->epoch || rg->state != (open ? WB_OPENING : WB_CLOSING)) {
        return;
    }
    for (uint16_t c = 0; c < w->cfg.regions[m->region].chunk_count; c++) {
        const struct wb_chunk_cfg *ch = &w->cfg.regions[m->region].chunks[c];

        if (ch->node != ev->node || ch->chunk != m->chunk || ((rg->pending >> c) & 1) == 0) {
            continue;
        }
        if (open && m->status != FL_OK) {
            open_failed(w, e, m->region, m->status);
            return;
        }
        /* close: a lease that is not ours any more is released all the same */
        rg->pending = (uint16_t)(rg->pending & ~(1u << c));
        if (open && rg->pending == 0) {
            open_granted(w, e, m->region);
        }
        return;
    }
}

void wb_on_ctl_timer(struct wb *w, struct fl_env *e, uint16_t region)
{
    struct wb_region *rg = &w->regions[region];

    if (rg->state == WB_OPENING) {
        open_failed(w, e, region, FL_ETIMEDOUT);
    } else if (rg->state == WB_CLOSING) {
        rg->error = rg->error == FL_OK ? FL_ETIMEDOUT : rg->error;
        if (rg->flags & WB_RF_RELEASING) {
            rg->pending = 0;
            return;
        }
        /* What is not acknowledged by now is lost. Operations in flight end by their own
         * deadlines, what waits for a fence or a buffer is counted as it comes by. That takes a
         * buffer each: where a fault keeps all of them back, those kept for this are used. */
        w->full = 0;
        rg->chunk_lost = all_chunks(w, region);
        for (uint32_t n = 0; n < w->node_count; n++) {
            wb_q_splice(w, wb_head(w, WB_H_URGENT), wb_head_node(w, n, WB_NH_FLUSH));
        }
    }
}

void wb_regions_lose(struct wb *w, struct fl_env *e, uint32_t node, int status)
{
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        struct wb_region *rg = &w->regions[r];
        uint16_t lost = 0;

        for (uint16_t c = 0; c < w->cfg.regions[r].chunk_count; c++) {
            if (w->cfg.regions[r].page_count > 0 && rg->chunk_node[c] == node) {
                lost = (uint16_t)(lost | 1u << c);
            }
        }
        if (lost == 0 || rg->state == WB_CLOSED || rg->state == WB_FAILED) {
            continue;
        }
        if (rg->state == WB_OPENING) {
            open_failed(w, e, r, status);
            continue;
        }
        rg->chunk_lost |= lost;
        rg->error = rg->error == FL_OK ? status : rg->error;
        rg->pending = (uint16_t)(rg->pending & ~lost);
        rg->unsent = (uint16_t)(rg->unsent & ~lost);
        wb_fail_waiting(w, e, r, true, status);
        wb_q_splice(w, wb_head(w, WB_H_DUE), wb_head_dirty(w, r)); /* counted now, not later */
    }
}

/* --- quiesce, and the regions' share of every step -------------------------------------------- */

void wb_on_admin(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    if (ev->a == FL_ADMIN_SLOTS) {
        w->full = ev->b != 0;
        return;
    }
    if (ev->a != FL_ADMIN_QUIESCE) {
        fl_resume(e, ev->ticket, FL_ENOSYS);
        return;
    }
    if (w->quiesce != 0) {
        fl_resume(e, ev->ticket, FL_EAGAIN);
        return;
    }
    w->quiesce = ev->ticket + 1;
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        wb_q_splice(w, wb_head(w, WB_H_DUE), wb_head_dirty(w, r));
    }
}

void wb_pump_regions(struct wb *w, struct fl_env *e, uint32_t *budget)
{
    for (uint16_t r = 0; w->closing > 0 && r < w->cfg.region_count; r++) {
        if (w->regions[r].state == WB_CLOSING) {
            close_step(w, e, r, budget);
        }
    }
    if (w->quiesce != 0 && wb_quiescent(w)) {
        uint32_t ticket = w->quiesce - 1;

        w->quiesce = 0;
        fl_resume(e, ticket, FL_OK);
    }
}
