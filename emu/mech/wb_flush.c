/* SPDX-License-Identifier: Apache-2.0 */
/* Write-back of dirty lines: gate, snapshot, clear, send, retire (rows W-r4 to W-r8). */
#include "emu/mech/wb_priv.h"

/* May neighbour @i be gated by the same call as a page that leaves (@evict) or stays? */
static bool joins(struct wb *w, uint32_t i, uint16_t region, unsigned evict, uint32_t *spare)
{
    const struct wb_region *rg = &w->regions[region];
    struct wb_page *p;
    struct wb_at at;

    if (i < rg->base || i - rg->base >= w->cfg.regions[region].page_count) {
        return false;
    }
    p = wb_pg(w, i);
    if ((p->q != WB_Q_DUE && p->q != WB_Q_DIRTY) || wb_has(p, WB_F_GATE | WB_F_MAP) ||
        (p->flags & WB_F_EVICT) != evict || wb_prot(p) == FL_PROT_NONE || p->step != WB_S_IDLE) {
        return false;
    }
    if (!wb_is_dirty(p)) {
        return evict != 0;
    }
    at = wb_at(w, i);
    if (*spare == 0 || (!wb_lost(w, &at) && wb_nd(w, at.node)->state == WB_N_FENCING)) {
        return false;
    }
    --*spare;
    return true;
}

static void gate_down(struct wb *w, struct fl_env *e, uint16_t region, uint32_t first,
                      uint32_t count, enum fl_prot prot)
{
    uint32_t base = w->regions[region].base;

    for (uint32_t i = first; i < first + count; i++) {
        struct wb_page *p = wb_pg(w, i);

        wb_q_remove(w, i);
        wb_set(p, WB_F_GATE);
        wb_clr(p, WB_F_WAS_CLEAN);
        if (wb_is_dirty(p)) {
            FL_ASSERT(wb_buf_take(w, p));
            fl_site(e, FL_SITE_FLUSH_GATE, region, i - base, 0);
        } else {
            wb_set(p, WB_F_WAS_CLEAN);
        }
    }
    w->gating += count;
    fl_gate(e, region, first - base, count, prot,
            wb_tag(WB_T_GATE_DOWN, count << 2 | (uint32_t)prot, first));
}

/* Gates @idx, and due neighbours with it, by one call. @spare: buffers beyond the one of @idx. */
static uint32_t gate_group(struct wb *w, struct fl_env *e, uint32_t idx, uint32_t spare)
{
    uint16_t region = wb_at(w, idx).region;
    unsigned evict = wb_pg(w, idx)->flags & WB_F_EVICT;
    uint32_t first = idx, last = idx;

    while (last - first < WB_GROUP_MAX - 1 && joins(w, first - 1, region, evict, &spare)) {
        first--;
    }
    while (last - first < WB_GROUP_MAX - 1 && joins(w, last + 1, region, evict, &spare)) {
        last++;
    }
    gate_down(w, e, region, first, last - first + 1, evict ? FL_PROT_NONE : FL_PROT_READ);
    return last - first + 1;
}

fl_mask wb_sent_mask(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);
    fl_mask m = p->inflight;

    w->stats.pages_flushed++;
    w->stats.pages_flushed_whole += wb_has(p, WB_F_WHOLE);
    w->stats.lines_sent += fl_mask_count(m);
    w->stats.bytes_sent += (uint64_t)fl_mask_count(m) * FL_LINE_BYTES;
    if (wb_planted(w, FL_PLANT_MISCOUNT)) {
        w->stats.bytes_sent += FL_LINE_BYTES;
    }
    fl_site(e, FL_SITE_FLUSH_POST, at.region, at.page, fl_mask_count(m));
    return wb_planted(w, FL_PLANT_SEND_CLEAN) ? m | m << 1 : m;
}

void wb_unsent(struct wb *w, uint32_t idx)
{
    const struct wb_page *p = wb_pg(w, idx);
    uint64_t lines = fl_mask_count(p->inflight);

    w->stats.pages_flushed--;
    w->stats.pages_flushed_whole -= wb_has(p, WB_F_WHOLE);
    w->stats.lines_sent -= lines;
    w->stats.bytes_sent -= lines * FL_LINE_BYTES;
}

