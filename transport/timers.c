/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/timers.h"

#include <stdlib.h>

#include "emu/base/assert.h"
#include "emu/base/err.h"
#include "emu/base/units.h"

int tpo_timers_reserve(struct tpo_timers *h, uint32_t count)
{
    if (count <= h->cap)
        return FL_OK;
    struct tpo_timer **bigger = realloc(h->heap, ((size_t)count + 1) * sizeof(struct tpo_timer *));
    if (bigger == NULL)
        return FL_ENOMEM;
    h->heap = bigger;
    h->cap = count;
    return FL_OK;
}

void tpo_timers_done(struct tpo_timers *h)
{
    free(h->heap);
    *h = (struct tpo_timers){0};
}

static void put(struct tpo_timers *h, uint32_t place, struct tpo_timer *t)
{
    h->heap[place] = t;
    t->place = place;
}

/** Moves @t from the hole at @place to where it belongs. */
static void settle(struct tpo_timers *h, uint32_t place, struct tpo_timer *t)
{
    while (place > 1 && h->heap[place / 2]->at_ns > t->at_ns) {
        put(h, place, h->heap[place / 2]);
        place /= 2;
    }
    for (uint32_t child; (child = 2 * place) <= h->count; place = child) {
        if (child < h->count && h->heap[child + 1]->at_ns < h->heap[child]->at_ns)
            child++;
        if (h->heap[child]->at_ns >= t->at_ns)
            break;
        put(h, place, h->heap[child]);
    }
    put(h, place, t);
}

static void clear(struct tpo_timers *h, struct tpo_timer *t)
{
    uint32_t place = t->place;
    struct tpo_timer *last = h->heap[h->count--];

    t->place = 0;
    if (last != t)
        settle(h, place, last);
}

void tpo_timer_set(struct tpo_timers *h, struct tpo_timer *t, uint64_t at_ns)
{
    if (at_ns == FL_NEVER) {
        if (t->place != 0)
            clear(h, t);
        return;
    }
    t->at_ns = at_ns;
    if (t->place == 0) {
        FL_ASSERT(h->count < h->cap);
        t->place = ++h->count;
    }
    settle(h, t->place, t);
}

uint64_t tpo_timers_next(const struct tpo_timers *h)
{
    return h->count != 0 ? h->heap[1]->at_ns : FL_NEVER;
}

struct tpo_timer *tpo_timers_pop(struct tpo_timers *h, uint64_t now_ns)
{
    if (h->count == 0 || h->heap[1]->at_ns > now_ns)
        return NULL;
    struct tpo_timer *t = h->heap[1];
    clear(h, t);
    return t;
}
