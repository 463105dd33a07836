/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A toy device for tests of the mprotect tracker: one thread that serves one region from a plain
 * array, with a bounded cache, eviction in the order of arrival, and a cleaner. No mechanism, no
 * fabric: just what the tracker's contract asks of a device.
 */
#ifndef TOYDEV_H
#define TOYDEV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "coherence/tracker.h"

/** Pages a thread was given last stay: with the one that comes, four, the most one access needs. */
enum { TOY_PINS = 3 };

struct toydev_cfg {
    uint32_t threads_max;
    uint32_t capacity_pages;
    uint64_t len_bytes;
    uint64_t access_deadline_ns; /* 0: 20 s */
    uint64_t addr_hint;
    int spin;          /* enum coh_wait */
    bool poll;         /* never sleep: ask for notes all the time */
    bool clean;        /* clean dirty pages all the time */
    bool silent;       /* hear every MISS and answer none */
    int64_t map_limit; /* 0: the kernel's */
};

struct toydev {
    struct toydev_cfg cfg;
    struct coh_tracker *trk;
    uint8_t *base;              /* application's view */
    uint8_t *remote;            /* the pool: the region's pages, lazily zero */
    _Atomic uint32_t fail_page; /* a MISS of this page fails with fail_status */
    _Atomic int fail_status;
    _Atomic bool stop, flush_all, flushed;
    pthread_t thread;
    /* device thread only; read after toydev_stop */
    uint8_t *state;  /* per page: TOY_CACHED, TOY_DIRTY */
    uint32_t *order; /* ring of cached pages, oldest first */
    uint32_t order_head, order_len, order_cap;
    struct coh_note pending[2 * COH_THREADS_MAX];
    uint32_t pending_len;
    uint32_t freed; /* page of the last GATE_FREE + 1 */
    uint32_t pins[COH_THREADS_MAX][TOY_PINS], pin_next[COH_THREADS_MAX];
    _Atomic uint64_t cleans; /* any thread */
    uint64_t misses, dirties, lines, evictions, refused, gates_busy, wakes;
    uint32_t sweep;
};

/** Starts the device; cmocka assertions on failure. */
void toydev_start(struct toydev *d, const struct toydev_cfg *cfg);

/** Asks the device to write everything dirty to the pool and waits for it. No thread may store
 * meanwhile. */
void toydev_flush(struct toydev *d);

/** Stops the device thread; the tracker and the pool stay. */
void toydev_stop(struct toydev *d);

/** Frees everything. */
void toydev_free(struct toydev *d);

#endif
