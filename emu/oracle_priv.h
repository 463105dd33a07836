/* SPDX-License-Identifier: Apache-2.0 */
/** The oracles' own state; for emu/oracle*.c only. */
#ifndef EMU_ORACLE_PRIV_H
#define EMU_ORACLE_PRIV_H

#include <stdatomic.h>
#include <string.h>

#include "emu/oracle.h"
#include "emu/writers.h"

enum {
    MAX_CHUNKS = 64, /* per memory node, as MN_CHUNKS_MAX */
    TICKS_MAX = 64,
    CRASHED_MAX = 256, /* more than all windows of a node's memory nodes that can die in a test */
};

enum check { W1, W2, W3, W4, W5, W6, W7, W8, CHECKS };

struct oracle_check {
    const char *id, *unit;
    enum fl_plant blind;
};

extern const struct oracle_check oracle_checks[CHECKS];

struct tally {
    _Atomic uint64_t checked, violated;
    atomic_flag first_taken;
    char first[RESULT_FIRST_MAX];
    struct result_first what; /* of that first one */
};

/* What the oracle knows of one page of a compute node's region. */
struct opage {
    uint8_t acked[FL_PAGE_BYTES]; /* what the memory node must hold: fetched, or acknowledged */
    uint8_t view[FL_PAGE_BYTES]; /* live bytes when the page was dropped (regions without shadow) */
    uint64_t dirty_since_ns;     /* FL_NEVER: no store waits for write-back */
    uint64_t seq;                /* of the last write-back posted */
    uint8_t prot, cached, dropped, undecided;
    uint8_t doubt; /* acknowledged while a fence was due: may be sent again all the same */
};

/* A periodic write-back. */
struct otick {
    uint64_t at_ns;
    uint64_t late_ns; /* after the time its timer was set to */
};

struct oregion {
    const struct plan_region *cfg;
    uint32_t page_count;
    struct opage **pages;
    uint8_t *shadow;
    size_t shadow_bytes;
    bool shadow_shared;            /* part of the record */
    struct orecord *record;        /* per page; NULL: not kept */
    struct writers *writers;       /* beside the shadow */
    struct otick ticks[TICKS_MAX]; /* the last ones, the oldest overwritten */
    uint64_t tick_count;
    bool closing; /* the drain is one long flush */
    uint64_t outstanding;
    uint64_t flush_from_ns, flush_max_ns; /* current and longest span with writes in flight */
};

struct oracle {
    const struct plan *plan;
    uint16_t self;
    struct coh_tracker *trk;
    uint64_t (*now_ns)(void *arg); /* NULL: no clock */
    void *now_arg;
    uint64_t capacity, cached;
    uint64_t expected_bytes; /* W5: from the masks that were posted */
    uint64_t failed_bytes;   /* of these, what was answered with an error */
    uint64_t open_bytes;     /* of these, what was not answered yet */
    struct oregion regions[PLAN_REGIONS_MAX];
    uint8_t *must_fence, *down; /* per node */
    uint64_t **applied;         /* memory node: last sequence number per chunk and page */
    uint32_t *applied_pages;
    struct tally tally[CHECKS];
    struct {
        uint64_t batch;
        uint32_t page;
        uint16_t node;
        bool new;
    } crashed[CRASHED_MAX]; /* log batches that were under way when a node died */
    unsigned crashed_count;
};

static inline bool blind(const struct plan *p, enum check c)
{
    return fl_planted(&p->plants, oracle_checks[c].blind);
}

static inline void count(struct oracle *o, enum check c, uint64_t n)
{
    if (!blind(o->plan, c)) {
        atomic_fetch_add_explicit(&o->tally[c].checked, n, memory_order_relaxed);
    }
}

static inline uint16_t oracle_node_of(const struct oregion *g, uint32_t page)
{
    for (unsigned c = 0; c < g->cfg->chunk_count; c++) {
        if (page < g->cfg->chunks[c].page_count) {
            return g->cfg->chunks[c].node;
        }
        page -= g->cfg->chunks[c].page_count;
    }
    return FL_NO_NODE;
}

/* First line of @mask in which the two pages differ, -1 when none. */
static inline int oracle_first_diff(const uint8_t *x, const uint8_t *y, fl_mask mask)
{
    if (mask == FL_MASK_ALL && memcmp(x, y, FL_PAGE_BYTES) == 0) {
        return -1; /* nearly always */
    }
    for (fl_mask m = mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        if (memcmp(x + i * FL_LINE_BYTES, y + i * FL_LINE_BYTES, FL_LINE_BYTES) != 0) {
            return (int)i;
        }
    }
    return -1;
}

/* --- oracle_record.c: kept where it outlives the node --- */

void oracle_record_install(struct oregion *g, uint32_t page, fl_mask mask, const uint8_t *src);
void oracle_record_acked(struct oregion *g, uint32_t page, fl_mask mask, const uint8_t *src);

/* --- oracle_first.c: what is told of the first violation of each check --- */

/** Returns what is to be told of it when it is the first one, else NULL. */
struct result_first *oracle_violate(struct oracle *o, enum check c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** What should have been, what was; @f may be NULL in all of these. */
void oracle_want(struct result_first *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void oracle_saw(struct result_first *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Who stored last in the lines of these bytes. */
void oracle_written_by(const struct oracle *o, struct result_first *f, uint16_t region,
                       uint64_t off, uint64_t len_bytes);

/** The two versions of a page differ in @line (-1: anywhere). */
void oracle_differ(const struct oracle *o, struct result_first *f, uint16_t region, uint32_t page,
                   int line, const uint8_t *wanted, const uint8_t *seen);

#endif
