/* SPDX-License-Identifier: Apache-2.0 */
/* The dirty cache-line buffer: which lines are known to be dirty, and when a page counts as a whole
 * (rows W-r2, W-r3, W-r7). */
#include "emu/mech/wb_priv.h"

void wb_dclb_clear(struct wb *w, struct wb_page *p)
{
    w->dclb_used -= fl_mask_count(p->dirty);
    p->dirty = 0;
}

/* W-r3: the page is written back as a whole, its entries are free. */
void wb_coarsen(struct wb *w, struct fl_env *e, uint32_t idx, unsigned lines)
{
    struct wb_at at = wb_at(w, idx);

    wb_dclb_clear(w, wb_pg(w, idx));
    wb_row(w, idx, WB_R3);
    w->stats.coarsened++;
    fl_site(e, FL_SITE_COARSEN, at.region, at.page, lines);
}

void wb_dclb_add(struct wb *w, struct fl_env *e, uint32_t idx, fl_mask lines)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);
    fl_mask fresh = lines & ~p->dirty;

    if (p->state != WB_DIRTY || fresh == 0) {
        return;
    }
    if (w->dclb_used + fl_mask_count(fresh) > w->cfg.dclb_lines) { /* W-f6: coarser, never lost */
        w->stats.dclb_overflows++;
        fl_site(e, FL_SITE_DCLB_OVERFLOW, at.region, at.page, 0);
        wb_coarsen(w, e, idx, fl_mask_count(p->dirty | fresh));
        return;
    }
    p->dirty |= fresh;
    w->dclb_used += fl_mask_count(fresh);
    if (w->dclb_used > w->stats.dclb_max) {
        w->stats.dclb_max = w->dclb_used;
    }
    if (fl_mask_count(p->dirty) > w->cfg.regions[at.region].threshold_lines) {
        wb_coarsen(w, e, idx, fl_mask_count(p->dirty));
    }
}

void wb_queue_dirty(struct wb *w, struct fl_env *e, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);
    uint16_t r = wb_at(w, idx).region;
    struct wb_region *rg = &w->regions[r];

    if (p->q != WB_Q_NONE || p->step != WB_S_IDLE || wb_has(p, WB_F_GATE | WB_F_MAP)) {
        return;
    }
    if (rg->state != WB_OPEN || (rg->flags & WB_RF_LATE) || w->quiesce != 0 ||
        wb_has(p, WB_F_EVICT)) {
        wb_q_push(w, wb_head(w, WB_H_DUE), idx, WB_Q_DUE);
        return;
    }
    wb_q_push(w, wb_head_dirty(w, r), idx, WB_Q_DIRTY);
    wb_arm_period(w, e, r);
}

void wb_mark_dirty(struct wb *w, struct fl_env *e, uint32_t idx, unsigned lines)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_at at = wb_at(w, idx);

    if (p->state == WB_CLEAN) {
        wb_row(w, idx, WB_R2);
        fl_site(e, FL_SITE_DIRTY, at.region, at.page, lines);
        wb_queue_dirty(w, e, idx);
    } else if (p->state == WB_FLUSHING) {
        wb_row(w, idx, WB_R7);
        fl_site(e, FL_SITE_DIRTY, at.region, at.page, lines);
        wb_arm_period(w, e, at.region);
    } else if (wb_has(p, WB_F_LOST)) {
        wb_queue_dirty(w, e, idx); /* to be counted as lost, too */
    }
}

/* The planted bug: what does not fit is forgotten. Once that happened to a page, only lines that
 * did fit are written back, as a device without a diff would. */
static bool forget(struct wb *w, struct wb_page *p, fl_mask mask)
{
    if (!wb_planted(w, FL_PLANT_DCLB_DROP) || p->state == WB_PAGE_DIRTY ||
        w->dclb_used + fl_mask_count(mask & ~p->dirty) <= w->cfg.dclb_lines) {
        return false;
    }
    w->stats.dclb_overflows++;
    wb_set(p, WB_F_ENTRY_LOST);
    return true;
}

void wb_on_dirty(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    struct wb_page *p;
    uint32_t idx;

    if (ev->region >= w->cfg.region_count || ev->page >= w->cfg.regions[ev->region].page_count) {
        return;
    }
    idx = w->regions[ev->region].base + ev->page;
    p = wb_pg(w, idx);
    if (p->state == WB_NOT_CACHED || wb_has(p, WB_F_MAP)) {
        return; /* a sampling hint that was overtaken */
    }
    if (wb_prot(p) == FL_PROT_NONE) {
        /* Nobody can have stored to a closed page: an overtaken hint, too, unless the page is just
         * being opened and the news came before the answer. */
        if (p->state == WB_FETCHING || wb_has(p, WB_F_GATE)) {
            wb_set(p, WB_F_STORED);
        }
        return;
    }
    wb_touch(w, idx);
    if (forget(w, p, ev->mask)) {
        return;
    }
    wb_prot_set(p, FL_PROT_RW);
    wb_mark_dirty(w, e, idx, fl_mask_count(ev->mask));
    wb_dclb_add(w, e, idx, ev->mask);
}
