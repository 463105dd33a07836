/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants of mechanism W, seen from outside the core, after every single step. */
#include <stdarg.h>
#include <string.h>

#include "emu/explore_env.h"
#include "emu/mech/inspect.h"

static bool blind(const struct xw *x, const char *check)
{
    for (int b = FL_BLIND_W1; b <= FL_BLIND_W9; b++) {
        if (fl_planted(&x->cfg.plants, (enum fl_plant)b) &&
            strcmp(fl_plant_info((enum fl_plant)b)->check, check) == 0) {
            return true;
        }
    }
    return false;
}

void xw_fail(struct xw *x, const char *check, const char *fmt, ...)
{
    va_list ap;

    if (x->violated || blind(x, check)) {
        return;
    }
    x->violated = true;
    snprintf(x->check, sizeof x->check, "%s", check);
    va_start(ap, fmt);
    vsnprintf(x->what, sizeof x->what, fmt, ap);
    va_end(ap);
}

bool xw_page_counts(const struct xw *x, struct xw_state *s, unsigned page)
{
    unsigned node = xw_node_of(x, page);
    /* the device may give a node up only after something went wrong with it */
    bool excuse = s->left.errors < x->cfg.budget.errors ||
                  s->left.deadlines < x->cfg.budget.deadlines || s->over;

    if (wb_region_state(xw_wb(x, s), 0) == WB_FAILED) {
        return false; /* close has told the application; frames of lost lines may be used again */
    }
    return !s->dead[node] && !(excuse && wb_page_lost(xw_wb(x, s), 0, page));
}

/* The pool holds what the application stored last. */
static void check_image(struct xw *x, struct xw_state *s, const char *check, const char *when)
{
    for (unsigned p = 0; p < x->cfg.pages; p++) {
        for (unsigned l = 0; l < XW_LINES && xw_page_counts(x, s, p); l++) {
            if (s->pages[p].remote[l] != s->pages[p].shadow[l]) {
                xw_fail(x, check, "%s: page %u line %u holds version %u in the pool, stored was %u",
                        when, p, l, s->pages[p].remote[l], s->pages[p].shadow[l]);
            }
        }
    }
}

/* W1 */
void xw_check_closed(struct xw *x, struct xw_state *s)
{
    if (wb_lost_lines(xw_wb(x, s), 0) > 0) {
        xw_fail(x, "W1", "closed well with %llu lines lost",
                (unsigned long long)wb_lost_lines(xw_wb(x, s), 0));
    }
    check_image(x, s, "W1", "closed");
    for (unsigned p = 0; p < x->cfg.pages; p++) {
        if ((s->pages[p].sent | s->pages[p].stored) != 0) { /* nor where the node is dead */
            xw_fail(x, "W1", "closed, but lines %x of page %u are not acknowledged",
                    s->pages[p].sent | s->pages[p].stored, p);
        }
    }
    for (unsigned i = 0; i < s->op_count; i++) {
        if (s->ops[i].kind == FL_CALL_RMA_WRITE && !s->ops[i].ghost) {
            xw_fail(x, "W1", "closed, but a write of page %u is in flight", s->ops[i].page);
        }
    }
}

/* W2 */
void xw_check_drop(struct xw *x, struct xw_state *s, unsigned page)
{
    struct xw_page *p = &s->pages[page];

    if (p->phys != FL_PROT_NONE) {
        xw_fail(x, "W2", "page %u is dropped while threads can reach it", page);
    }
    if (xw_page_counts(x, s, page) && (p->sent | p->stored) != 0) {
        xw_fail(x, "W2", "page %u is dropped, its lines %x are not acknowledged", page,
                p->sent | p->stored);
    }
}

/* W9, where nothing of a page is sent: xw_check_sent never hears of it */
void xw_check_snapped(struct xw *x, struct xw_state *s, unsigned page, bool whole_ended)
{
    if (whole_ended && wb_page_state(xw_wb(x, s), 0, page) == WB_CLEAN &&
        s->pages[page].sent != 0) {
        xw_fail(x, "W9", "page %u is dirty as a whole, and becomes clean with nothing sent", page);
    }
}