static void post_direct(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);
    uint32_t buf = p->buf - 1u;
    bool urgent = wb_has(p, WB_F_EVICT) && w->regions[at.region].state == WB_OPEN;
    struct fl_rma op = {.tag = wb_tag(WB_T_WRITE, buf, idx),
                        .slot = wb_slot_of(w, idx),
                        .region = at.region,
                        .cls = urgent ? FL_NORMAL : FL_BULK,
                        .whole = wb_has(p, WB_F_WHOLE),
                        .page = at.page,
                        .buf = buf,
                        .mask = wb_sent_mask(w, e, idx),
                        .seq = p->seq,
                        .deadline_ns = w->cfg.regions[at.region].op_deadline_ns};

    p->step = WB_S_POSTED;
    w->posted++;
    fl_rma_write(e, &op);
    if (wb_planted(w, FL_PLANT_LOCAL_ACK) ||
        (wb_planted(w, FL_PLANT_DROP_UNACKED) && wb_has(p, WB_F_EVICT))) {
        p->buf = 0; /* given back when the answer comes */
        wb_retire(w, e, idx);
    }
}

/* The page's node is lost: its lines stay dirty for good and are counted. */
static void lose(struct wb *w, struct fl_env *e, uint32_t idx, fl_mask lines)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_region *rg = &w->regions[wb_at(w, idx).region];
    fl_mask before = wb_has(p, WB_F_LOST) ? p->inflight : 0;

    rg->lost_lines += fl_mask_count(lines & ~before);
    rg->lost_pages += !wb_has(p, WB_F_LOST);
    wb_dclb_clear(w, p);
    p->inflight = lines;
    wb_set(p, WB_F_LOST | WB_F_RETAINED);
    wb_buf_release(w, p);
    if (wb_has(p, WB_F_EVICT)) {
        wb_revive(w, idx);
    }
    wb_serve(w, e, idx);
}

/* Nothing to send: W-r4a. A page dirty as a whole comes here by a planted bug only. */
static void found_clean(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    wb_buf_release(w, p);
    p->inflight = 0;
    wb_clr(p, WB_F_WHOLE);
    wb_row(w, idx, p->state == WB_DIRTY ? WB_R4A : WB_R9B);
    wb_serve(w, e, idx);
    wb_settle(w, e, idx);
}

static fl_mask first_lines(fl_mask m, unsigned n)
{
    fl_mask out = 0;

    for (; n > 0 && m != 0; n--) {
        out |= m & (~m + 1);
        m &= m - 1;
    }
    return out;
}

/* The page is shut for stores and its buffer is there. Everything that made it dirty is in the
 * snapshot, so the dirty state is cleared before anything is sent: a store from here on counts for
 * the next write-back. */
static void snap_and_send(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);
    unsigned threshold = w->cfg.regions[at.region].threshold_lines;
    fl_mask m = fl_snap(e, at.region, at.page, p->buf - 1u);

    w->stats.lines_dirtied += fl_mask_count(m);
    if (wb_has(p, WB_F_ENTRY_LOST)) {
        m &= p->dirty;
        wb_clr(p, WB_F_ENTRY_LOST);
    }
    m |= wb_has(p, WB_F_RETAINED) ? p->inflight : 0;
    wb_dclb_clear(w, p);
    p->step = WB_S_IDLE;
    fl_site(e, FL_SITE_SNAP, at.region, at.page, fl_mask_count(m));
    if (p->state == WB_DIRTY && m == 0) {
        found_clean(w, e, idx);
        return;
    }
    if (wb_lost(w, &at)) {
        lose(w, e, idx, m);
        return;
    }
    if (p->state == WB_DIRTY && fl_mask_count(m) > threshold) {
        wb_coarsen(w, e, idx, fl_mask_count(m));
    }
    wb_clr(p, WB_F_RETAINED | WB_F_WHOLE);
    p->inflight = m;
    if (p->state == WB_PAGE_DIRTY) {
        wb_set(p, WB_F_WHOLE);
        p->inflight =
            wb_planted(w, FL_PLANT_COARSE_LINES) ? first_lines(m, threshold) : FL_MASK_ALL;
    }
    if (p->inflight == 0) { /* planted, and T = 0: not one line is left */
        found_clean(w, e, idx);
        return;
    }
    p->seq++;
    wb_row(w, idx, p->state == WB_DIRTY ? WB_R4 : WB_R5);
    w->regions[at.region].inflight++;
    if (w->cfg.regions[at.region].path == WB_LOG) {
        wb_log_queue(w, idx, at.node);
    } else if (wb_nd(w, at.node)->state == WB_N_FENCING) {
        /* The fence began while the gate was on its way. The lines are kept: the page may open for
         * stores again, which makes it a new twin. */
        wb_buf_release(w, p);
        wb_flush_failed(w, e, idx, FL_EFENCED);
        return;
    } else {
        post_direct(w, e, idx);
    }
    wb_serve(w, e, idx);
}

