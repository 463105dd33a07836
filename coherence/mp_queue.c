/* SPDX-License-Identifier: Apache-2.0 */
/* The mprotect tracker: what the device hears, and in which order. */
#include "coherence/mprotect_int.h"

/* A page has at most one DIRTY and one GATE_FREE in the queue, a ticket one MISS; pages come in
 * only by gates of a device that reads the queue. So it cannot overflow. */
static void enqueue(struct mp_tracker *t, const struct coh_note *note)
{
    FL_ASSERT(t->fifo_len < t->fifo_cap);
    t->fifo[(t->fifo_head + t->fifo_len++) & (t->fifo_cap - 1)] = *note;
}

/* Moves all notes pushed so far into the device's own queue, so that their places are free. */
void mp_collect(struct mp_tracker *t)
{
    for (uint32_t i = coh_notes_grab(&t->notes); i; i = t->notes.places[i].next) {
        const struct coh_place *pl = &t->notes.places[i];
        struct mp_region *r = &t->regions[pl->region];
        if (!r->pages)
            continue; /* removed meanwhile */
        if (pl->kind == COH_NOTE_DIRTY) {
            if (r->pages[pl->page].flags & MP_NOTED)
                continue; /* told already, and not yet heard */
            r->pages[pl->page].flags |= MP_NOTED;
        }
        struct coh_note note = {.kind = (enum coh_note_kind)pl->kind,
                                .region = pl->region,
                                .access = pl->access,
                                .page = pl->page,
                                .ticket = pl->ticket};
        enqueue(t, &note);
    }
}

void mp_want(struct mp_tracker *t, uint16_t region, uint32_t page)
{
    struct mp_page *p = mp_page(&t->regions[region], page);
    if (p->flags & MP_WANTED)
        return;
    FL_ASSERT(t->want_count < t->want_cap);
    p->flags |= MP_WANTED;
    t->wants[t->want_count++] = (struct mp_want){.region = region, .page = page};
}

/* Queues GATE_FREE for wanted pages that no thread holds any more, after their DIRTY. */
static void collect_free(struct mp_tracker *t)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->want_count; i++) {
        struct mp_want w = t->wants[i];
        struct mp_page *p = &t->regions[w.region].pages[w.page];
        if (coh_gate_busy(mp_word(p))) {
            t->wants[kept++] = w;
            continue;
        }
        mp_collect(t);
        p->flags &= ~(uint32_t)MP_WANTED;
        struct coh_note note = {.kind = COH_NOTE_GATE_FREE, .region = w.region, .page = w.page};
        enqueue(t, &note);
    }
    t->want_count = kept;
}

bool mp_next(struct coh_tracker *base, struct coh_note *ret)
{
    struct mp_tracker *t = mp(base);
    mp_give_back(t);
    do {
        mp_collect(t);
        if (t->fifo_len == 0 && t->want_count)
            collect_free(t);
    } while (t->fifo_len == 0 && !coh_notes_sleep(&t->notes));
    /* A gate let go after the look above has seen asleep and wakes us; before it, we see it now. */
    if (t->fifo_len == 0 && t->want_count)
        collect_free(t);
    if (t->fifo_len == 0)
        return false;
    *ret = t->fifo[t->fifo_head];
    t->fifo_head = (t->fifo_head + 1) & (t->fifo_cap - 1);
    t->fifo_len--;
    if (ret->kind == COH_NOTE_DIRTY && t->regions[ret->region].pages)
        t->regions[ret->region].pages[ret->page].flags &= ~(uint32_t)MP_NOTED;
    return true;
}
