/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/toydev.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "coherence/mprotect_int.h"
#include "emu/base/assert.h"

enum { TOY_CACHED = 1, TOY_DIRTY = 2 };

static void *lazy(size_t len_bytes)
{
    void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void take_note(struct toydev *d, const struct coh_note *n)
{
    if (n->kind == COH_NOTE_DIRTY) {
        FL_ASSERT(d->state[n->page] & TOY_CACHED);
        d->state[n->page] |= TOY_DIRTY;
        d->dirties++;
    } else if (n->kind == COH_NOTE_GATE_FREE) {
        d->freed = n->page + 1;
    } else {
        FL_ASSERT(d->pending_len < 2 * COH_THREADS_MAX);
        d->pending[d->pending_len++] = *n;
    }
}

static void drain(struct toydev *d)
{
    struct coh_note n;
    while (d->trk->ops->next(d->trk, &n))
        take_note(d, &n);
}

static void nap(struct toydev *d, int timeout_ms)
{
    if (d->cfg.poll || d->cfg.clean)
        return;
    struct pollfd p = {.fd = d->trk->ops->wake_fd(d->trk), .events = POLLIN};
    if (poll(&p, 1, timeout_ms) > 0)
        d->wakes++;
}

static int gate(struct toydev *d, uint32_t page, enum fl_prot prot)
{
    for (;;) {
        int rc = d->trk->ops->gate(d->trk, 0, page, 1, prot);
        if (rc != FL_EAGAIN) {
            drain(d);
            return rc;
        }
        d->gates_busy++;
        d->freed = 0;
        for (drain(d); d->freed != page + 1; drain(d))
            nap(d, 1000);
    }
}

static void ship(struct toydev *d, uint32_t page, const uint8_t *snap, fl_mask mask)
{
    for (; mask; mask &= mask - 1) {
        size_t off = (size_t)fl_mask_first(mask) * FL_LINE_BYTES;
        memcpy(d->remote + (size_t)page * FL_PAGE_BYTES + off, snap + off, FL_LINE_BYTES);
        d->lines++;
    }
}

static bool flush(struct toydev *d, uint32_t page, enum fl_prot prot)
{
    uint8_t snap[FL_PAGE_BYTES];
    if (gate(d, page, prot) != FL_OK)
        return false;
    d->state[page] &= (uint8_t)~TOY_DIRTY; /* its notes are in; later ones follow the snap */
    ship(d, page, snap, d->trk->ops->snap(d->trk, 0, page, snap));
    return true;
}

static bool pinned(const struct toydev *d, uint32_t page)
{
    for (uint32_t t = 0; t < d->cfg.threads_max; t++)
        for (int i = 0; i < TOY_PINS; i++)
            if (d->pins[t][i] == page + 1)
                return true;
    return false;
}

/* Oldest page first; one that a thread has just been given goes to the end of the line. */
static bool evict_one(struct toydev *d)
{
    for (uint32_t tries = d->order_len; tries; tries--) {
        uint32_t page = d->order[d->order_head];
        d->order_head = (d->order_head + 1) % d->order_cap;
        if (!pinned(d, page) && flush(d, page, FL_PROT_NONE)) {
            d->trk->ops->drop(d->trk, 0, page);
            d->state[page] = 0;
            d->order_len--;
            d->evictions++;
            return true;
        }
        d->order[(d->order_head + d->order_len - 1) % d->order_cap] = page;
    }
    return false;
}

static void raise_page(struct toydev *d, uint32_t page, enum fl_prot prot)
{
    while (gate(d, page, prot) == FL_ENOSPC) {
        d->refused++;
        for (int i = 0; i < 8; i++)
            evict_one(d);
    }
    if (prot == FL_PROT_RW)
        d->state[page] |= TOY_DIRTY;
}

static void serve(struct toydev *d, const struct coh_note *n)
{
    uint32_t page = n->page;
    d->misses++;
    if (d->cfg.silent)
        return;
    if (atomic_load(&d->fail_page) == page + 1) {
        d->trk->ops->resume(d->trk, n->ticket, atomic_load(&d->fail_status));
        return;
    }
    d->pins[n->ticket][d->pin_next[n->ticket]++ % TOY_PINS] = page + 1;
    if (!(d->state[page] & TOY_CACHED)) {
        while (d->order_len >= d->cfg.capacity_pages)
            FL_ASSERT(evict_one(d));
        d->trk->ops->install(d->trk, 0, page, FL_MASK_ALL,
                             d->remote + (size_t)page * FL_PAGE_BYTES);
        d->state[page] = TOY_CACHED;
        d->order[(d->order_head + d->order_len++) % d->order_cap] = page;
        raise_page(d, page, n->access == FL_STORE ? FL_PROT_RW : FL_PROT_READ);
    } else if (n->access == FL_STORE) {
        raise_page(d, page, FL_PROT_RW);
    }
    d->trk->ops->resume(d->trk, n->ticket, FL_OK);
}

static void clean_some(struct toydev *d)
{
    for (uint32_t i = 0; i < 8 && d->order_len; i++) {
        uint32_t page = d->order[(d->order_head + d->sweep++ % d->order_len) % d->order_cap];
        if ((d->state[page] & TOY_DIRTY) && flush(d, page, FL_PROT_READ))
            d->cleans++;
    }
}

static void clean_all(struct toydev *d)
{
    drain(d); /* what was stored before this was asked for */
    for (uint32_t i = 0; i < d->order_len; i++) {
        uint32_t page = d->order[(d->order_head + i) % d->order_cap];
        if (d->state[page] & TOY_DIRTY)
            FL_ASSERT(flush(d, page, FL_PROT_READ));
    }
}

static void *device(void *arg)
{
    struct toydev *d = arg;
    while (!atomic_load(&d->stop)) {
        drain(d);
        while (d->pending_len) {
            struct coh_note n = d->pending[0];
            memmove(d->pending, d->pending + 1, --d->pending_len * sizeof *d->pending);
            serve(d, &n);
        }
        if (d->cfg.clean)
            clean_some(d);
        if (atomic_exchange(&d->flush_all, false)) {
            clean_all(d);
            atomic_store(&d->flushed, true);
        }
        drain(d);
        if (!d->pending_len)
            nap(d, 5);
    }
    return NULL;
}

void toydev_start(struct toydev *d, const struct toydev_cfg *cfg)
{
    memset(d, 0, sizeof *d);
    d->cfg = *cfg;
    struct fl_errmsg err = {{0}};
    struct coh_cfg cc = {.threads_max = cfg->threads_max,
                         .cached_pages_max = cfg->capacity_pages,
                         .access_deadline_ns =
                             cfg->access_deadline_ns ? cfg->access_deadline_ns : 20 * FL_NS_PER_S,
                         .spin = cfg->spin};
    assert_int_equal(coh_mprotect_new(&cc, &d->trk, &err), FL_OK);
    if (cfg->map_limit)
        mp_set_map_limit(d->trk, cfg->map_limit);
    struct coh_region_cfg rc = {.len_bytes = cfg->len_bytes, .addr_hint = cfg->addr_hint};
    void *base;
    assert_int_equal(d->trk->ops->region_add(d->trk, &rc, &base, &err), FL_OK);
    d->base = base;
    d->remote = lazy(cfg->len_bytes);
    d->state = lazy(cfg->len_bytes / FL_PAGE_BYTES);
    d->order_cap = cfg->capacity_pages + 1;
    d->order = lazy(d->order_cap * sizeof *d->order);
    assert_int_equal(pthread_create(&d->thread, NULL, device, d), 0);
}

void toydev_flush(struct toydev *d)
{
    atomic_store(&d->flushed, false);
    atomic_store(&d->flush_all, true);
    while (!atomic_load(&d->flushed))
        sched_yield();
}

void toydev_stop(struct toydev *d)
{
    atomic_store(&d->stop, true);
    pthread_join(d->thread, NULL);
}

void toydev_free(struct toydev *d)
{
    d->trk->ops->free(&d->trk);
    munmap(d->remote, d->cfg.len_bytes);
    munmap(d->state, d->cfg.len_bytes / FL_PAGE_BYTES);
    munmap(d->order, d->order_cap * sizeof *d->order);
}
