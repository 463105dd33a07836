/* SPDX-License-Identifier: Apache-2.0 */
/**
 * How many of the kernel's mappings this process uses. Every border between pages of different
 * protection costs one; past vm.max_map_count mprotect fails. The tracker counts borders as it
 * moves them and stops short of the limit; the count drifts a little under races between threads
 * and is set right from /proc/self/maps.
 */
#ifndef COH_MAPCOUNT_H
#define COH_MAPCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    COH_MAPS_RESERVE = 4096, /* left to the program and to changes that only take rights away */
    COH_MAPS_LAST = 64,      /* never used by us at all */
};

struct coh_maps {
    _Atomic int64_t ours;   /* mappings of the regions' application views; an estimate */
    _Atomic int64_t others; /* all the rest of the process */
    int64_t limit;          /* vm.max_map_count */
};

struct coh_span {
    uintptr_t lo, hi; /* [lo, hi) */
};

/** Reads the kernel's limit; 65530 when it cannot be read. */
void coh_maps_init(struct coh_maps *m);

/**
 * Accounts a change of @delta mappings; false, and nothing accounted, when it would come too near
 * the limit. @raising: the change grants rights, and leaves the reserve alone. Async-signal-safe.
 */
bool coh_maps_reserve(struct coh_maps *m, int64_t delta, bool raising);

/** Takes back what coh_maps_reserve accounted. Async-signal-safe. */
void coh_maps_undo(struct coh_maps *m, int64_t delta);

/** What is accounted; never below 0, although races can make the estimate fall below it. */
int64_t coh_maps_count(const struct coh_maps *m);

/** Counts again from /proc/self/maps; @spans are the regions. One thread at a time. */
void coh_maps_resync(struct coh_maps *m, const struct coh_span *spans, size_t span_count);

#endif
