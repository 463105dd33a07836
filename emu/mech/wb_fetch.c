/* SPDX-License-Identifier: Apache-2.0 */
/* From a miss to the access going on: read, frame, install, grant (row W-r1). */
#include "emu/mech/wb_priv.h"

/* Protection that the threads waiting for this page need. */
static enum fl_prot wanted(const struct wb *w, uint32_t idx)
{
    enum fl_prot need = FL_PROT_NONE;

    for (uint16_t t = 0; t < w->cfg.thread_count; t++) {
        if (w->threads[t].page == idx + 1) {
            if (w->threads[t].access == FL_STORE) {
                return FL_PROT_RW;
            }
            need = FL_PROT_READ;
        }
    }
    return need;
}

/* Lets those go on for whom @prot is enough; @status fails all. */
static void release(struct wb *w, struct fl_env *e, uint32_t idx, enum fl_prot prot, int status)
{
    for (uint16_t t = 0; t < w->cfg.thread_count; t++) {
        struct wb_thread *th = &w->threads[t];

        if (th->page == idx + 1 && (status != FL_OK || prot == FL_PROT_RW ||
                                    (prot == FL_PROT_READ && th->access != FL_STORE))) {
            th->page = 0;
            fl_resume(e, t, status);
        }
    }
}

/* The page becomes one of the thread's last grants, which are not evicted under it. Its own oldest
 * pin goes first, so that with WB_PINS_PER_THREAD pages per thread there is always a victim. */
static void pin(struct wb *w, uint32_t ticket, uint32_t idx)
{
    uint32_t *pins = w->threads[ticket].pins;
    int i = 0;

    while (i < WB_PINS_PER_THREAD - 1 && pins[i] != idx + 1) {
        i++;
    }
    if (pins[i] != idx + 1) {
        if (pins[i] != 0) {
            wb_pg(w, pins[i] - 1)->pins--;
        }
        wb_pg(w, idx)->pins++;
    }
    for (; i > 0; i--) {
        pins[i] = pins[i - 1];
    }
    pins[0] = idx + 1;
}

static bool frame_take(struct wb *w, struct wb_page *p)
{
    if (w->cached >= w->cfg.capacity_pages + wb_planted(w, FL_PLANT_OVER_CAP)) {
        return false;
    }
    wb_set(p, WB_F_FRAME);
    w->cached++;
    if (w->cached > w->stats.cached_max) {
        w->stats.cached_max = w->cached;
    }
    return true;
}

static void fetch_begin(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    wb_row(w, idx, WB_R1);
    p->step = WB_S_IDLE;
    wb_clr(p, WB_F_STORED);
    if (frame_take(w, p)) {
        w->granting++;
    } else {
        w->wanting++;
    }
    wb_q_push(w, wb_head(w, WB_H_FETCH), idx, WB_Q_FETCH);
}

/* W-r1d: the page is not fetched after all. Nothing of it is in flight. */
static void fetch_end(struct wb *w, struct fl_env *e, uint32_t idx, int status)
{
    struct wb_page *p = wb_pg(w, idx);

    wb_q_remove(w, idx);
    wb_buf_release(w, p);
    *(wb_has(p, WB_F_FRAME) ? &w->granting : &w->wanting) -= 1;
    release(w, e, idx, FL_PROT_NONE, status);
    if (p->step == WB_S_GRANT) { /* its bytes are there already: give them back */
        struct wb_at at = wb_at(w, idx);

        wb_set(p, WB_F_EVICT | WB_F_MAP);
        w->evicting++;
        fl_map(e, at.region, at.page, FL_MAP_HOLE, wb_slot_of(w, idx), wb_tag(WB_T_MAP, 0, idx));
        return;
    }
    p->step = WB_S_IDLE;
    wb_frame_put(w, p);
    wb_row(w, idx, WB_R1D);
}

static void gate_up(struct wb *w, struct fl_env *e, uint32_t idx, enum fl_prot prot)
{
    struct wb_at at = wb_at(w, idx);

    wb_set(wb_pg(w, idx), WB_F_GATE);
    fl_gate(e, at.region, at.page, 1, prot, wb_tag(WB_T_GATE_UP, prot, idx));
}