/* The page's protection was lowered. */
static void lowered(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    if (!wb_is_dirty(p)) {
        wb_buf_release(w, p);
        wb_serve(w, e, idx);
        wb_settle(w, e, idx);
    } else if (wb_planted(w, FL_PLANT_DROP_BUSY) && wb_has(p, WB_F_WAS_CLEAN)) {
        wb_dclb_clear(w, p); /* was clean when it was chosen: nobody asks again */
        if (p->state == WB_PAGE_DIRTY) {
            wb_row(w, idx, WB_R9B);
        } else {
            wb_row(w, idx, WB_R4A);
        }
        wb_settle(w, e, idx);
    } else if (p->buf != 0 || wb_buf_take(w, p)) {
        snap_and_send(w, e, idx);
    } else {
        p->step = WB_S_SHUT;
        wb_q_push(w, wb_head(w, WB_H_URGENT), idx, WB_Q_DUE);
    }
}

void wb_on_gate_down(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t first = wb_tag_lo(tag), count = wb_tag_hi(tag) >> 2;
    enum fl_prot prot = (enum fl_prot)(wb_tag_hi(tag) & 3);

    w->gating -= count;
    for (uint32_t i = first; i < first + count; i++) {
        struct wb_page *p = wb_pg(w, i);

        wb_clr(p, WB_F_GATE);
        if (status == FL_OK) {
            wb_prot_set(p, prot);
            lowered(w, e, i);
            continue;
        }
        wb_buf_release(w, p); /* mapping limit: unchanged, try again a little later */
        wb_serve(w, e, i);
        if (p->q == WB_Q_NONE && !wb_has(p, WB_F_GATE)) {
            wb_q_push(w, wb_head(w, WB_H_DUE), i, WB_Q_DUE);
        }
    }
    if (status != FL_OK) {
        w->stats.map_refusals++;
        w->paused = 1;
        fl_timer(e, wb_tag(WB_T_RETRY, 0, 0), WB_RETRY_NS);
    }
}

void wb_settle(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    if (wb_has(p, WB_F_GATE | WB_F_MAP) || p->step != WB_S_IDLE || p->q != WB_Q_NONE ||
        p->state == WB_NOT_CACHED || p->state == WB_FETCHING) {
        return;
    }
    if (!wb_is_dirty(p) && wb_has(p, WB_F_EVICT) && wb_prot(p) == FL_PROT_NONE) {
        wb_drop(w, e, idx);
    } else if (wb_has(p, WB_F_EVICT)) {
        wb_q_push(w, wb_head(w, WB_H_URGENT), idx, WB_Q_DUE);
    } else if (wb_is_dirty(p) && wb_has(p, WB_F_RETAINED) && !wb_has(p, WB_F_LOST)) {
        wb_q_push(w, wb_head(w, WB_H_DUE), idx, WB_Q_DUE);
    } else if (wb_is_dirty(p) && (!wb_has(p, WB_F_LOST) || wb_prot(p) == FL_PROT_RW)) {
        wb_queue_dirty(w, e, idx);
    }
}

static void flight_ended(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_region *rg = &w->regions[wb_at(w, idx).region];

    p->step = WB_S_IDLE;
    rg->inflight--;
}

static void flight_settled(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_region *rg = &w->regions[wb_at(w, idx).region];

    wb_serve(w, e, idx);
    wb_settle(w, e, idx);
    if (rg->inflight == 0) {
        rg->flags &= (uint8_t)~WB_RF_LATE;
    }
}

void wb_retire(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    flight_ended(w, idx);
    w->stats.acks++;
    fl_site(e, FL_SITE_FLUSH_ACK, at.region, at.page, fl_mask_count(p->inflight));
    p->inflight = 0;
    wb_clr(p, WB_F_WHOLE);
    if (p->state == WB_FLUSHING) {
        wb_row(w, idx, WB_R6);
    } else {
        wb_row(w, idx, p->state == WB_DIRTY ? WB_R6A : WB_R6B);
        if (wb_planted(w, FL_PLANT_CLEAR_LATE)) { /* what came after the snapshot is forgotten */
            wb_dclb_clear(w, p);
            wb_row(w, idx, p->state == WB_DIRTY ? WB_R4A : WB_R9B);
        }
    }
    flight_settled(w, e, idx);
}

