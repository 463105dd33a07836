/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the mprotect tracker: its structures, shared by tracker_mprotect.c (device side),
 * mp_trap.c (signal handler) and mp_thread.c (threads and their waits).
 *
 * A region is a memfd mapped twice: the application's view, whose protection is the page gate, and
 * the alias, always open, through which the device reads and fills pages.
 */
#ifndef COH_MPROTECT_INT_H
#define COH_MPROTECT_INT_H

#include <signal.h>
#include <stdatomic.h>

#include "coherence/gate.h"
#include "coherence/mapcount.h"
#include "coherence/notes.h"
#include "coherence/tracker.h"
#include "coherence/twin.h"
#include "emu/base/assert.h"

enum mp_page_flag {
    MP_NOTED = 1,  /* a DIRTY of this page lies in the device's queue */
    MP_WANTED = 2, /* the device waits for this gate */
};

/** State of one page; zero is a page that was never touched. */
struct mp_page {
    _Atomic uint32_t gate;
    uint32_t twin;  /* written by whoever holds busy or changing */
    uint32_t flags; /* enum mp_page_flag, device only */
};
_Static_assert(sizeof(struct mp_page) <= 16, "state per tracked page");

struct mp_region {
    _Atomic uintptr_t base; /* application's view, 0: no region here */
    _Atomic uint64_t len_bytes;
    uint8_t *alias;
    struct mp_page *pages; /* lazily zero */
    uint32_t page_count;
    int fd;
    _Atomic int error; /* cause of the last failed access */
};

/** What the word a blocked thread waits on says; an answer carries -status above. */
enum mp_answer { MP_IDLE, MP_ASKED, MP_ASLEEP, MP_ANSWERED };
enum { MP_ANSWER_MASK = 0xff, MP_ANSWER_SHIFT = 8 };

/** One application thread. Its ticket is its index. */
struct mp_thread {
    _Alignas(64) _Atomic uint32_t taken;
    _Atomic uint32_t answer; /* futex */
    _Atomic int tid;
    /* Written by the thread itself only, read by stats. */
    _Atomic uint64_t traps, local_dirty, misses, refusals;
    /* Same access again and again although the gate is open: kernel and gate disagree. */
    const struct mp_page *again_page;
    uint32_t again_word, again_count;
    void *stack;    /* alternate signal stack, kept for the next thread */
    bool stack_set; /* this thread runs on it */
};

struct mp_tracker {
    struct coh_tracker base; /* first */
    struct mp_tracker *next; /* of the process; only where threads are coroutines */
    struct coh_cfg cfg;
    struct mp_region regions[COH_REGIONS_MAX];
    struct mp_thread threads[COH_THREADS_MAX];
    struct coh_twins *twins;
    struct coh_maps maps;
    struct coh_notes notes; /* places: twin for DIRTY, twins + 1 + ticket for MISS */
    uint64_t serial;        /* tells this tracker from an earlier one of the process */
    size_t stack_bytes;
    long processors; /* this process may run on */

    /* Device thread only. */
    struct coh_note *fifo; /* ring */
    uint32_t fifo_cap, fifo_head, fifo_len;
    struct mp_want {
        uint16_t region;
        uint32_t page;
    } * wants;
    uint32_t want_cap, want_count;
    struct {
        uint16_t region;
        uint32_t page, count; /* 0: none */
    } dropped;                /* neighbours whose bytes are to be given back by one call */
    uint64_t gates_since_resync;
    uint64_t resident, resident_max, refusals;
};

static inline struct mp_tracker *mp(struct coh_tracker *t)
{
    return (struct mp_tracker *)t;
}

static inline struct mp_region *mp_region(struct mp_tracker *t, uint16_t region)
{
    FL_ASSERT(region < COH_REGIONS_MAX && t->regions[region].pages);
    return &t->regions[region];
}

static inline struct mp_page *mp_page(struct mp_region *r, uint32_t page)
{
    FL_ASSERT(page < r->page_count);
    return &r->pages[page];
}

