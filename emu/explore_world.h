/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The world the explorer walks through: threads that store and load through the page gate, one
 * device, memory nodes, and everything under way between them, as one flat block that is copied
 * and hashed. Lines hold version numbers; only the first two of a page are ever stored to.
 */
#ifndef EMU_EXPLORE_WORLD_H
#define EMU_EXPLORE_WORLD_H

#include "emu/explore.h"
#include "emu/mech/memnode.h"
#include "emu/mech/writeback.h"

enum {
    XW_PAGES = 16,
    XW_LINES = 2,
    XW_THREADS = 3,
    XW_NODES = 2,
    XW_OPS = 96,
    XW_MSGS = 64,
    XW_ENTRIES = 4,
    XW_NOTES = 64,
    XW_TIMERS = 16,
    XW_BUFS = 8,
    XW_ACTIONS = 512,
};

/** What may still happen that nobody is forced to do. */
struct xw_budget {
    uint16_t stores, loads;
    uint16_t errors;    /* operations that fail with their fate open, messages lost, deadlines */
    uint16_t dups;      /* messages delivered twice */
    uint16_t refusals;  /* no credit; mapping limit */
    uint16_t pressure;  /* pages that somebody wants evicted */
    uint16_t samples;   /* sampling diffs */
    uint16_t deadlines; /* open and close run out of time */
    uint16_t crashes;   /* memory nodes that die */
    uint16_t closes;
};

struct xw_cfg {
    const char *name;
    uint16_t pages, threads, nodes, bufs, capacity;
    uint16_t dclb_lines, threshold, log_batch, retry_max;
    uint8_t path, evict;
    uint8_t exact;     /* stores tell their lines, as exact trackers do */
    uint8_t large;     /* left out of quick explorations */
    uint8_t skip_open; /* begin with an open region */
    struct xw_budget budget;
    uint64_t states_max;
    struct fl_plants plants;
};

struct xw_page {
    uint32_t gate; /* the word of coherence/gate.h */
    uint8_t phys;  /* what the processor would let through */
    uint8_t twin, present, told;
    uint8_t stored; /* lines stored since the last snapshot */
    uint8_t sent;   /* lines in snapshots that are not acknowledged */
    uint8_t pad[2];
    uint16_t live[XW_LINES], old[XW_LINES], remote[XW_LINES], shadow[XW_LINES];
};

enum xw_phase { XW_IDLE, XW_TRY, XW_TAKEN, XW_OPENING, XW_WAIT };

struct xw_thread {
    uint8_t phase, store, page, line;
    uint8_t resumed, failed;
};

enum xw_note_kind { XW_N_MISS, XW_N_DIRTY, XW_N_GATED };

struct xw_note {
    uint64_t tag;
    uint8_t kind, ticket, page, access;
    uint8_t mask, refused;
    uint8_t pad[2];
};

struct xw_entry {
    uint64_t seq, mask;
    uint16_t chunk;
    uint8_t page, whole;
    uint16_t data[XW_LINES];
};

struct xw_msg {
    uint64_t seq, epoch, a;
    int32_t status;
    uint32_t count;
    uint16_t chunk, region;
    uint8_t type, node, to_node, entry_count;
    struct xw_entry entries[XW_ENTRIES];
};

struct xw_op {
    uint64_t tag, seq, mask;
    uint8_t kind;  /* enum fl_call */
    uint8_t ghost; /* answered with an error, may still land until the fence */
    uint8_t begun; /* gate: being changed */
    uint8_t node, page, count, prot, buf;
    uint8_t whole, is_mn;
    uint16_t data[XW_LINES]; /* ghost of a write: what it carries */
    uint8_t pad[2];
    struct xw_msg msg;
};

struct xw_state {
    struct xw_page pages[XW_PAGES];
    struct xw_thread threads[XW_THREADS];
    uint8_t dead[XW_NODES], told_dead[XW_NODES], credit[XW_NODES];
    uint8_t note_count, op_count, msg_count, timer_count;
    uint8_t open, closed; /* answers seen: 0, or 1 ok, 2 error */
    uint8_t closing;
    uint8_t over; /* no more faults: everything heals */
    struct xw_budget left;
    uint16_t version;
    uint16_t bufs[XW_BUFS][XW_LINES];
    struct xw_note notes[XW_NOTES];
    struct xw_op ops[XW_OPS];
    struct xw_msg msgs[XW_MSGS];
    uint64_t timers[XW_TIMERS]; /* tags of armed timers */
    uint64_t bytes_sent;
};

