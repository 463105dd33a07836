/* SPDX-License-Identifier: Apache-2.0 */
/* The log path: snapshots of many pages in one message, retired by its acknowledgement. */
#include <string.h>

#include "emu/mech/wb_priv.h"

static uint32_t batch_head(const struct wb *w, uint32_t node, uint32_t slot)
{
    return wb_head_node(w, node, WB_NH_BATCH + slot);
}

void wb_log_queue(struct wb *w, uint32_t idx, uint32_t node)
{
    wb_pg(w, idx)->step = WB_S_SNAPPED;
    wb_q_remove(w, idx);
    wb_q_push(w, wb_head_node(w, node, WB_NH_LOG), idx, WB_Q_LOG);
    w->snapped++;
}

/* Message of the pages in the batch; sending it again gives the same message. */
static void send_batch(struct wb *w, struct fl_env *e, uint32_t node, uint32_t slot)
{
    struct wb_batch *b = &wb_nd(w, node)->batches[slot];
    uint32_t head = batch_head(w, node, slot);
    struct wb_at at = wb_at(w, wb_q_first(w, head));
    struct fl_msg m = {.type = FL_MSG_LOG_BATCH,
                       .region = at.region,
                       .epoch = w->regions[at.region].epoch,
                       .seq = b->seq};

    for (uint32_t i = wb_q_first(w, head); i != head; i = wb_pg(w, i)->q_next) {
        const struct wb_page *p = wb_pg(w, i);
        struct fl_slot slot_of = wb_slot_of(w, i);
        fl_mask lines = p->inflight;

        if (wb_planted(w, FL_PLANT_SEND_CLEAN)) {
            lines |= lines << 1;
        }
        m.entries[m.entry_count++] = (struct fl_msg_entry){.chunk = slot_of.chunk,
                                                           .region = at.region,
                                                           .page = slot_of.page,
                                                           .mask = lines,
                                                           .seq = p->seq,
                                                           .buf = p->buf - 1u,
                                                           .whole = wb_has(p, WB_F_WHOLE)};
    }
    m.count = m.entry_count;
    b->state = WB_B_SENDING;
    fl_send(e, wb_nd(w, node)->id, &m, wb_tag(WB_T_SEND_LOG, slot, node));
}

/* Takes pages of one region from the front of the node's snapshots. */
static void form_batch(struct wb *w, struct fl_env *e, uint32_t node, uint32_t slot)
{
    uint32_t from = wb_head_node(w, node, WB_NH_LOG), to = batch_head(w, node, slot);
    struct wb_batch *b = &wb_nd(w, node)->batches[slot];
    uint16_t region = wb_at(w, wb_q_first(w, from)).region;
    uint32_t payload = 0;

    *b = (struct wb_batch){.seq = ++w->batch_seq};
    while (!wb_q_empty(w, from) && b->count < w->cfg.log_batch_pages) {
        uint32_t idx = wb_q_first(w, from);
        struct wb_page *p = wb_pg(w, idx);
        /* a plant may add lines; the limit must hold for them, too */
        uint32_t bytes = 2 * fl_mask_count(p->inflight) * FL_LINE_BYTES;

        bytes = bytes > FL_PAGE_BYTES ? FL_PAGE_BYTES : bytes;
        if (wb_at(w, idx).region != region || payload + bytes > FL_MSG_PAYLOAD_MAX) {
            break;
        }
        payload +=
            wb_planted(w, FL_PLANT_SEND_CLEAN) ? bytes : fl_mask_count(p->inflight) * FL_LINE_BYTES;
        (void)wb_sent_mask(w, e, idx);
        wb_q_remove(w, idx);
        wb_q_push(w, to, idx, WB_Q_LOG);
        p->step = WB_S_POSTED;
        w->snapped--;
        b->count++;
    }
    w->stats.log_batches++;
    fl_timer(e, wb_tag(WB_T_BATCH, slot, node), w->cfg.regions[region].op_deadline_ns);
    send_batch(w, e, node, slot);
}

/* Snapshots whose node is lost go back; they are counted when they come by again. */
static void fail_queued(struct wb *w, struct fl_env *e, uint32_t node, int status)
{
    uint32_t head = wb_head_node(w, node, WB_NH_LOG);

    while (!wb_q_empty(w, head)) {
        uint32_t idx = wb_q_first(w, head);

        wb_q_remove(w, idx);
        w->snapped--;
        wb_buf_release(w, wb_pg(w, idx));
        wb_flush_failed(w, e, idx, status);
    }
}

/* Snapshots of regions to which the node is lost, wherever they stand. */
static bool first_is_lost(struct wb *w, uint32_t head)
{
    struct wb_at at = wb_at(w, wb_q_first(w, head));

    return wb_lost(w, &at);
}

static void pump_node(struct wb *w, struct fl_env *e, uint32_t node)
{
    uint32_t head = wb_head_node(w, node, WB_NH_LOG);
    struct wb_node *n = wb_nd(w, node);

    for (uint32_t slot = 0; slot < WB_LOG_WINDOW; slot++) {
        while (!wb_q_empty(w, head) && first_is_lost(w, head)) {
            uint32_t idx = wb_q_first(w, head);

            wb_q_remove(w, idx);
            w->snapped--;
            wb_buf_release(w, wb_pg(w, idx));
            wb_flush_failed(w, e, idx, FL_EPEERDEAD);
        }
        if (wb_q_empty(w, head) || n->state != WB_N_UP) {
            return;
        }
        if (n->batches[slot].state == WB_B_FREE) {
            form_batch(w, e, node, slot);
        }
    }
}

