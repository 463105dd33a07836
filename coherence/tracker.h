/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A tracker turns loads and stores of application threads into events for the device and carries
 * out what the device decides about pages. mprotect is the portable one; actor serves generated
 * workloads in the simulator. One tracker serves all regions of a node.
 *
 * Threads: application threads trap into the tracker on their own; everything in this header is
 * called by the device thread only, unless it says otherwise.
 */
#ifndef COH_TRACKER_H
#define COH_TRACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/base/env.h"
#include "emu/base/plants.h"

enum { COH_REGIONS_MAX = 16, COH_THREADS_MAX = 64 };

/** Why a trap gives way to others, where application threads are coroutines. */
enum coh_way {
    COH_WAY_TRAP, /* it began */
    COH_WAY_STEP, /* one of its steps is done: others may run, or not */
    COH_WAY_LET,  /* others must run before it looks again */
    COH_WAY_WAIT, /* until wake() names its ticket, or the deadline */
};

/**
 * Application threads as coroutines of the device's own thread, in virtual time (the simulator):
 * real loads, stores, traps and protections, but waits are switches to what else is due. yield is
 * called in the signal handler, on the coroutine's stack. Unset: threads of the system.
 */
struct coh_coro {
    void *arg;
    uint32_t (*self)(void *arg); /* ticket of the coroutine that runs now; else UINT32_MAX */
    void (*yield)(void *arg, enum coh_way way, uint64_t deadline_ns);
    void (*wake)(void *arg, uint32_t ticket); /* the answer for this one is there */
    void (*wake_device)(void *arg);           /* instead of wake_fd: notes wait */
    uint64_t (*now_ns)(void *arg);
};

struct coh_cfg {
    uint32_t threads_max;      /* application threads that may touch regions, 1..COH_THREADS_MAX */
    uint32_t cached_pages_max; /* device memory of the node, in pages: bounds queues and twins */
    uint64_t access_deadline_ns; /* a blocked access fails with FL_ETIMEDOUT after this */
    int spin;                    /* enum coh_wait */
    struct coh_coro coro;        /* mprotect only */
    struct fl_plants plants;
};

enum coh_wait { COH_WAIT_ADAPTIVE, COH_WAIT_BLOCK, COH_WAIT_SPIN };

struct coh_region_cfg {
    uint16_t region;    /* index chosen by the caller, 0..COH_REGIONS_MAX-1 */
    uint64_t len_bytes; /* multiple of FL_PAGE_BYTES */
    uint64_t addr_hint; /* wanted address, 0 for any */
};

/** What the tracker tells the device. Order is kept per page. */
enum coh_note_kind { COH_NOTE_MISS, COH_NOTE_DIRTY, COH_NOTE_GATE_FREE };
struct coh_note {
    enum coh_note_kind kind;
    uint16_t region;
    uint8_t access; /* enum fl_access */
    uint32_t page;
    uint32_t ticket; /* MISS: the blocked thread */
    fl_mask mask;    /* MISS, DIRTY: lines, 0 for unknown */
};

struct coh_stats {
    uint64_t traps;          /* faults in regions, all kinds */
    uint64_t local_dirty;    /* first stores to a clean local page, handled in the thread */
    uint64_t misses;         /* accesses that waited for the device */
    uint64_t map_refusals;   /* gates and stores held back before the kernel's mapping limit */
    uint64_t resident_pages; /* pages not FL_PROT_NONE now */
    uint64_t resident_pages_max;
    uint64_t mappings; /* estimate of kernel mappings used by all regions */
    uint64_t twins, twins_max;
};

struct coh_tracker;

struct coh_tracker_ops {
    const char *name;
    const char *doc;

    /** Reserves and maps a region, all pages FL_PROT_NONE and all bytes zero. @ret_base: address
     * the application uses (NULL in sim). Errors: FL_EINVAL, FL_ENOMEM, FL_EUNSUPPORTED. */
    int (*region_add)(struct coh_tracker *t, const struct coh_region_cfg *cfg, void **ret_base,
                      struct fl_errmsg *err);
    void (*region_remove)(struct coh_tracker *t, uint16_t region);

    /** FL_OK: changed in every thread. FL_EAGAIN: a gate is busy, nothing changed; GATE_FREE(page)
     * follows, then ask again. FL_ENOSPC: mapping limit, nothing changed. Raising to FL_PROT_RW
     * takes the twin. While a store is refused for the mapping limit, its thread sends MISS(store)
     * on a page that is already readable. */
    int (*gate)(struct coh_tracker *t, uint16_t region, uint32_t page, uint32_t count,
                enum fl_prot prot);

    /** See fl_snap. @dst: FL_PAGE_BYTES. */
    fl_mask (*snap)(struct coh_tracker *t, uint16_t region, uint32_t page, uint8_t *dst);

    /** Lines that differ from the twin now; a racy hint that freezes nothing. 0 without a twin. */
    fl_mask (*peek)(struct coh_tracker *t, uint16_t region, uint32_t page);

    /** Writes the lines of @mask from page-shaped @src through the alias. */
    void (*install)(struct coh_tracker *t, uint16_t region, uint32_t page, fl_mask mask,
                    const uint8_t *src);

    /** Gives the page's bytes back (they read as zero if opened again). Page must be NONE. */
    void (*drop)(struct coh_tracker *t, uint16_t region, uint32_t page);

    /** Live bytes through the alias, for oracles only. */
    const uint8_t *(*live)(struct coh_tracker *t, uint16_t region, uint32_t page);

    /** Lets the blocked thread of @ticket go on; @status != 0 fails the access with SIGBUS. */
    void (*resume)(struct coh_tracker *t, uint32_t ticket, int status);

    /** Next note; false when there is none. Call until false, then the tracker may sleep. */
    bool (*next)(struct coh_tracker *t, struct coh_note *ret);

    /** Descriptor that becomes readable when notes wait, -1 in sim. */
    int (*wake_fd)(struct coh_tracker *t);

    /** Tells whether the device will look at notes soon without being woken: while @armed, DIRTY
     * notes do not wake it (its period timer is running). MISS always wakes. */
    void (*armed)(struct coh_tracker *t, bool armed);

    void (*stats)(struct coh_tracker *t, struct coh_stats *ret);
    void (*free)(struct coh_tracker **t);
};

/** First member of every tracker. */
struct coh_tracker {
    const struct coh_tracker_ops *ops;
};

/** mprotect and SIGSEGV (x86-64, arm64; others: FL_EUNSUPPORTED). One per process, or several whose
 * application threads are coroutines. */
int coh_mprotect_new(const struct coh_cfg *cfg, struct coh_tracker **ret, struct fl_errmsg *err);

/** Application threads, mprotect only: call before touching a region (sets up the alternate signal
 * stack and a ticket) and at the end. FL_ENOSPC: more than threads_max. Not for coroutines: they
 * have their tickets, and traps run on their own stacks. */
int coh_thread_enter(struct coh_tracker *t, uint32_t *ret_ticket, struct fl_errmsg *err);
void coh_thread_leave(struct coh_tracker *t);

/** Cause of the last failed access of this region as an enum fl_error, FL_OK if none. Public name:
 * farline_region_error(). Any thread. */
int coh_region_error(struct coh_tracker *t, uint16_t region);

#endif
