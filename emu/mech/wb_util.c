/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, page buffers, places and the table of rows. */
#include "emu/mech/wb_priv.h"

struct fl_slot wb_slot_of(const struct wb *w, uint32_t idx)
{
    struct wb_at at = wb_at(w, idx);

    return wb_slot(&w->cfg, at.region, at.page);
}

bool wb_lost(const struct wb *w, const struct wb_at *at)
{
    return (w->regions[at->region].chunk_lost >> at->chunk) & 1;
}

bool wb_q_empty(struct wb *w, uint32_t head)
{
    return wb_pg(w, head)->q_next == head;
}

uint32_t wb_q_first(struct wb *w, uint32_t head)
{
    return wb_pg(w, head)->q_next;
}

void wb_q_push(struct wb *w, uint32_t head, uint32_t idx, enum wb_q q)
{
    struct wb_page *h = wb_pg(w, head), *p = wb_pg(w, idx);

    FL_ASSERT(p->q == WB_Q_NONE);
    p->q = (uint8_t)q;
    p->q_next = head;
    p->q_prev = h->q_prev;
    wb_pg(w, h->q_prev)->q_next = idx;
    h->q_prev = idx;
}

void wb_q_remove(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    if (p->q == WB_Q_NONE) {
        return;
    }
    wb_pg(w, p->q_prev)->q_next = p->q_next;
    wb_pg(w, p->q_next)->q_prev = p->q_prev;
    p->q_prev = p->q_next = 0;
    p->q = WB_Q_NONE;
}

void wb_q_splice(struct wb *w, uint32_t to, uint32_t from)
{
    struct wb_page *t = wb_pg(w, to), *f = wb_pg(w, from);

    if (wb_q_empty(w, from)) {
        return;
    }
    wb_pg(w, f->q_next)->q_prev = t->q_prev;
    wb_pg(w, t->q_prev)->q_next = f->q_next;
    wb_pg(w, f->q_prev)->q_next = to;
    t->q_prev = f->q_prev;
    f->q_prev = f->q_next = from;
}

void wb_lru_add(struct wb *w, uint32_t idx)
{
    uint32_t head = wb_head(w, WB_H_LRU);
    struct wb_page *h = wb_pg(w, head), *p = wb_pg(w, idx);

    if (wb_has(p, WB_F_LRU)) {
        return;
    }
    wb_set(p, WB_F_LRU);
    p->lru_prev = head;
    p->lru_next = h->lru_next;
    wb_pg(w, h->lru_next)->lru_prev = idx;
    h->lru_next = idx;
    w->lru_count++;
}

void wb_lru_remove(struct wb *w, uint32_t idx)
{
    struct wb_page *p = wb_pg(w, idx);

    if (!wb_has(p, WB_F_LRU)) {
        return;
    }
    for (uint16_t r = 0; w->closing > 0 && r < w->cfg.region_count; r++) {
        if (w->regions[r].state == WB_CLOSING && w->regions[r].cursor == idx) {
            w->regions[r].cursor = p->lru_next;
        }
    }
    wb_pg(w, p->lru_prev)->lru_next = p->lru_next;
    wb_pg(w, p->lru_next)->lru_prev = p->lru_prev;
    p->lru_prev = p->lru_next = 0;
    wb_clr(p, WB_F_LRU);
    w->lru_count--;
}

bool wb_buf_short(struct wb *w, uint32_t need)
{
    if (w->free_bufs < need) {
        return true;
    }
    w->stats.slots_refused += w->full;
    return w->full != 0;
}

bool wb_buf_take(struct wb *w, struct wb_page *p)
{
    uint16_t b = w->buf_head;

    if (wb_buf_short(w, 1)) {
        return false;
    }
    w->buf_head = *wb_buf_link(w, b - 1u);
    w->free_bufs--;
    p->buf = b;
    return true;
}

void wb_buf_put(struct wb *w, uint32_t buf)
{
    uint16_t b = (uint16_t)(buf + 1);

    *wb_buf_link(w, buf) = 0;
    if (w->buf_head == 0) {
        w->buf_head = b;
    } else {
        *wb_buf_link(w, w->buf_tail - 1u) = b;
    }
    w->buf_tail = b;
    w->free_bufs++;
}

bool wb_in_use(const struct wb *w)
{
    bool any = false;

    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        any |= w->regions[r].state != WB_CLOSED && w->regions[r].state != WB_FAILED;
    }
    return any;
}

void wb_buf_release(struct wb *w, struct wb_page *p)
{
    if (p->buf != 0) {
        wb_buf_put(w, p->buf - 1u);
        p->buf = 0;
    }
}

void wb_buf_quarantine(struct wb *w, uint32_t node, uint32_t buf)
{
    struct wb_node *n = wb_nd(w, node);

    if (n->state == WB_N_GONE || wb_planted(w, FL_PLANT_SKIP_FENCE)) {
        wb_buf_put(w, buf);
        return;
    }
    *wb_buf_link(w, buf) = n->quar;
    n->quar = (uint16_t)(buf + 1);
}

static const struct wb_row_info rows[WB_ROW_COUNT] = {
#define WB_PAGE_ROW(e, i, f, ev, t) [e] = {.id = i, .event = ev, .from = f, .to = t},
#define WB_REGION_ROW(e, i, f, ev, t)                                                              \
    [e] = {.id = i, .event = ev, .region = true, .from = f, .to = t},
#include "emu/mech/writeback_rows.def"
};

const struct wb_row_info *wb_row_info(enum wb_row r)
{
    return r < WB_ROW_COUNT ? &rows[r] : NULL;
}

const char *wb_page_state_name(enum wb_page_state s)
{
    static const char *const names[] = {"NOT_CACHED", "FETCHING",   "CLEAN",
                                        "DIRTY",      "PAGE_DIRTY", "FLUSHING"};

    return s <= WB_FLUSHING ? names[s] : "?";
}

const char *wb_region_state_name(enum wb_region_state s)
{
    static const char *const names[] = {"CLOSED", "OPENING", "OPEN", "CLOSING", "FAILED"};

    return s <= WB_FAILED ? names[s] : "?";
}

uint64_t wb_rows_taken(const struct wb *w)
{
    return w->rows;
}

void wb_rows_clear(struct wb *w)
{
    w->rows = 0;
}

void wb_row(struct wb *w, uint32_t idx, enum wb_row r)
{
    struct wb_page *p = wb_pg(w, idx);
    struct wb_region *rg = &w->regions[wb_at(w, idx).region];
    bool was_dirty = wb_is_dirty(p);

    FL_ASSERT(!rows[r].region && p->state == rows[r].from);
    w->rows |= UINT64_C(1) << r;
    if (p->state == WB_NOT_CACHED) {
        rg->busy++;
    }
    p->state = rows[r].to;
    if (p->state == WB_NOT_CACHED) {
        rg->busy--;
    }
    if (wb_is_dirty(p) != was_dirty) {
        rg->dirty_pages += wb_is_dirty(p) ? 1 : UINT32_MAX;
    }
}

void wb_region_row(struct wb *w, uint16_t region, enum wb_row r)
{
    struct wb_region *rg = &w->regions[region];

    FL_ASSERT(rows[r].region && rg->state == rows[r].from);
    w->rows |= UINT64_C(1) << r;
    w->closing -= rg->state == WB_CLOSING;
    rg->state = rows[r].to;
    w->closing += rg->state == WB_CLOSING;
}
