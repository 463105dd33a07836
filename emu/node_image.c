/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image of a memory node that outlives it: the pool, and behind it a journal of one log batch.
 * A batch is copied there whole, then its commit record is written, then it is unpacked into the
 * pool, then the record is cleared. Whoever opens the image again completes a batch that has its
 * record and forgets one that has none: pages of a batch are never half old and half new. The media
 * is memory that outlives a process (or, in the simulator, a node), so program order is enough.
 */
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "emu/node_priv.h"

struct node_journal {
    uint64_t commit; /* entries that apply, a bit each; 0: no batch is committed */
    uint64_t sum;    /* of all that follows, with the commit word as seed */
    uint64_t payload_bytes;
    struct fl_msg m;
    uint8_t payload[FL_MSG_PAYLOAD_MAX];
};

static size_t journal_off(const struct plan *p, uint16_t self)
{
    return p->nodes[self].memory_bytes;
}

size_t emu_node_image_bytes(const struct plan *p, uint16_t self)
{
    size_t all = journal_off(p, self) + sizeof(struct node_journal);

    return (all + FL_PAGE_BYTES - 1) / FL_PAGE_BYTES * FL_PAGE_BYTES;
}

static struct node_journal *journal_of(struct emu_node *n)
{
    if (n->cfg.image == NULL) {
        return NULL;
    }
    return (struct node_journal *)(void *)(n->cfg.image + journal_off(n->cfg.plan, n->cfg.self));
}

static uint64_t journal_sum(const struct node_journal *j, uint64_t commit)
{
    size_t from = offsetof(struct node_journal, payload_bytes);

    return XXH64((const uint8_t *)j + from,
                 offsetof(struct node_journal, payload) - from + j->payload_bytes, commit);
}

static size_t payload_of(const struct fl_msg *m)
{
    size_t lines = 0;

    for (uint16_t i = 0; i < m->entry_count; i++) {
        lines += fl_mask_count(m->entries[i].mask);
    }
    return lines * FL_LINE_BYTES;
}

bool node_image_record(struct emu_node *n, uint64_t commit)
{
    struct node_journal *j = journal_of(n);

    if (j == NULL) {
        return false;
    }
    j->commit = 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (commit != 0) {
        j->m = *n->msg;
        j->payload_bytes = payload_of(n->msg);
        memcpy(j->payload, n->payload, j->payload_bytes);
        j->sum = journal_sum(j, commit);
        atomic_signal_fence(memory_order_seq_cst);
        j->commit = commit;
        atomic_signal_fence(memory_order_seq_cst);
    }
    return true;
}

bool node_image_recover(struct emu_node *n)
{
    struct node_journal *j = journal_of(n);
    const uint8_t *src;

    if (j == NULL || j->commit == 0 || j->payload_bytes > FL_MSG_PAYLOAD_MAX ||
        j->m.entry_count > FL_MSG_ENTRIES_MAX || payload_of(&j->m) != j->payload_bytes ||
        j->sum != journal_sum(j, j->commit)) {
        return false;
    }
    src = j->payload;
    for (uint16_t i = 0; i < j->m.entry_count; i++) {
        const struct fl_msg_entry *en = &j->m.entries[i];
        uint8_t *dst = node_slot(n, en->chunk, en->page);

        for (fl_mask left = en->mask; left != 0; left &= left - 1) {
            if (dst != NULL && ((j->commit >> i) & 1)) {
                memcpy(dst + fl_mask_first(left) * FL_LINE_BYTES, src, FL_LINE_BYTES);
            }
            src += FL_LINE_BYTES;
        }
    }
    j->commit = 0;
    return true;
}
