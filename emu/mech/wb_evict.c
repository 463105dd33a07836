/* SPDX-License-Identifier: Apache-2.0 */
/* Who leaves device memory, and how: policies, drop (rows W-r9, W2, W8). */
#include "emu/mech/wb_priv.h"

/** A policy of eviction. The list of victims runs from front to back; back goes first. */
struct policy {
    const char *name;
    void (*touch)(struct wb *w, uint32_t idx); /* the page was used */
    bool (*spare)(struct wb *w, uint32_t idx); /* asked of the page at the back: once more? */
};

static void to_front(struct wb *w, uint32_t idx)
{
    wb_lru_remove(w, idx);
    wb_lru_add(w, idx);
}

static bool lru_spare(struct wb *w, uint32_t idx)
{
    (void)w;
    (void)idx;
    return false;
}

static void clock_touch(struct wb *w, uint32_t idx)
{
    wb_set(wb_pg(w, idx), WB_F_REF);
}

static bool clock_spare(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    bool ref = wb_has(p, WB_F_REF);

    wb_clr(p, WB_F_REF);
    return ref;
}

static const struct policy policies[] = {
    [WB_LRU] = {"lru", to_front, lru_spare},
    [WB_CLOCK] = {"clock", clock_touch, clock_spare},
};

void wb_touch(struct wb *w, uint32_t idx)
{
    struct wb_region *rg = &w->regions[wb_at(w, idx).region];

    /* close walks the list: its pages keep their places */
    if (wb_has(wb_pg(w, idx), WB_F_LRU) && rg->state != WB_CLOSING) {
        policies[w->cfg.evict].touch(w, idx);
    }
}

/* May this page leave at all? Pins keep misses from starving each other; pressure outranks them. */
static bool evictable(struct wb *w, uint32_t idx, bool pressure)
{
    struct wb_page *p = wb_pg(w, idx);
    uint8_t rs = w->regions[wb_at(w, idx).region].state;

    if (wb_has(p, WB_F_LOST)) {
        return rs == WB_FAILED; /* W2: only after close has told the application */
    }
    return pressure || p->pins == 0 || rs != WB_OPEN;
}

static uint32_t pick(struct wb *w, bool pressure)
{
    uint32_t head = wb_head(w, WB_H_LRU), idx = wb_pg(w, head)->lru_prev;
    uint32_t left = w->lru_count < WB_SCAN_MAX ? w->lru_count : WB_SCAN_MAX;
    uint32_t spares = left;

    /* at most one round; the clock's second chances are bounded, so that a step is */
    for (left *= 2; left > 0 && idx != head; left--) {
        uint32_t prev = wb_pg(w, idx)->lru_prev;
        bool can = evictable(w, idx, pressure);

        if (can && (spares == 0 || !policies[w->cfg.evict].spare(w, idx))) {
            return idx;
        }
        spares -= can && spares > 0;
        if (w->regions[wb_at(w, idx).region].state != WB_CLOSING) {
            to_front(w, idx);
            prev = prev == head ? wb_pg(w, head)->lru_prev : prev;
        }
        idx = prev;
    }
    w->more |= w->lru_count > WB_SCAN_MAX;
    return head;
}

bool wb_evict_one(struct wb *w, struct fl_env *e, bool pressure)
{
    uint32_t idx = pick(w, pressure);

    if (idx == wb_head(w, WB_H_LRU)) {
        return false;
    }
    wb_evict(w, e, idx, !pressure);
    return true;
}

/* Lost lines of a region whose close has failed: nobody waits for them any more. */
static void forget_lost(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    wb_q_remove(w, idx);
    wb_dclb_clear(w, p);
    p->inflight = 0;
    wb_clr(p, WB_F_LOST | WB_F_RETAINED);
    w->regions[wb_at(w, idx).region].lost_pages--;
    wb_row(w, idx, p->state == WB_DIRTY ? WB_R9A : WB_R9B);
}

void wb_evict(struct wb *w, struct fl_env *e, uint32_t idx, bool urgent)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    if (wb_has(p, WB_F_EVICT)) {
        return;
    }
    if (wb_has(p, WB_F_LOST) && w->regions[at.region].state == WB_FAILED) {
        forget_lost(w, idx);
    }
    wb_set(p, WB_F_EVICT);
    wb_lru_remove(w, idx);
    w->evicting++;
    w->stats.evictions_dirty += wb_is_dirty(p) || p->state == WB_FLUSHING;
    fl_site(e, FL_SITE_EVICT, at.region, at.page, wb_is_dirty(p) || p->state == WB_FLUSHING);
    if (wb_in_flight(p) || wb_has(p, WB_F_GATE | WB_F_MAP)) {
        return; /* the answer on its way brings it further */
    }
    wb_q_remove(w, idx);
    wb_q_push(w, wb_head(w, urgent ? WB_H_URGENT : WB_H_DUE), idx, WB_Q_DUE);
}

void wb_revive(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    FL_ASSERT(wb_has(p, WB_F_EVICT) && !wb_has(p, WB_F_MAP));
    wb_clr(p, WB_F_EVICT);
    w->evicting--;
    wb_lru_add(w, idx);
}

void wb_drop(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    FL_ASSERT(p->state == WB_CLEAN && wb_prot(p) == FL_PROT_NONE && p->buf == 0);
    wb_q_remove(w, idx);
    wb_set(p, WB_F_MAP);
    fl_site(e, FL_SITE_PAGE_DROP, at.region, at.page, 0);
    fl_map(e, at.region, at.page, FL_MAP_HOLE, wb_slot_of(w, idx), wb_tag(WB_T_MAP, 0, idx));
}

void wb_frame_put(struct wb *w, struct wb_page *p)
{
    if (wb_has(p, WB_F_FRAME)) {
        wb_clr(p, WB_F_FRAME);
        w->cached--;
    }
}

/* W-r9, second half: the bytes are given back. */
void wb_on_mapped(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t idx = wb_tag_lo(tag);
    struct wb_page *p = wb_pg(w, idx);

    wb_clr(p, WB_F_MAP);
    if (status == FL_ENOSPC) { /* unchanged: the kernel's mapping limit */
        w->stats.map_refusals++;
        w->paused = 1;
        fl_timer(e, wb_tag(WB_T_RETRY, 0, 0), WB_RETRY_NS);
        wb_q_push(w, wb_head(w, WB_H_DUE), idx, WB_Q_DUE);
        return;
    }
    wb_clr(p, WB_F_EVICT | WB_F_REF);
    w->evicting--;
    wb_frame_put(w, p);
    if (p->state == WB_CLEAN) {
        w->stats.evictions++;
        wb_row(w, idx, WB_R9);
    } else { /* a fetched page that the mapping limit did not let open */
        p->step = WB_S_IDLE;
        wb_row(w, idx, WB_R1D);
    }
    w->refused = w->refused != 0 ? WB_REFUSED_AGAIN : 0;
    wb_serve(w, e, idx);
}

/* Keeps enough evictions going for who waits for a frame, and for pressure. */
void wb_pump_evict(struct wb *w, struct fl_env *e)
{
    uint32_t cap = w->cfg.capacity_pages + wb_planted(w, FL_PLANT_OVER_CAP);

    while (w->wanting > w->evicting + (cap - w->cached)) {
        if (!wb_evict_one(w, e, false)) {
            break;
        }
    }
    while (w->pressure > 0 && w->evicting < WB_EVICT_WINDOW) {
        w->pressure--;
        if (!wb_evict_one(w, e, true)) {
            w->pressure = 0;
        }
    }
}
