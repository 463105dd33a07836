/* SPDX-License-Identifier: Apache-2.0 */
/* Memory nodes as the device sees them: fence after an error, loss (W-f1, W-f2, W-f3). */
#include "emu/mech/wb_priv.h"

int wb_node_find(struct wb *w, uint16_t id)
{
    for (uint32_t n = 0; n < w->node_count; n++) {
        if (wb_nd(w, n)->id == id) {
            return (int)n;
        }
    }
    return -1;
}

static void free_quarantine(struct wb *w, struct wb_node *n)
{
    while (n->quar != 0) {
        uint32_t buf = n->quar - 1u;

        n->quar = *wb_buf_link(w, buf);
        wb_buf_put(w, buf);
    }
}

/* What waited for the fence is looked at again; the pump sorts out what is lost. */
static void unstall(struct wb *w, uint32_t node)
{
    wb_q_splice(w, wb_head(w, WB_H_FETCH), wb_head_node(w, node, WB_NH_FETCH));
    wb_q_splice(w, wb_head(w, WB_H_URGENT), wb_head_node(w, node, WB_NH_FLUSH));
}

static void ask_fence(struct wb *w, struct fl_env *e, uint32_t node)
{
    struct wb_node *n = wb_nd(w, node);

    if (!n->fence_out) {
        n->fence_out = 1;
        w->stats.fences++;
        fl_site(e, FL_SITE_FENCE_POST, 0, n->id, 0);
        fl_fence(e, n->id, wb_tag(WB_T_FENCE, 0, node));
    }
}

/* A region may still want the buffers that a node given up has of ours: only a fence brings them. */
static void ask_for_buffers(struct wb *w, struct fl_env *e, uint32_t node)
{
    if (wb_in_use(w) && wb_nd(w, node)->state == WB_N_LOST && wb_nd(w, node)->quar != 0) {
        ask_fence(w, e, node);
    }
}

/* @gone: the connection is known to be closed. Otherwise the device gives up on a node that may
 * still answer some day: what it still has of our buffers comes back only by a fence. */
static void node_lost(struct wb *w, struct fl_env *e, uint32_t node, bool gone)
{
    struct wb_node *n = wb_nd(w, node);
    bool news = n->state == WB_N_UP || n->state == WB_N_FENCING;

    if (gone) {
        n->state = WB_N_GONE;
        free_quarantine(w, n);
    } else if (news) {
        n->state = WB_N_LOST;
        ask_for_buffers(w, e, node);
    }
    if (news) {
        fl_site(e, FL_SITE_PEER_LOST, 0, n->id, 0);
        wb_regions_lose(w, e, node, FL_EPEERDEAD);
        wb_log_fail(w, e, node, true, FL_EPEERDEAD);
        unstall(w, node);
    }
}

static void fence(struct wb *w, struct fl_env *e, uint32_t node)
{
    struct wb_node *n = wb_nd(w, node);

    if (n->fences >= w->cfg.retry_max) {
        node_lost(w, e, node, false);
        return;
    }
    n->fences++;
    n->state = WB_N_FENCING;
    ask_fence(w, e, node);
}

void wb_node_error(struct wb *w, struct fl_env *e, uint32_t node)
{
    struct wb_node *n = wb_nd(w, node);

    ask_for_buffers(w, e, node);
    if (n->state != WB_N_UP) {
        return;
    }
    if (wb_planted(w, FL_PLANT_SKIP_FENCE)) {
        if (++n->fences > w->cfg.retry_max) {
            node_lost(w, e, node, false);
        }
        return;
    }
    fence(w, e, node);
}

void wb_node_progress(struct wb *w, uint32_t node)
{
    wb_nd(w, node)->fences = 0;
}

void wb_on_fence_again(struct wb *w, struct fl_env *e, uint32_t node)
{
    ask_for_buffers(w, e, node);
}

void wb_on_fence(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t node = wb_tag_lo(tag);
    struct wb_node *n = wb_nd(w, node);

    n->fence_out = 0;
    fl_site(e, FL_SITE_FENCE_DONE, 0, n->id, (uint64_t)(int64_t)status);
    w->stats.fence_failures += status != FL_OK;
    if (n->state == WB_N_GONE) {
        return;
    }
    if (status == FL_EPEERDEAD) {
        node_lost(w, e, node, true);
        return;
    }
    if (status != FL_OK) {
        if (n->state == WB_N_FENCING) {
            fence(w, e, node);
        } else {
            fl_timer(e, wb_tag(WB_T_FENCE_AGAIN, 0, node), WB_FENCE_AGAIN_NS);
        }
        return;
    }
    n->fences = n->state == WB_N_LOST ? 0 : n->fences; /* for regions opened from now on */
    n->state = WB_N_UP;
    free_quarantine(w, n);
    wb_log_fail(w, e, node, false, FL_EFENCED); /* their answers can not come any more */
    unstall(w, node);
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        wb_ctl_send(w, e, r);
    }
}

void wb_on_peer_up(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    int i = wb_node_find(w, ev->node);
    struct wb_node *n;

    if (i < 0) {
        return;
    }
    n = wb_nd(w, (uint32_t)i);
    if (ev->a != n->incarnation && n->incarnation != 0) {
        node_lost(w, e, (uint32_t)i, true); /* restarted: what it held is gone */
    }
    n->incarnation = ev->a;
    if (n->state == WB_N_GONE || (n->state == WB_N_LOST && n->quar == 0 && !n->fence_out)) {
        n->state = WB_N_UP; /* for regions opened from now on */
        n->fences = 0;
    }
    for (uint16_t r = 0; r < w->cfg.region_count; r++) {
        wb_ctl_send(w, e, r);
    }
}

void wb_on_peer_down(struct wb *w, struct fl_env *e, const struct fl_event *ev)
{
    int i = wb_node_find(w, ev->node);

    if (i < 0 || (ev->a != 0 && ev->a < wb_nd(w, (uint32_t)i)->incarnation)) {
        return;
    }
    node_lost(w, e, (uint32_t)i, true);
}