void wb_flush_failed(struct wb *w, struct fl_env *e, uint32_t idx, int status)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    flight_ended(w, idx);
    w->stats.flush_errors++;
    fl_site(e, FL_SITE_FLUSH_FAIL, at.region, at.page, (uint64_t)(int64_t)status);
    wb_set(p, WB_F_RETAINED);
    if (p->state == WB_PAGE_DIRTY) {
        wb_row(w, idx, WB_R8C);
    } else if (p->state == WB_DIRTY) {
        wb_row(w, idx, WB_R8B);
    } else {
        wb_row(w, idx, wb_has(p, WB_F_WHOLE) ? WB_R8A : WB_R8);
    }
    wb_clr(p, WB_F_WHOLE);
    wb_dclb_add(w, e, idx, p->inflight);
    flight_settled(w, e, idx);
}

void wb_on_write(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t idx = wb_tag_lo(tag), buf = wb_tag_hi(tag);
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    w->posted--;
    if (status == FL_OK) {
        wb_buf_put(w, buf);
        wb_node_progress(w, at.node);
    } else {
        wb_buf_quarantine(w, at.node, buf);
    }
    if (p->step != WB_S_POSTED || p->buf != buf + 1) {
        return; /* a planted bug has retired it already */
    }
    p->buf = 0;
    if (status == FL_OK) {
        wb_retire(w, e, idx);
        return;
    }
    wb_node_error(w, e, at.node);
    wb_flush_failed(w, e, idx, status);
}

/* Each write that ends gives back one buffer, enough for a group of one page: one gate and one
 * write for each. Where nobody waits for the page, buffers for a whole group come together first.
 * They do come: every write that is out has its answer. */
static bool gathers(const struct wb *w, const struct wb_page *p, uint16_t region)
{
    uint32_t group = WB_GROUP_MAX + 1, third = w->cfg.buf_count / 3;
    bool wanted = wb_has(p, WB_F_EVICT) && w->regions[region].state == WB_OPEN;

    return !wanted && w->posted > 0 && w->free_bufs < (group < third ? group : third);
}

/* One page from the head of a due list; false when buffers have run out for now. */
static bool due_one(struct wb *w, struct fl_env *e, uint32_t head, uint32_t *budget)
{
    uint32_t idx = wb_q_first(w, head), reserve;
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);
    bool dirty = wb_is_dirty(p);

    if (wb_has(p, WB_F_GATE | WB_F_MAP) || (!dirty && !wb_has(p, WB_F_EVICT))) {
        wb_q_remove(w, idx); /* its answer, or nothing, brings it further */
        return true;
    }
    if (dirty && !wb_lost(w, &at) && wb_nd(w, at.node)->state == WB_N_FENCING) {
        wb_q_remove(w, idx);
        wb_q_push(w, wb_head_node(w, at.node, WB_NH_FLUSH), idx, WB_Q_DUE);
        return true;
    }
    if (wb_has(p, WB_F_RETAINED) && wb_planted(w, FL_PLANT_NO_RETRY)) {
        wb_q_remove(w, idx);
        return true;
    }
    reserve = wb_has(p, WB_F_EVICT) ? 1 : 2; /* a periodic write-back leaves one for a miss */
    if (dirty && wb_buf_short(w, reserve)) {
        return false;
    }
    if (wb_prot(p) == FL_PROT_NONE) {
        wb_q_remove(w, idx);
        lowered(w, e, idx);
        return true;
    }
    if (dirty && gathers(w, p, at.region)) {
        return false;
    }
    *budget -= gate_group(w, e, idx, w->full || w->free_bufs < 2 ? 0 : w->free_bufs - 2) - 1;
    return true;
}

void wb_pump_due(struct wb *w, struct fl_env *e, uint32_t *budget)
{
    const enum wb_head order[] = {WB_H_URGENT, WB_H_DUE};

    for (int i = 0; i < 2 && !w->paused; i++) {
        uint32_t head = wb_head(w, order[i]);

        while (!wb_q_empty(w, head)) {
            if (*budget < WB_GROUP_MAX) {
                w->more = 1;
                return;
            }
            if (!due_one(w, e, head, budget)) {
                break;
            }
            --*budget;
        }
    }
}
