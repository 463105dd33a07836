/* SPDX-License-Identifier: Apache-2.0 */
/* The mprotect tracker: changes of protection. */
#include <string.h>
#include <sys/mman.h>

#include "coherence/mprotect_int.h"

enum { RESYNC_EVERY = 4096 }; /* changes of protection between two counts of the mappings */

static const int native_prot[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};

static void cancel_range(struct mp_region *r, uint32_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        coh_gate_do(&r->pages[page + i].gate, COH_OP_CANCEL);
}

/* Begins the change on every page, or on none. */
static int begin_range(struct mp_tracker *t, struct mp_region *r, uint32_t page, uint32_t count,
                       enum fl_prot prot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (coh_gate_do(&r->pages[page + i].gate, coh_gate_to(prot)) != COH_GATE_BUSY)
            continue;
        mp_want(t, (uint16_t)(r - t->regions), page + i);
        cancel_range(r, page, i);
        return FL_EAGAIN;
    }
    return FL_OK;
}

/* Twins for pages that are about to be opened for stores; no thread can write them now. */
static int twin_range(struct mp_tracker *t, struct mp_region *r, uint32_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mp_page *p = &r->pages[page + i];
        if (p->twin != COH_TWIN_NONE)
            continue;
        uint32_t twin = coh_twins_take(t->twins);
        if (twin == COH_TWIN_NONE)
            return FL_ENOSPC; /* those taken stay: a twin too many only costs its memory */
        memcpy(coh_twins_at(t->twins, twin), mp_alias(r, page + i), FL_PAGE_BYTES);
        p->twin = twin;
    }
    return FL_OK;
}

struct range_facts {
    int64_t delta; /* mappings more */
    bool change;   /* some page has another protection now */
    bool raising;
    uint32_t opened, closed; /* pages that come from NONE, go to NONE */
};

/* 1 when a mapping ends between page @left and the next one. */
static int border(const struct mp_region *r, int64_t left)
{
    if (left < 0 || left + 1 >= r->page_count)
        return 0;
    return coh_gate_prot(mp_word(&r->pages[left])) != coh_gate_prot(mp_word(&r->pages[left + 1]));
}

static struct range_facts scan_range(const struct mp_region *r, uint32_t page, uint32_t count,
                                     enum fl_prot prot)
{
    struct range_facts f = {0};
    for (uint32_t i = 0; i < count; i++) {
        enum fl_prot old = coh_gate_prot(mp_word(&r->pages[page + i]));
        f.change |= old != prot;
        f.raising |= old < prot;
        f.opened += old == FL_PROT_NONE && prot != FL_PROT_NONE;
        f.closed += old != FL_PROT_NONE && prot == FL_PROT_NONE;
        f.delta -= border(r, (int64_t)page + i - 1);
    }
    uint32_t end = page + count;
    f.delta -= border(r, (int64_t)end - 1);
    if (page > 0)
        f.delta += coh_gate_prot(mp_word(&r->pages[page - 1])) != prot;
    if (end < r->page_count)
        f.delta += coh_gate_prot(mp_word(&r->pages[end])) != prot;
    return f;
}

/* The kernel may have changed the first part of the range before it ran out of mappings. Going
 * back needs no more of them than there were before. */
static void restore_range(struct mp_region *r, uint32_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        enum fl_prot old = coh_gate_prot(mp_word(&r->pages[page + i]));
        uint32_t n = 1;
        while (i + n < count && coh_gate_prot(mp_word(&r->pages[page + i + n])) == old)
            n++;
        FL_ASSERT(mprotect(mp_app(r, page + i), (size_t)n * FL_PAGE_BYTES, native_prot[old]) == 0);
        i += n;
    }
}

void mp_resync(struct mp_tracker *t)
{
    struct coh_span spans[COH_REGIONS_MAX];
    size_t n = 0;
    for (uint16_t i = 0; i < COH_REGIONS_MAX; i++) {
        const struct mp_region *r = &t->regions[i];
        if (r->pages)
            spans[n++] =
                (struct coh_span){(uintptr_t)mp_app(r, 0), (uintptr_t)mp_app(r, 0) + r->len_bytes};
    }
    coh_maps_resync(&t->maps, spans, n);
    t->gates_since_resync = 0;
}

/* The device and a thread that change neighbouring pages at once each see the other's as it was,
 * and both account for the border between them: the count drifts, even below what is possible. */
static bool impossible(const struct mp_tracker *t)
{
    return atomic_load_explicit(&t->maps.ours, memory_order_relaxed) < 1;
}

/* Accounts for the change; near the limit the count is checked against the kernel's first. */
static bool reserve_maps(struct mp_tracker *t, const struct range_facts *f)
{
    if (t->gates_since_resync >= RESYNC_EVERY && impossible(t))
        mp_resync(t);
    if (coh_maps_reserve(&t->maps, f->delta, f->raising))
        return true;
    if (t->gates_since_resync < RESYNC_EVERY)
        return false;
    mp_resync(t);
    return coh_maps_reserve(&t->maps, f->delta, f->raising);
}

static int change_range(struct mp_tracker *t, struct mp_region *r, uint32_t page, uint32_t count,
                        enum fl_prot prot)
{
    struct range_facts f = scan_range(r, page, count, prot);
    t->gates_since_resync++;
    if (prot == FL_PROT_RW && twin_range(t, r, page, count) != FL_OK)
        return FL_ENOSPC;
    if (!reserve_maps(t, &f))
        return FL_ENOSPC;
    if (f.change &&
        mprotect(mp_app(r, page), (size_t)count * FL_PAGE_BYTES, native_prot[prot]) != 0) {
        coh_maps_undo(&t->maps, f.delta);
        restore_range(r, page, count);
        t->gates_since_resync = RESYNC_EVERY; /* the count was wrong */
        return FL_ENOSPC;
    }
    t->resident += f.opened;
    t->resident -= f.closed;
    if (t->resident > t->resident_max)
        t->resident_max = t->resident;
    return FL_OK;
}

int mp_gate(struct coh_tracker *base, uint16_t region, uint32_t page, uint32_t count,
            enum fl_prot prot)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    FL_ASSERT(count > 0 && page < r->page_count && count <= r->page_count - page);
    mp_give_back(t);
    int rc = begin_range(t, r, page, count, prot);
    if (rc != FL_OK)
        return rc;
    rc = change_range(t, r, page, count, prot);
    if (rc != FL_OK) {
        t->refusals++;
        cancel_range(r, page, count);
        return rc;
    }
    for (uint32_t i = 0; i < count; i++)
        coh_gate_do(&r->pages[page + i].gate, COH_OP_END);
    mp_collect(t); /* stores made before the change are told before anything that follows */
    return FL_OK;
}