/* W4; counts for W5 */
void xw_check_sent(struct xw *x, struct xw_state *s, unsigned page, uint64_t mask, bool whole)
{
    s->bytes_sent += (uint64_t)fl_mask_count(mask) * FL_LINE_BYTES;
    if (whole && mask != FL_MASK_ALL) {
        xw_fail(x, "W9", "page %u is dirty as a whole, but only lines %llx are sent", page,
                (unsigned long long)mask);
    }
    if (!whole && (mask & ~(uint64_t)s->pages[page].sent) != 0) {
        xw_fail(x, "W4", "lines %llx of page %u are sent, but only %x are dirty",
                (unsigned long long)mask, page, s->pages[page].sent);
    }
}

/* W7 */
void xw_check_landing(struct xw *x, unsigned page, unsigned line, uint16_t was, uint16_t is)
{
    if (is < was) {
        xw_fail(x, "W7", "page %u line %u: version %u overwrites version %u in the pool", page,
                line, is, was);
    }
}

/* W3 where the core says that nothing is left to do, W5 always */
void xw_check_state(struct xw *x, struct xw_state *s)
{
    struct wb *w = xw_wb(x, s);

    if (wb_stats(w)->bytes_sent > s->bytes_sent) {
        xw_fail(x, "W5", "the device counts %llu bytes sent, the fabric %llu",
                (unsigned long long)wb_stats(w)->bytes_sent, (unsigned long long)s->bytes_sent);
    }
    if (s->note_count > 0 || !wb_quiescent(w)) {
        return;
    }
    for (unsigned i = 0; i < s->op_count; i++) {
        if (s->ops[i].kind == FL_CALL_GATE || (s->ops[i].is_mn == 0 && s->ops[i].ghost)) {
            return;
        }
    }
    for (unsigned t = 0; t < x->cfg.threads; t++) {
        if (s->threads[t].phase == XW_OPENING || s->threads[t].phase == XW_TAKEN) {
            return;
        }
    }
    check_image(x, s, "W3", "at rest");
}

/* W-f2: what was in a snapshot is sent until it is acknowledged, or counted as lost. */
static void check_unacked(struct xw *x, struct xw_state *s)
{
    struct wb *w = xw_wb(x, s);
    enum wb_region_state rs = wb_region_state(w, 0);

    for (unsigned p = 0; p < x->cfg.pages && (rs == WB_OPEN || rs == WB_CLOSING); p++) {
        if (s->pages[p].sent != 0 && !wb_page_lost(w, 0, p)) {
            xw_fail(x, "W-f2",
                    "nothing can happen any more, lines %x of page %u were sent without success, "
                    "and are neither sent again nor lost",
                    s->pages[p].sent, p);
        }
    }
}

void xw_check_end(struct xw *x, struct xw_state *s)
{
    check_unacked(x, s);
    for (unsigned t = 0; t < x->cfg.threads; t++) {
        if (s->threads[t].phase != XW_IDLE) {
            xw_fail(x, "W-end", "nothing can happen any more, thread %u waits for page %u", t,
                    s->threads[t].page);
        }
    }
    if (wb_free_bufs(xw_wb(x, s)) + wb_left_bufs(xw_wb(x, s)) != x->cfg.bufs) {
        xw_fail(x, "W-end", "nothing can happen any more, %u of %u buffers are still in use",
                x->cfg.bufs - wb_free_bufs(xw_wb(x, s)), x->cfg.bufs);
    }
    if (s->closing && s->closed == 0) {
        xw_fail(x, "W-end", "nothing can happen any more, close has not ended");
    }
    if (s->closed == 1 && wb_region_state(xw_wb(x, s), 0) != WB_CLOSED) {
        xw_fail(x, "W-end", "close ended well, but the region is not closed");
    }
}