static void install_and_open(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    fl_install(e, at.region, at.page, FL_MASK_ALL,
               (struct fl_src){.kind = FL_SRC_BUF, .idx = p->buf - 1u});
    wb_buf_release(w, p);
    p->step = WB_S_GRANT;
    gate_up(w, e, idx, wanted(w, idx) == FL_PROT_RW ? FL_PROT_RW : FL_PROT_READ);
}

/* The threads are gone or the region does not want the page any more. */
static bool unwanted(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_at at = wb_at(w, idx);

    if (wb_lost(w, &at)) {
        fetch_end(w, e, idx, FL_EPEERDEAD);
        return true;
    }
    if (w->regions[at.region].state != WB_OPEN) {
        fetch_end(w, e, idx, FL_ECLOSED);
        return true;
    }
    return false;
}

void wb_on_read(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t idx = wb_tag_lo(tag);
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    FL_ASSERT(p->step == WB_S_READ && p->buf == wb_tag_hi(tag) + 1);
    p->step = WB_S_IDLE;
    if (status != FL_OK) { /* the read may still land in the buffer until the fence */
        wb_buf_quarantine(w, at.node, p->buf - 1u);
        p->buf = 0;
        wb_row(w, idx, WB_R1C);
        wb_node_error(w, e, at.node);
        if (!unwanted(w, e, idx)) {
            wb_q_push(w, wb_head(w, WB_H_FETCH), idx, WB_Q_FETCH);
        }
        return;
    }
    wb_node_progress(w, at.node);
    if (unwanted(w, e, idx)) {
        return;
    }
    p->step = WB_S_DATA;
    if (wb_has(p, WB_F_FRAME)) {
        install_and_open(w, e, idx);
    } else {
        wb_q_push(w, wb_head(w, WB_H_FRAME), idx, WB_Q_FRAME);
    }
}

/* W-r1a, W-r1b: the page is open. */
static void fetched(struct wb *w, struct fl_env *e, uint32_t idx, enum fl_prot prot)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    w->granting--;
    w->stats.pages_fetched++;
    w->stats.refetched += wb_has(p, WB_F_SEEN);
    wb_set(p, WB_F_SEEN);
    p->step = WB_S_IDLE;
    wb_lru_add(w, idx);
    wb_touch(w, idx);
    wb_row(w, idx, prot == FL_PROT_RW ? WB_R1B : WB_R1A);
    fl_site(e, FL_SITE_PAGE_FETCHED, at.region, at.page, wb_nd(w, at.node)->id);
    if (prot == FL_PROT_RW) {
        fl_site(e, FL_SITE_DIRTY, at.region, at.page, 0);
    } else if (wb_has(p, WB_F_STORED)) { /* opened by a thread before this answer came */
        wb_prot_set(p, FL_PROT_RW);
        wb_row(w, idx, WB_R2);
        fl_site(e, FL_SITE_DIRTY, at.region, at.page, 0);
    }
}

/* The mapping limit: pages must leave before this one can open. */
static void refused(struct wb *w, struct fl_env *e, uint32_t idx)
{
    w->stats.map_refusals++;
    for (int n = 0; n < WB_REFUSED_EVICT && w->evicting < WB_REFUSED_EVICT; n++) {
        if (!wb_evict_one(w, e, false)) {
            break;
        }
    }
    if (w->evicting > 0 && wanted(w, idx) != FL_PROT_NONE) {
        w->refused = WB_REFUSED_WAITS; /* asked again after a drop */
        if (wb_pg(w, idx)->state == WB_FETCHING) {
            wb_q_push(w, wb_head(w, WB_H_REFUSED), idx, WB_Q_FRAME);
        } else {
            wb_settle(w, e, idx);
        }
    } else if (wb_pg(w, idx)->state == WB_FETCHING) {
        fetch_end(w, e, idx, FL_ENOSPC);
    } else {
        release(w, e, idx, FL_PROT_NONE, FL_ENOSPC);
        wb_settle(w, e, idx);
    }
}

