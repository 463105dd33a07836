/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory node: writer's leases of its chunks, and the unpacker of log batches (W7).
 *
 * A batch is checked completely before its first line is installed, so a batch is applied whole or
 * not at all as far as this core decides. A crash in the middle leaves nothing to repair where the
 * pool is volatile: the sender keeps every line until the acknowledgement. A pool that outlives the
 * node gets a commit record on its media first, which names the entries that apply: whoever reads
 * the media again completes the batch, or there is no record and none of it was applied. A page's last number is kept with the generation of its chunk's lease, so
 * that a new opener starts from 0 and late batches of the one before can never apply.
 *
 * A lease outlives the connection of its holder: it ends by close_req, or is taken over by a higher
 * epoch from the same node (W-f7: restart of the compute node).
 */
#include "emu/mech/memnode.h"

#include "emu/base/assert.h"
#include "emu/mech/inspect.h"

/* Answers to stores need nothing: what follows in the same step is ordered behind them. */
enum { ANSWERS_MAX = 64, SEQ_BITS = 40, RECORD_TAG = ANSWERS_MAX + 1, RECORD_BATCH = 1 };

struct lease {
    uint64_t epoch;
    uint32_t gen; /* counts openers */
    uint16_t node;
    uint8_t held;
    uint8_t pad;
};

/* An answer that may have to wait for credit. */
struct answer {
    uint64_t seq, a;
    int32_t status;
    uint16_t node, chunk, region;
    uint8_t used, waits, type;
    uint8_t pad[3];
};

struct mn {
    struct mn_cfg cfg;
    struct mn_stats stats;
    struct lease leases[MN_CHUNKS_MAX];
    uint32_t first[MN_CHUNKS_MAX]; /* index of the chunk's first page */
    struct answer answers[ANSWERS_MAX];
    uint64_t applied[]; /* per page: generation of the lease, sequence number */
};

int mn_check(const struct mn_cfg *cfg, struct fl_errmsg *err)
{
    uint64_t pages = 0;

    if (cfg->chunk_count > MN_CHUNKS_MAX) {
        return fl_fail(err, FL_EINVAL, "chunk_count: %u; a memory node has at most %d chunks",
                       cfg->chunk_count, MN_CHUNKS_MAX);
    }
    for (uint16_t c = 0; c < cfg->chunk_count; c++) {
        pages += cfg->chunk_pages[c];
    }
    if (pages >= UINT32_MAX / 2) {
        return fl_fail(err, FL_EINVAL, "chunk_pages: %llu pages in all chunks; the limit is %u",
                       (unsigned long long)pages, UINT32_MAX / 2);
    }
    return FL_OK;
}

size_t mn_size(const struct mn_cfg *cfg)
{
    size_t pages = 0;

    for (uint16_t c = 0; c < cfg->chunk_count; c++) {
        pages += cfg->chunk_pages[c];
    }
    return sizeof(struct mn) + pages * sizeof(uint64_t);
}

struct mn *mn_init(void *mem, const struct mn_cfg *cfg)
{
    struct mn *m = mem;
    uint32_t first = 0;

    FL_ASSERT(mn_check(cfg, NULL) == FL_OK);
    m->cfg = *cfg;
    for (uint16_t c = 0; c < cfg->chunk_count; c++) {
        m->first[c] = first;
        first += cfg->chunk_pages[c];
    }
    return m;
}

static void send_answer(struct mn *m, struct fl_env *e, uint32_t i)
{
    struct answer *a = &m->answers[i];

    a->waits = 0;
    fl_send(e, a->node,
            &(struct fl_msg){.type = a->type,
                             .chunk = a->chunk,
                             .region = a->region,
                             .status = a->status,
                             .seq = a->seq,
                             .epoch = a->a,
                             .a = a->a},
            i + 1);
}

/* Sends an answer. When too many wait for credit it is dropped: the asker's deadline repairs it. */
static void answer(struct mn *m, struct fl_env *e, struct answer a)
{
    for (uint32_t i = 0; i < ANSWERS_MAX; i++) {
        if (!m->answers[i].used) {
            a.used = 1;
            m->answers[i] = a;
            send_answer(m, e, i);
            return;
        }
    }
}