static inline uint32_t mp_word(const struct mp_page *p)
{
    return atomic_load_explicit(&p->gate, memory_order_acquire);
}

/* --- mp_trap.c ------------------------------------------------------------------------------- */

/** Takes over SIGSEGV for @t; one tracker at a time. Errors: FL_EINVAL, FL_EIO. */
int mp_trap_install(struct mp_tracker *t, struct fl_errmsg *err);
void mp_trap_remove(struct mp_tracker *t);

/** Change in the number of mappings when page @page alone goes from @from to @to. */
int64_t mp_border_delta(const struct mp_region *r, uint32_t page, enum fl_prot from,
                        enum fl_prot to);

/** The page as the application sees it. An integer inside: the handler compares any address. */
static inline uint8_t *mp_app(const struct mp_region *r, uint32_t page)
{
    uintptr_t base = atomic_load_explicit(&r->base, memory_order_relaxed);
    return (uint8_t *)(base +
                       (uintptr_t)page * FL_PAGE_BYTES); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint8_t *mp_alias(const struct mp_region *r, uint32_t page)
{
    return r->alias + (size_t)page * FL_PAGE_BYTES;
}

/* --- mp_thread.c ----------------------------------------------------------------------------- */

/** Record of the calling thread; one is taken for it if need be. NULL: none is free.
 * Async-signal-safe. */
struct mp_thread *mp_thread_self(struct mp_tracker *t);

/** Sends a MISS and waits for its answer: FL_OK, the answer's error, or FL_ETIMEDOUT.
 * Async-signal-safe. */
int mp_miss(struct mp_tracker *t, struct mp_thread *th, uint16_t region, uint32_t page,
            enum fl_access access);

/** Answers the MISS of @ticket; nothing when there is none. Device. */
void mp_answer(struct mp_tracker *t, uint32_t ticket, int status);

/** Lets others run while a gate is busy: a few spins, then the processor is given up. */
void mp_pause(const struct mp_tracker *t, uint32_t round);

/** Between two steps of a trap: a coroutine may be made to wait here. */
void mp_give_way(const struct mp_tracker *t, enum coh_way way);

/** Monotonic, or the simulator's. */
uint64_t mp_now_ns(const struct mp_tracker *t);

/** When a wait of the access deadline that starts now ends; FL_NEVER: not at all. */
uint64_t mp_deadline_ns(const struct mp_tracker *t);

/** Bytes of an alternate stack that the handler runs on. */
size_t mp_stack_bytes(void);

/** Processors this process may run on, at least 1. */
long mp_processors(void);

/** Frees the stacks of all records. */
void mp_threads_done(struct mp_tracker *t);

/* --- mp_queue.c, device ------------------------------------------------------------------------ */

/** Moves all notes pushed so far into the device's own queue, so that their places are free. */
void mp_collect(struct mp_tracker *t);

/** Notes that the device waits for this gate: GATE_FREE follows. */
void mp_want(struct mp_tracker *t, uint16_t region, uint32_t page);

bool mp_next(struct coh_tracker *base, struct coh_note *ret);

/* --- mp_gate.c, device ------------------------------------------------------------------------- */

int mp_gate(struct coh_tracker *base, uint16_t region, uint32_t page, uint32_t count,
            enum fl_prot prot);

/** Counts the mappings of the process again. */
void mp_resync(struct mp_tracker *t);

/* --- tracker_mprotect.c, also for tests ----------------------------------------------------------- */

/** What coh_mprotect_new refuses on: FL_OK, or FL_EUNSUPPORTED with cause and remedy. */
int mp_check_host(long host_page_bytes, bool knows_access, struct fl_errmsg *err);

/** Gives back the bytes of dropped pages that are still there. Called before anything opens or
 * fills a page, and whenever the device looks at its notes. */
void mp_give_back(struct mp_tracker *t);

/** Lowers the limit of mappings that the tracker keeps to. */
void mp_set_map_limit(struct coh_tracker *t, int64_t limit);

#endif