enum xw_act {
    XW_A_LOAD,
    XW_A_STORE,
    XW_A_THREAD,
    XW_A_NOTE,
    XW_A_GATE_BEGIN,
    XW_A_GATE_END,
    XW_A_GATE_REFUSE,
    XW_A_OK,
    XW_A_ERROR,
    XW_A_DEAD,
    XW_A_GHOST,
    XW_A_NO_CREDIT,
    XW_A_CREDIT,
    XW_A_MSG,
    XW_A_MSG_TWICE,
    XW_A_MSG_LOST,
    XW_A_TIMER,
    XW_A_SAMPLE,
    XW_A_PRESSURE,
    XW_A_CRASH,
    XW_A_PEER_DOWN,
    XW_A_CLOSE,
    XW_A_COUNT
};

struct xw_action {
    uint8_t kind, a, b, c;
};

extern const int xw_config_count;
struct xw_cfg xw_config(int i);

/** A configuration with the sizes of its block. */
struct xw {
    struct xw_cfg cfg;
    struct wb_cfg wb_cfg;
    size_t off_wb, off_mn[XW_NODES], size;
    uint64_t rows[WB_ROW_COUNT];
    uint32_t snapped, posted; /* pages, by bit: in the device's step under way */
    /* first violation */
    bool violated;
    char check[8], what[256];
};

int xw_init(struct xw *x, const struct xw_cfg *cfg, struct fl_errmsg *err);

/** Zeroed block for a state; free() it. NULL: out of memory. */
struct xw_state *xw_state_new(const struct xw *x);

/** Adds what was found while stepping to a result. */
void xw_collect(struct explore_result *r, const struct xw *x);

/** First state: region open, nothing cached. @s: x->size zeroed bytes, aligned to 64. */
void xw_start(struct xw *x, struct xw_state *s);

/** Node that holds a page, and the first page of a node. */
unsigned xw_node_of(const struct xw *x, unsigned page);
unsigned xw_first(const struct xw *x, unsigned node);

struct wb *xw_wb(const struct xw *x, struct xw_state *s);
struct mn *xw_mn(const struct xw *x, struct xw_state *s, unsigned node);

/** Everything that can happen next; how many, at most XW_ACTIONS. */
uint32_t xw_actions(struct xw *x, struct xw_state *s, struct xw_action *ret);

/** Lets it happen, then checks the state. A violation is left in @x. */
void xw_apply(struct xw *x, struct xw_state *s, struct xw_action a);

/** Hash of the state in canonical form; @scratch: x->size bytes. */
uint64_t xw_hash(const struct xw *x, const struct xw_state *s, struct xw_state *scratch);

/** Text of an action in this state. */
void xw_describe(const struct xw *x, const struct xw_state *s, struct xw_action a, char *dst,
                 size_t cap);

/* --- explore_check.c -------------------------------------------------------------------------- */

void xw_fail(struct xw *x, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** Nothing of this page may be lost any more: it is not counted as lost. */
bool xw_page_counts(const struct xw *x, struct xw_state *s, unsigned page);
void xw_check_state(struct xw *x, struct xw_state *s);
void xw_check_closed(struct xw *x, struct xw_state *s);
void xw_check_drop(struct xw *x, struct xw_state *s, unsigned page);
/** Of a page that was snapped in this step of the device. @whole_ended: in the same step a page that
 * was dirty as a whole became clean. */
void xw_check_snapped(struct xw *x, struct xw_state *s, unsigned page, bool whole_ended);
void xw_check_sent(struct xw *x, struct xw_state *s, unsigned page, uint64_t mask, bool whole);
void xw_check_landing(struct xw *x, unsigned page, unsigned line, uint16_t was, uint16_t is);
/** Nothing can happen any more. */
void xw_check_end(struct xw *x, struct xw_state *s);

#endif