static bool holds(const struct mn *m, uint16_t chunk, uint16_t node, uint64_t epoch)
{
    const struct lease *l = &m->leases[chunk];

    return l->held && l->node == node && l->epoch == epoch;
}

static int open_chunk(struct mn *m, uint16_t node, const struct fl_msg *q)
{
    struct lease *l;

    if (q->chunk >= m->cfg.chunk_count) {
        return FL_EINVAL;
    }
    if (q->count > m->cfg.chunk_pages[q->chunk]) {
        return FL_ENOSPC;
    }
    l = &m->leases[q->chunk];
    if (holds(m, q->chunk, node, q->a)) {
        return FL_OK; /* asked twice */
    }
    if (l->held && l->node != node) {
        return FL_ELEASE;
    }
    if (l->gen > 0 && l->node == node && q->a <= l->epoch) {
        return FL_EFENCED; /* a late request of an earlier opening */
    }
    *l = (struct lease){.epoch = q->a, .gen = l->gen + 1, .node = node, .held = 1};
    return FL_OK;
}

static int close_chunk(struct mn *m, uint16_t node, const struct fl_msg *q)
{
    if (q->chunk >= m->cfg.chunk_count) {
        return FL_EINVAL;
    }
    if (!holds(m, q->chunk, node, q->a)) {
        return FL_EFENCED;
    }
    m->leases[q->chunk].held = 0;
    return FL_OK;
}

static int check_batch(const struct mn *m, uint16_t node, const struct fl_msg *q)
{
    if (q->entry_count == 0 || q->entry_count > FL_MSG_ENTRIES_MAX) {
        return FL_EPROTO;
    }
    for (uint16_t i = 0; i < q->entry_count; i++) {
        const struct fl_msg_entry *n = &q->entries[i];

        if (n->chunk >= m->cfg.chunk_count || n->page >= m->cfg.chunk_pages[n->chunk] ||
            n->seq == 0 || n->seq >> SEQ_BITS != 0) {
            return FL_EPROTO;
        }
        if (!holds(m, n->chunk, node, q->epoch)) {
            return FL_EFENCED;
        }
    }
    return FL_OK;
}

static uint64_t number_of(const struct mn *m, const struct fl_msg_entry *n)
{
    return (uint64_t)m->leases[n->chunk].gen << SEQ_BITS | n->seq;
}

static void apply_entry(struct mn *m, struct fl_env *e, const struct fl_msg *q, uint16_t i)
{
    const struct fl_msg_entry *n = &q->entries[i];
    uint64_t *applied = &m->applied[m->first[n->chunk] + n->page];
    uint64_t number = number_of(m, n);

    m->stats.entries++;
    if (number <= *applied && !fl_planted(&m->cfg.plants, FL_PLANT_STALE_SEQ)) {
        m->stats.stale++;
        fl_site(e, FL_SITE_LOG_STALE, n->chunk, n->page, n->seq);
        return;
    }
    fl_install(e, n->chunk, n->page, n->mask, (struct fl_src){.kind = FL_SRC_MSG, .idx = i});
    *applied = number;
    m->stats.lines += fl_mask_count(n->mask);
    m->stats.payload_bytes += (uint64_t)fl_mask_count(n->mask) * FL_LINE_BYTES;
    fl_site(e, FL_SITE_LOG_APPLY, n->chunk, n->page, fl_mask_count(n->mask));
}

/* Entries that apply, one bit each. */
static uint64_t newer_entries(const struct mn *m, const struct fl_msg *q)
{
    uint64_t bits = 0;

    for (uint16_t i = 0; i < q->entry_count; i++) {
        const struct fl_msg_entry *n = &q->entries[i];

        if (number_of(m, n) > m->applied[m->first[n->chunk] + n->page] ||
            fl_planted(&m->cfg.plants, FL_PLANT_STALE_SEQ)) {
            bits |= UINT64_C(1) << i;
        }
    }
    return bits;
}