/* A batch waits for more pages only while some are being gated. */
void wb_pump_log(struct wb *w, struct fl_env *e)
{
    uint32_t full = w->cfg.log_batch_pages;

    if (w->snapped == 0 || (w->gating > 0 && w->snapped < full && w->free_bufs > 1)) {
        return;
    }
    for (uint32_t n = 0; n < w->node_count; n++) {
        pump_node(w, e, n);
    }
}

static void batch_end(struct wb *w, struct fl_env *e, uint32_t node, uint32_t slot, int status)
{
    uint32_t head = batch_head(w, node, slot);
    struct wb_batch *b = &wb_nd(w, node)->batches[slot];
    bool unsent = b->state == WB_B_CREDIT; /* the fabric never had room for it */

    fl_timer(e, wb_tag(WB_T_BATCH, slot, node), FL_NEVER);
    *b = (struct wb_batch){0};
    while (!wb_q_empty(w, head)) {
        uint32_t idx = wb_q_first(w, head);
        struct wb_page *p = wb_pg(w, idx);

        wb_q_remove(w, idx);
        if (p->buf != 0) { /* never taken by the fabric */
            wb_buf_release(w, p);
        }
        if (unsent) {
            wb_unsent(w, idx);
        }
        if (status == FL_OK) {
            wb_retire(w, e, idx);
        } else {
            wb_flush_failed(w, e, idx, status);
        }
    }
}

void wb_on_log_sent(struct wb *w, struct fl_env *e, uint64_t tag, int status)
{
    uint32_t node = wb_tag_lo(tag), slot = wb_tag_hi(tag), head = batch_head(w, node, slot);
    struct wb_batch *b = &wb_nd(w, node)->batches[slot];
    bool early = wb_planted(w, FL_PLANT_LOCAL_ACK) || wb_planted(w, FL_PLANT_DROP_UNACKED);

    if (b->state != WB_B_SENDING) {
        return;
    }
    if (status == FL_EAGAIN && b->failed == FL_OK) {
        b->state = WB_B_CREDIT;
        return;
    }
    if (status == FL_OK) {
        for (uint32_t i = wb_q_first(w, head); i != head; i = wb_pg(w, i)->q_next) {
            wb_buf_release(w, wb_pg(w, i));
        }
    }
    b->state = WB_B_SENT;
    if (status != FL_OK || b->failed != FL_OK) {
        status = b->failed != FL_OK ? b->failed : status;
        wb_node_error(w, e, node);
        batch_end(w, e, node, slot, status);
    } else if (b->acked || early) {
        batch_end(w, e, node, slot, FL_OK);
    }
}

void wb_on_log_ack(struct wb *w, struct fl_env *e, uint32_t node, uint64_t seq, int status)
{
    struct wb_node *n = wb_nd(w, node);

    for (uint32_t slot = 0; slot < WB_LOG_WINDOW; slot++) {
        struct wb_batch *b = &n->batches[slot];

        if ((b->state != WB_B_SENDING && b->state != WB_B_SENT) || b->seq != seq) {
            continue;
        }
        if (status == FL_OK) {
            wb_node_progress(w, node);
        }
        if (b->state == WB_B_SENDING) {
            b->acked = status == FL_OK;
            b->failed = status;
        } else {
            if (status != FL_OK) {
                wb_node_error(w, e, node);
            }
            batch_end(w, e, node, slot, status);
        }
        return;
    }
    /* late or duplicate: its pages were retired, or have been sent again with a new number */
}

void wb_on_log_timer(struct wb *w, struct fl_env *e, uint64_t tag)
{
    uint32_t node = wb_tag_lo(tag), slot = wb_tag_hi(tag);
    struct wb_batch *b = &wb_nd(w, node)->batches[slot];

    if (b->state == WB_B_FREE) {
        return;
    }
    if (b->state == WB_B_SENDING) {
        b->failed = FL_ETIMEDOUT;
        return;
    }
    wb_node_error(w, e, node);
    batch_end(w, e, node, slot, FL_ETIMEDOUT);
}

void wb_log_credit(struct wb *w, struct fl_env *e, uint32_t node)
{
    struct wb_node *n = wb_nd(w, node);

    for (uint32_t slot = 0; slot < WB_LOG_WINDOW; slot++) {
        if (n->batches[slot].state == WB_B_CREDIT && n->state == WB_N_UP) {
            send_batch(w, e, node, slot);
        }
    }
}

void wb_log_fail(struct wb *w, struct fl_env *e, uint32_t node, bool queued, int status)
{
    for (uint32_t slot = 0; slot < WB_LOG_WINDOW; slot++) {
        struct wb_batch *b = &wb_nd(w, node)->batches[slot];

        if (b->state == WB_B_SENDING) {
            b->failed = status;
        } else if (b->state != WB_B_FREE) {
            batch_end(w, e, node, slot, status);
        }
    }
    if (queued) {
        fail_queued(w, e, node, status);
    }
}