/* Grants that were refused are asked for again when a page has left, or none is leaving any more;
 * who does not want its page any more gives it back. */
void wb_pump_refused(struct wb *w, struct fl_env *e)
{
    uint32_t head = wb_head(w, WB_H_REFUSED), next;

    for (uint32_t idx = wb_q_first(w, head); idx != head; idx = next) {
        next = wb_pg(w, idx)->q_next;
        if (!unwanted(w, e, idx) && wanted(w, idx) == FL_PROT_NONE) {
            fetch_end(w, e, idx, FL_OK);
        }
    }
    if (w->refused == WB_REFUSED_AGAIN || (w->refused != 0 && w->evicting == 0)) {
        w->refused = 0;
        wb_serve_all(w, e);
    }
}

void wb_on_gate_up(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t idx = wb_tag_lo(tag);
    enum fl_prot prot = (enum fl_prot)wb_tag_hi(tag);
    struct wb_page *p = wb_pg(w, idx);

    wb_clr(p, WB_F_GATE);
    if (status != FL_OK) {
        wb_clr(p, WB_F_STORED);
        refused(w, e, idx);
        return;
    }
    if (wb_prot(p) < prot) {
        wb_prot_set(p, prot);
    }
    if (p->state == WB_FETCHING) {
        fetched(w, e, idx, prot);
    } else if (prot == FL_PROT_RW || wb_has(p, WB_F_STORED)) { /* its lines are unknown now */
        wb_prot_set(p, FL_PROT_RW);
        wb_mark_dirty(w, e, idx, 0);
    }
    wb_clr(p, WB_F_STORED);
    if (wb_is_dirty(p)) { /* the period runs before the first store can happen */
        wb_arm_period(w, e, wb_at(w, idx).region);
    }
    release(w, e, idx, wb_prot(p), FL_OK);
    if (w->regions[wb_at(w, idx).region].state != WB_OPEN) {
        wb_evict(w, e, idx, false); /* closed while it was being opened */
    }
    if (wanted(w, idx) != FL_PROT_NONE) { /* a store missed while the page was opened for a load */
        wb_serve(w, e, idx);
    } else {
        wb_settle(w, e, idx);
    }
}

void wb_serve(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    enum fl_prot need = wanted(w, idx);
    struct wb_at at = wb_at(w, idx);

    if (need == FL_PROT_NONE || wb_has(p, WB_F_MAP)) {
        return;
    }
    if (w->regions[at.region].state != WB_OPEN) {
        release(w, e, idx, FL_PROT_NONE, FL_ECLOSED);
    } else if (p->state == WB_NOT_CACHED && wb_lost(w, &at)) {
        release(w, e, idx, FL_PROT_NONE, FL_EPEERDEAD);
    } else if (p->state == WB_NOT_CACHED) {
        fetch_begin(w, idx);
    } else if (wb_has(p, WB_F_GATE)) {
        return; /* its answer comes back here */
    } else if (p->state == WB_FETCHING) {
        if (p->step == WB_S_GRANT) {
            wb_q_remove(w, idx);
            gate_up(w, e, idx, need);
        }
    } else if (p->step != WB_S_SHUT) { /* the diff of a shut page must be taken before it opens */
        if (wb_has(p, WB_F_EVICT)) {
            wb_revive(w, idx);
            if (!wb_in_flight(p)) {
                wb_q_remove(w, idx);
            }
        }
        release(w, e, idx, wb_prot(p), FL_OK);
        if (wb_prot(p) < need) {
            gate_up(w, e, idx, need);
        } else {
            wb_settle(w, e, idx);
        }
    }
}

void wb_serve_all(struct wb *w, struct fl_env *e)
{
    for (uint16_t t = 0; t < w->cfg.thread_count; t++) {
        if (w->threads[t].page != 0) {
            wb_serve(w, e, w->threads[t].page - 1);
        }
    }
}

