/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Mechanism W: remote memory write-back, the device's side. A pure core (see emu/base/env.h).
 * States and rows: table W of the specification, quoted in writeback_rows.def.
 */
#ifndef MECH_WRITEBACK_H
#define MECH_WRITEBACK_H

#include <stddef.h>

#include "emu/base/env.h"
#include "emu/base/plants.h"

enum {
    WB_REGIONS_MAX = 16,
    WB_CHUNKS_MAX = 16,
    WB_THREADS_MAX = 64,
    WB_NODES_MAX = 1024,
    WB_PINS_PER_THREAD = 4
};

enum wb_path { WB_DIRECT, WB_LOG };
enum wb_evict { WB_LRU, WB_CLOCK };

enum wb_page_state { WB_NOT_CACHED, WB_FETCHING, WB_CLEAN, WB_DIRTY, WB_PAGE_DIRTY, WB_FLUSHING };
enum wb_region_state { WB_CLOSED, WB_OPENING, WB_OPEN, WB_CLOSING, WB_FAILED };

struct wb_chunk_cfg {
    uint16_t node;
    uint16_t chunk;      /* id on that node */
    uint32_t page_count; /* pages of the region that this chunk backs, in order */
};

struct wb_region_cfg {
    uint32_t page_count; /* 0: this index is a region of another node */
    uint16_t chunk_count;
    struct wb_chunk_cfg chunks[WB_CHUNKS_MAX];
    uint64_t period_ns;      /* FL_NEVER: no periodic write-back */
    uint64_t op_deadline_ns; /* per one-sided operation and per log batch */
    uint64_t close_deadline_ns;
    uint32_t threshold_lines; /* T: more dirty lines than this make the page PAGE_DIRTY; 0..64 */
    uint8_t path;             /* enum wb_path */
    uint64_t lease_epoch;     /* of this opener; higher than any before */
};

struct wb_cfg {
    uint16_t region_count;
    uint16_t thread_count;
    uint32_t capacity_pages;  /* device memory; at least WB_PINS_PER_THREAD x threads */
    uint32_t dclb_lines;      /* entries of the dirty cache-line buffer */
    uint32_t buf_count;       /* page buffers 0 .. buf_count-1: reads and snapshots, >= 4 */
    uint32_t log_batch_pages; /* 1 .. FL_MSG_ENTRIES_MAX */
    uint16_t retry_max;       /* fences in a row before a node counts as lost */
    uint8_t evict;            /* enum wb_evict */
    struct fl_plants plants;
    struct wb_region_cfg regions[WB_REGIONS_MAX];
};

/** The device's own figures; oracles never rely on them, only compare. */
struct wb_stats {
    uint64_t pages_fetched, refetched, misses, evictions, evictions_dirty;
    uint64_t lines_dirtied; /* lines found dirty by diff or events, per flush */
    uint64_t pages_flushed, pages_flushed_whole, lines_sent, bytes_sent;
    uint64_t acks, flush_errors, fences, fence_failures, coarsened, dclb_overflows;
    uint64_t periods, log_batches, backpressure_waits, map_refusals;
    uint64_t dclb_max, cached_max;
    uint64_t slots_refused; /* waited for a buffer because of FL_ADMIN_SLOTS alone */
};

struct wb; /* one flat block of wb_size() bytes, no pointers */

/** Checks a configuration. Errors: FL_EINVAL with the field's name in @err. */
int wb_check(const struct wb_cfg *cfg, struct fl_errmsg *err);

/** Bytes of the core's block for this configuration. Per page at most 48. */
size_t wb_size(const struct wb_cfg *cfg);

/** @mem: wb_size() zeroed bytes, aligned to 64. */
struct wb *wb_init(void *mem, const struct wb_cfg *cfg);

void wb_step(struct wb *w, struct fl_env *env, const struct fl_event *ev);

const struct wb_stats *wb_stats(const struct wb *w);
enum wb_region_state wb_region_state(const struct wb *w, uint16_t region);
enum wb_page_state wb_page_state(const struct wb *w, uint16_t region, uint32_t page);

/** The period timer of a region runs: stores from now on are written back when it ends. */
bool wb_period_runs(const struct wb *w, uint16_t region);

/** Nothing dirty, nothing in flight, nobody waiting. */
bool wb_quiescent(const struct wb *w);

/** True when a page of this region lost dirty lines (its node died): how many lines. */
uint64_t wb_lost_lines(const struct wb *w, uint16_t region);

/** Where a page of a region lives. */
struct fl_slot wb_slot(const struct wb_cfg *cfg, uint16_t region, uint32_t page);

#endif
