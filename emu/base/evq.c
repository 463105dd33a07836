/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/evq.h"

#include <stdlib.h>

#include "emu/base/assert.h"

/* A binary heap of 48-byte entries. Cancelling marks an entry dead through its slot: the id is
 * (generation, slot), and a dead entry is skipped when it reaches the top. */
struct entry {
    uint64_t at_ns, order;
    fl_evq_fn *fn;
    void *arg;
    uint64_t a, b;
    uint32_t slot;
};

struct slot {
    uint32_t gen;
    uint32_t next_free;
    int dead;
};

struct fl_evq {
    uint64_t now_ns, order;
    struct entry *heap;
    size_t count, cap;
    struct slot *slots;
    uint32_t slot_count, slot_cap, free_slot;
};

enum { NO_SLOT = 0xffffffffU };

struct fl_evq *fl_evq_new(void)
{
    struct fl_evq *q = calloc(1, sizeof *q);

    if (q != NULL) {
        q->free_slot = NO_SLOT;
    }
    return q;
}

void fl_evq_free(struct fl_evq **q)
{
    if (q == NULL || *q == NULL) {
        return;
    }
    free((*q)->heap);
    free((*q)->slots);
    free(*q);
    *q = NULL;
}

uint64_t fl_evq_now_ns(const struct fl_evq *q)
{
    return q->now_ns;
}

static int before(const struct entry *x, const struct entry *y)
{
    return x->at_ns != y->at_ns ? x->at_ns < y->at_ns : x->order < y->order;
}

static uint32_t slot_take(struct fl_evq *q)
{
    uint32_t s = q->free_slot;

    if (s != NO_SLOT) {
        q->free_slot = q->slots[s].next_free;
    } else {
        if (q->slot_count == q->slot_cap) {
            q->slot_cap = q->slot_cap ? q->slot_cap * 2 : 256;
            q->slots = realloc(q->slots, q->slot_cap * sizeof *q->slots);
            FL_ASSERT(q->slots != NULL);
        }
        s = q->slot_count++;
        q->slots[s].gen = 1;
    }
    q->slots[s].dead = 0;
    return s;
}

static void slot_give(struct fl_evq *q, uint32_t s)
{
    q->slots[s].gen++;
    q->slots[s].next_free = q->free_slot;
    q->free_slot = s;
}

uint64_t fl_evq_at(struct fl_evq *q, uint64_t at_ns, fl_evq_fn *fn, void *arg, uint64_t a,
                   uint64_t b)
{
    struct entry e = {at_ns > q->now_ns ? at_ns : q->now_ns, q->order++, fn, arg, a, b, 0};
    size_t i;

    if (q->count == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 256;
        q->heap = realloc(q->heap, q->cap * sizeof *q->heap);
        FL_ASSERT(q->heap != NULL);
    }
    e.slot = slot_take(q);
    for (i = q->count++; i > 0; i = (i - 1) / 2) {
        if (!before(&e, &q->heap[(i - 1) / 2])) {
            break;
        }
        q->heap[i] = q->heap[(i - 1) / 2];
    }
    q->heap[i] = e;
    return ((uint64_t)q->slots[e.slot].gen << 32) | e.slot;
}

void fl_evq_cancel(struct fl_evq *q, uint64_t id)
{
    uint32_t s = (uint32_t)id;

    if (s < q->slot_count && q->slots[s].gen == (uint32_t)(id >> 32)) {
        q->slots[s].dead = 1;
    }
}

static struct entry pop(struct fl_evq *q)
{
    struct entry top = q->heap[0], last = q->heap[--q->count];
    size_t i = 0;

    for (;;) {
        size_t c = 2 * i + 1;

        if (c >= q->count) {
            break;
        }
        if (c + 1 < q->count && before(&q->heap[c + 1], &q->heap[c])) {
            c++;
        }
        if (!before(&q->heap[c], &last)) {
            break;
        }
        q->heap[i] = q->heap[c];
        i = c;
    }
    if (q->count > 0) {
        q->heap[i] = last;
    }
    return top;
}

static void skip_dead(struct fl_evq *q)
{
    while (q->count > 0 && q->slots[q->heap[0].slot].dead) {
        slot_give(q, pop(q).slot);
    }
}

bool fl_evq_step(struct fl_evq *q)
{
    struct entry e;

    skip_dead(q);
    if (q->count == 0) {
        return false;
    }
    e = pop(q);
    slot_give(q, e.slot);
    q->now_ns = e.at_ns;
    e.fn(e.arg, e.a, e.b);
    return true;
}

uint64_t fl_evq_next_ns(const struct fl_evq *q)
{
    /* Dead entries only make this early, never late; callers step and look again. */
    return q->count > 0 ? q->heap[0].at_ns : UINT64_MAX;
}