/* The record comes before the first line, and goes after the last. */
static void commit_record(struct mn *m, struct fl_env *e, const struct fl_msg *q, uint64_t entries)
{
    if (m->cfg.durable && !fl_planted(&m->cfg.plants, FL_PLANT_NO_RECORD)) {
        fl_store(e, &(struct fl_store){.tag = RECORD_TAG,
                                       .op = FL_STORE_RECORD,
                                       .seq = q->seq,
                                       .a = RECORD_BATCH,
                                       .b = entries});
    }
}

static int apply_batch(struct mn *m, struct fl_env *e, uint16_t node, const struct fl_msg *q)
{
    int rc = check_batch(m, node, q);

    m->stats.batches++;
    fl_site(e, FL_SITE_LOG_RX, q->region, q->entry_count, q->seq);
    if (rc != FL_OK) {
        return rc;
    }
    commit_record(m, e, q, newer_entries(m, q));
    fl_site(e, FL_SITE_LOG_COMMIT, q->region, q->entry_count, q->seq);
    for (uint16_t i = 0; i < q->entry_count; i++) {
        apply_entry(m, e, q, i);
    }
    commit_record(m, e, q, 0);
    return FL_OK;
}

static void on_msg(struct mn *m, struct fl_env *e, const struct fl_event *ev)
{
    const struct fl_msg *q = ev->msg;
    struct answer a = {.node = ev->node, .chunk = q->chunk, .region = q->region, .a = q->a};

    switch (q->type) {
    case FL_MSG_OPEN_REQ:
        a.type = FL_MSG_OPEN_ACK;
        a.status = open_chunk(m, ev->node, q);
        *(a.status == FL_OK ? &m->stats.opens : &m->stats.refused) += 1;
        fl_site(e, FL_SITE_LEASE, q->region, q->region, (uint64_t)(int64_t)a.status);
        break;
    case FL_MSG_CLOSE_REQ:
        a.type = FL_MSG_CLOSE_ACK;
        a.status = close_chunk(m, ev->node, q);
        break;
    case FL_MSG_LOG_BATCH:
        a.type = FL_MSG_LOG_ACK;
        a.status = apply_batch(m, e, ev->node, q);
        a.seq = q->seq;
        a.a = q->epoch;
        break;
    default:
        return;
    }
    answer(m, e, a);
}

void mn_step(struct mn *m, struct fl_env *env, const struct fl_event *ev)
{
    switch (ev->kind) {
    case FL_EV_START:
        if (m->cfg.incarnation > 1) {
            fl_site(env, FL_SITE_RESTART, 0, m->cfg.incarnation, m->cfg.durable);
        }
        break;
    case FL_EV_MSG:
        on_msg(m, env, ev);
        break;
    case FL_EV_DONE:
        if (ev->tag >= 1 && ev->tag <= ANSWERS_MAX) {
            struct answer *a = &m->answers[ev->tag - 1];

            a->waits = ev->status == FL_EAGAIN;
            a->used = a->waits;
        }
        break;
    case FL_EV_CREDIT:
    case FL_EV_PEER_DOWN:
        for (uint32_t i = 0; i < ANSWERS_MAX; i++) {
            if (m->answers[i].waits && m->answers[i].node == ev->node) {
                if (ev->kind == FL_EV_CREDIT) {
                    send_answer(m, env, i);
                } else {
                    m->answers[i] = (struct answer){0};
                }
            }
        }
        break;
    default:
        break;
    }
}

uint64_t mn_applied_seq(const struct mn *m, uint16_t chunk, uint32_t page)
{
    return m->applied[m->first[chunk] + page] & ((UINT64_C(1) << SEQ_BITS) - 1);
}

void mn_canon(struct mn *m)
{
    m->stats = (struct mn_stats){0};
    for (uint32_t i = 0; i < ANSWERS_MAX; i++) {
        m->answers[i].seq = 0;
        if (!m->answers[i].used) {
            m->answers[i] = (struct answer){0};
        }
    }
    for (uint16_t c = 0; c < m->cfg.chunk_count; c++) {
        for (uint32_t p = 0; p < m->cfg.chunk_pages[c]; p++) {
            m->applied[m->first[c] + p] &= ~((UINT64_C(1) << SEQ_BITS) - 1);
        }
    }
}

const struct mn_stats *mn_stats(const struct mn *m)
{
    return &m->stats;
}