void wb_fail_waiting(struct wb *w, struct fl_env *e, uint16_t region, bool lost_only, int status)
{
    for (uint16_t t = 0; t < w->cfg.thread_count; t++) {
        struct wb_thread *th = &w->threads[t];
        struct wb_at at;

        if (th->page == 0) {
            continue;
        }
        at = wb_at(w, th->page - 1);
        if (at.region == region &&
            (!lost_only || (wb_lost(w, &at) && wb_pg(w, th->page - 1)->state == WB_FETCHING))) {
            th->page = 0;
            fl_resume(e, t, status);
        }
    }
}

void wb_on_miss(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    struct wb_region *rg;
    uint32_t idx;

    w->stats.misses++;
    fl_site(e, FL_SITE_MISS, ev->region, ev->page, ev->access);
    if (ev->region >= w->cfg.region_count || ev->ticket >= w->cfg.thread_count ||
        ev->page >= w->cfg.regions[ev->region].page_count) {
        fl_resume(e, ev->ticket, FL_EINVAL);
        return;
    }
    rg = &w->regions[ev->region];
    if (rg->state != WB_OPEN) { /* the write gate of a closing region, or never opened */
        fl_resume(e, ev->ticket, FL_ECLOSED);
        return;
    }
    idx = rg->base + ev->page;
    w->threads[ev->ticket].page = idx + 1;
    w->threads[ev->ticket].access = ev->access;
    pin(w, ev->ticket, idx);
    wb_touch(w, idx);
    wb_serve(w, e, idx);
}

void wb_pump_fetch(struct wb *w, struct fl_env *e, uint32_t *budget)
{
    uint32_t head = wb_head(w, WB_H_FETCH);

    for (; *budget > 0 && !wb_q_empty(w, head); --*budget) {
        uint32_t idx = wb_q_first(w, head);
        struct wb_page *p = wb_pg(w, idx);
        struct wb_at at = wb_at(w, idx);
        struct wb_node *n = wb_nd(w, at.node);

        if (unwanted(w, e, idx)) {
            continue;
        }
        if (n->state == WB_N_FENCING) {
            wb_q_remove(w, idx);
            wb_q_push(w, wb_head_node(w, at.node, WB_NH_FETCH), idx, WB_Q_FETCH);
            continue;
        }
        /* a page without a frame leaves a buffer for the write-back that makes room for it */
        if (wb_buf_short(w, wb_has(p, WB_F_FRAME) ? 1u : 2u)) {
            return;
        }
        wb_q_remove(w, idx);
        (void)wb_buf_take(w, p);
        p->step = WB_S_READ;
        fl_site(e, FL_SITE_FETCH_POST, at.region, at.page, n->id);
        fl_rma_read(e, &(struct fl_rma){.tag = wb_tag(WB_T_READ, p->buf - 1u, idx),
                                        .slot = wb_slot_of(w, idx),
                                        .region = at.region,
                                        .cls = FL_URGENT,
                                        .page = at.page,
                                        .buf = p->buf - 1u,
                                        .mask = FL_MASK_ALL,
                                        .deadline_ns = w->cfg.regions[at.region].op_deadline_ns});
    }
}

void wb_pump_frames(struct wb *w, struct fl_env *e, uint32_t *budget)
{
    uint32_t head = wb_head(w, WB_H_FRAME);

    for (; *budget > 0 && !wb_q_empty(w, head); --*budget) {
        uint32_t idx = wb_q_first(w, head);
        struct wb_page *p = wb_pg(w, idx);

        if (unwanted(w, e, idx)) {
            continue;
        }
        if (frame_take(w, p)) {
            w->wanting--;
            w->granting++;
            wb_q_remove(w, idx);
            install_and_open(w, e, idx);
            continue;
        }
        wb_pump_evict(w, e);
        if (w->evicting > 0 || w->granting > 0 || w->more) {
            return;
        }
        fetch_end(w, e, idx, FL_ENOSPC); /* every page is pinned or lost with its node */
    }
}
