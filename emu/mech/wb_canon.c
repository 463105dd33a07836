/* SPDX-License-Identifier: Apache-2.0 */
/* The core's block for the explorer: what does not decide is cleared. */
#include "emu/mech/inspect.h"
#include "emu/mech/wb_priv.h"

uint64_t wb_page_seq(const struct wb *w, uint16_t region, uint32_t page)
{
    return wb_pg((struct wb *)(uintptr_t)w, w->regions[region].base + page)->seq;
}

uint64_t wb_batch_seq(const struct wb *w)
{
    return w->batch_seq;
}

bool wb_page_lost(const struct wb *w, uint16_t region, uint32_t page)
{
    return wb_has(wb_pg((struct wb *)(uintptr_t)w, w->regions[region].base + page), WB_F_LOST);
}

uint32_t wb_free_bufs(const struct wb *w)
{
    return w->free_bufs;
}

uint32_t wb_left_bufs(const struct wb *w)
{
    struct wb *rw = (struct wb *)(uintptr_t)w;
    uint32_t left = 0;

    for (uint32_t i = 0; !wb_in_use(w) && i < w->node_count; i++) {
        const struct wb_node *n = wb_nd(rw, i);

        for (uint32_t q = n->state == WB_N_LOST ? n->quar : 0; q != 0;
             q = *wb_buf_link(rw, q - 1)) {
            left++;
        }
    }
    return left;
}

bool wb_waits_for_period(struct wb *w, uint16_t region)
{
    return !wb_q_empty(w, wb_head_dirty(w, region));
}

void wb_canon(struct wb *w)
{
    uint32_t b = w->buf_head;

    w->stats = (struct wb_stats){0};
    w->rows = 0;
    for (uint32_t i = 0; i < w->page_total; i++) {
        wb_pg(w, i)->seq = 0;
    }
    for (uint32_t n = 0; n < w->node_count; n++) {
        for (uint32_t s = 0; s < WB_LOG_WINDOW; s++) {
            struct wb_batch *t = &wb_nd(w, n)->batches[s];

            t->seq = t->state == WB_B_FREE ? 0 : w->batch_seq - t->seq;
        }
    }
    w->batch_seq = 0;
    w->buf_head = w->buf_tail = 0;
    while (b != 0) { /* which is free matters, not the order */
        uint16_t *link = wb_buf_link(w, b - 1);

        b = *link;
        *link = UINT16_MAX;
    }
}
