/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/twin.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "emu/base/assert.h"
#include "emu/base/units.h"

/*
 * A stack of frame numbers. The head carries a tag that every change counts up: a thread that read
 * head and next, and slept while the frame was taken and given back, then fails its exchange.
 */
struct coh_twins {
    _Alignas(64) _Atomic uint64_t head;  /* tag << 32 | frame */
    _Alignas(64) _Atomic uint32_t fresh; /* frames up to this number were taken before */
    _Atomic uint32_t used, used_max;
    uint32_t count;
    uint8_t *frames;
    _Atomic uint32_t *next; /* next[frame] below it on the stack */
};

static void *reserve(size_t len_bytes)
{
    void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static size_t next_bytes(const struct coh_twins *t)
{
    return ((size_t)t->count + 1) * sizeof *t->next;
}

int coh_twins_new(uint32_t count, struct coh_twins **ret, struct fl_errmsg *err)
{
    if (count == 0 || count >= UINT32_MAX / 2)
        return fl_fail(err, FL_EINVAL, "%u twin frames asked for; ask for 1 to 2^31", count);
    struct coh_twins *t = aligned_alloc(64, sizeof *t);
    if (!t)
        return fl_fail(err, FL_ENOMEM, "no memory for the twin pool");
    *t = (struct coh_twins){.count = count};
    t->frames = reserve((size_t)count * FL_PAGE_BYTES);
    t->next = reserve(next_bytes(t));
    if (!t->frames || !t->next) {
        coh_twins_free(&t);
        return fl_fail(err, FL_ENOMEM,
                       "cannot reserve %u twin frames; lower the node's device memory", count);
    }
    *ret = t;
    return FL_OK;
}

void coh_twins_free(struct coh_twins **t)
{
    if (!*t)
        return;
    if ((*t)->frames)
        munmap((*t)->frames, (size_t)(*t)->count * FL_PAGE_BYTES);
    if ((*t)->next)
        munmap((*t)->next, next_bytes(*t));
    free(*t);
    *t = NULL;
}

static void count_used(struct coh_twins *t)
{
    uint32_t n = atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed) + 1;
    uint32_t max = atomic_load_explicit(&t->used_max, memory_order_relaxed);
    while (n > max && !atomic_compare_exchange_weak_explicit(
                          &t->used_max, &max, n, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Frames that were never used are handed out only when no warm one lies on the stack. */
static uint32_t take_fresh(struct coh_twins *t)
{
    uint32_t n = atomic_load_explicit(&t->fresh, memory_order_relaxed);
    while (n < t->count) {
        if (atomic_compare_exchange_weak_explicit(&t->fresh, &n, n + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return n + 1;
    }
    return COH_TWIN_NONE;
}

uint32_t coh_twins_take(struct coh_twins *t)
{
    uint64_t head = atomic_load_explicit(&t->head, memory_order_acquire);
    uint32_t twin;
    for (;;) {
        twin = (uint32_t)head;
        if (twin == COH_TWIN_NONE)
            break;
        uint64_t below = atomic_load_explicit(&t->next[twin], memory_order_relaxed);
        uint64_t want = ((head >> 32) + 1) << 32 | below;
        if (atomic_compare_exchange_weak_explicit(&t->head, &head, want, memory_order_acquire,
                                                  memory_order_acquire))
            break;
    }
    if (twin == COH_TWIN_NONE)
        twin = take_fresh(t);
    if (twin != COH_TWIN_NONE)
        count_used(t);
    return twin;
}

void coh_twins_give(struct coh_twins *t, uint32_t twin)
{
    FL_ASSERT(twin != COH_TWIN_NONE && twin <= t->count);
    FL_ASSERT(atomic_fetch_sub_explicit(&t->used, 1, memory_order_relaxed) > 0);
    uint64_t head = atomic_load_explicit(&t->head, memory_order_relaxed);
    uint64_t want;
    do {
        atomic_store_explicit(&t->next[twin], (uint32_t)head, memory_order_relaxed);
        want = ((head >> 32) + 1) << 32 | twin;
    } while (!atomic_compare_exchange_weak_explicit(&t->head, &head, want, memory_order_release,
                                                    memory_order_relaxed));
}

uint8_t *coh_twins_at(const struct coh_twins *t, uint32_t twin)
{
    FL_ASSERT(twin != COH_TWIN_NONE && twin <= t->count);
    return t->frames + (size_t)(twin - 1) * FL_PAGE_BYTES;
}

uint32_t coh_twins_count(const struct coh_twins *t)
{
    return t->count;
}

uint32_t coh_twins_used(const struct coh_twins *t)
{
    return atomic_load_explicit(&t->used, memory_order_relaxed);
}

uint32_t coh_twins_used_max(const struct coh_twins *t)
{
    return atomic_load_explicit(&t->used_max, memory_order_relaxed);
}
