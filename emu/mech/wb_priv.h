/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of the write-back core: its flat block and what its files call of each other.
 *
 * Block: struct wb | nodes | buffer links | page entries | list heads. A list is a ring of page
 * entries closed by a head, which is an entry behind the pages; so a page leaves its list without
 * knowing which it is, and whole lists are moved in one step. Zeroed entries are NOT_CACHED pages.
 */
#ifndef MECH_WB_PRIV_H
#define MECH_WB_PRIV_H

#include "emu/base/assert.h"
#include "emu/mech/writeback.h"
#include "emu/mech/writeback_rows.h"

enum {
    WB_LOG_WINDOW = 4,     /* log batches in flight to one node */
    WB_GROUP_MAX = 16,     /* neighbouring pages gated by one call */
    WB_EVICT_WINDOW = 128, /* pages on their way out because of close or pressure */
    WB_REFUSED_EVICT = 64, /* pages to evict when the mapping limit refuses a gate */
    WB_SCAN_MAX = 512,     /* victims looked at; more than all pins together */
    WB_STEP_MAX = 256,     /* pages handled in one step before it goes on by timer */
    WB_BUF_MAX = 0xfffe,
};

#define WB_FENCE_AGAIN_NS (100 * FL_NS_PER_MS)
#define WB_RETRY_NS FL_NS_PER_MS /* after the mapping limit refused to lower a page */

/* Flags of a page. */
enum {
    WB_F_EVICT = 1 << 0,    /* leaves device memory as soon as it is clean */
    WB_F_GATE = 1 << 1,     /* a gate call is unanswered */
    WB_F_MAP = 1 << 2,      /* a map call is unanswered */
    WB_F_REF = 1 << 3,      /* used since the clock's hand passed */
    WB_F_RETAINED = 1 << 4, /* inflight: lines of a failed write-back, to be sent again */
    WB_F_WHOLE = 1 << 5,    /* the write-back in flight is of the whole page */
    WB_F_LOST = 1 << 6,     /* its dirty lines are counted as lost */
    WB_F_FRAME = 1 << 7,    /* counts against capacity */
    WB_F_STORED = 1 << 8,   /* store seen before the grant was answered */
    WB_F_LRU = 1 << 9,      /* in the list of possible victims */
    WB_F_SEEN = 1 << 10,    /* was fetched before */
    WB_F_WAS_CLEAN = 1 << 11,
    WB_F_ENTRY_LOST = 1 << 12,
    WB_F_PROT_SHIFT = 14, /* enum fl_prot, two bits */
};

/* What a page waits for, besides its state. */
enum wb_step {
    WB_S_IDLE,
    WB_S_READ,    /* FETCHING: read in flight */
    WB_S_DATA,    /* FETCHING: bytes in the buffer, no frame yet */
    WB_S_GRANT,   /* FETCHING: installed, not yet open */
    WB_S_SHUT,    /* dirty, gated to NONE, no buffer for its snapshot yet: must not be raised */
    WB_S_SNAPPED, /* snapshot waits for its log batch */
    WB_S_POSTED,  /* snapshot is in flight */
};

enum wb_q { WB_Q_NONE, WB_Q_DIRTY, WB_Q_DUE, WB_Q_FETCH, WB_Q_FRAME, WB_Q_LOG };

/** One page; 48 bytes. */
struct wb_page {
    fl_mask dirty;    /* lines that have a DCLB entry */
    fl_mask inflight; /* lines of the write-back in flight, or retained after its failure */
    uint64_t seq;     /* of its last write-back; survives eviction */
    uint32_t lru_prev, lru_next;
    uint32_t q_prev, q_next;
    uint16_t buf; /* + 1 */
    uint16_t flags;
    uint8_t state; /* enum wb_page_state */
    uint8_t step;  /* enum wb_step */
    uint8_t q;     /* enum wb_q */
    uint8_t pins;  /* threads that were granted this page lately */
};
_Static_assert(sizeof(struct wb_page) == 48, "bytes per page are part of the contract");

enum { WB_B_FREE, WB_B_SENDING, WB_B_CREDIT, WB_B_SENT };

struct wb_batch {
    uint64_t seq;
    uint16_t count;
    uint8_t state;  /* WB_B_* */
    uint8_t acked;  /* answered before send was */
    int32_t failed; /* failed before send was answered */
};

enum { WB_REFUSED_WAITS = 1, WB_REFUSED_AGAIN };
/* LOST: given up, its buffers wait for a fence. GONE: its connection is closed. */
enum { WB_N_UP, WB_N_FENCING, WB_N_LOST, WB_N_GONE };

struct wb_node {
    uint64_t incarnation;
    uint16_t id;
    uint8_t state;     /* WB_N_* */
    uint8_t fence_out; /* a fence call is unanswered */
    uint16_t fences;   /* in a row without progress */
    uint16_t quar;     /* buffers that wait for the fence, + 1 */
    struct wb_batch batches[WB_LOG_WINDOW];
};

enum {
    WB_RF_TIMER = 1 << 0,     /* period timer armed */
    WB_RF_LATE = 1 << 1,      /* a period ended while pages were in flight */
    WB_RF_RELEASING = 1 << 2, /* closing, drained: leases are being released */
    WB_RF_SKIP = 1 << 3,      /* the plant W-skip-period skips the next one */
};

struct wb_region {
    uint64_t epoch; /* lease epoch of this opening */
    uint64_t lost_lines;
    uint32_t base; /* index of its first page */
    uint32_t ticket;
    uint32_t busy; /* pages that are not NOT_CACHED */
    uint32_t lost_pages;
    uint32_t inflight; /* pages whose write-back is in flight */
    uint32_t dirty_pages;
    uint32_t cursor; /* next page of the list of victims that close looks at */
    int32_t error;
    uint16_t pending;    /* chunks whose answer to open or close is awaited */
    uint16_t unsent;     /* chunks to which the request has not gone out */
    uint16_t chunk_lost; /* chunks whose node is lost to this region */
    uint8_t state;       /* enum wb_region_state */
    uint8_t flags;
    uint16_t chunk_node[WB_CHUNKS_MAX]; /* index into the nodes */
};

struct wb_thread {
    uint32_t page; /* it waits for, + 1 */
    uint8_t access;
    uint8_t pad[3];
    uint32_t pins[WB_PINS_PER_THREAD]; /* last grants, newest first, + 1 */
};

struct wb {
    struct wb_cfg cfg;
    struct wb_stats stats;
    uint64_t rows;
    uint64_t off_nodes, off_bufs, off_pages;
    uint64_t batch_seq;
    uint64_t dclb_used;
    uint64_t pressure; /* pages still to evict on request */
    uint32_t page_total;
    uint32_t node_count;
    uint32_t cached;   /* frames in use */
    uint32_t wanting;  /* pages being fetched without a frame */
    uint32_t granting; /* pages being fetched with a frame */
    uint32_t evicting;
    uint32_t gating;  /* pages whose gate is being lowered */
    uint32_t snapped; /* pages that wait for a log batch */
    uint32_t free_bufs;
    uint32_t lru_count;
    uint32_t closing;  /* regions in CLOSING */
    uint32_t quiesce;  /* ticket + 1 */
    uint32_t posted;   /* one-sided writes whose answer is out */
    uint16_t buf_head; /* + 1; first in, first out: neighbours in a write go on being neighbours */
    uint16_t buf_tail; /* + 1; means nothing while there is no head */
    uint8_t refused;   /* a grant was refused: ask again after the next drop */
    uint8_t paused;    /* lowering was refused: wait for the timer */
    uint8_t more;      /* this step stopped early: go on by timer */
    uint8_t full;      /* a fault: no buffer is given out */
    struct wb_region regions[WB_REGIONS_MAX];
    struct wb_thread threads[WB_THREADS_MAX];
};

/* --- tags ------------------------------------------------------------------------------------ */

enum wb_tag {
    WB_T_NONE,
    WB_T_GATE_UP,   /* hi: prot, lo: page */
    WB_T_GATE_DOWN, /* hi: count << 2 | prot, lo: first page */
    WB_T_MAP,       /* lo: page */
    WB_T_READ,      /* hi: buffer, lo: page */
    WB_T_WRITE,     /* hi: buffer, lo: page */
    WB_T_FENCE,     /* lo: node */
    WB_T_SEND_LOG,  /* hi: slot, lo: node */
    WB_T_SEND_CTL,  /* hi: chunk, lo: region */
    WB_T_FORGET,    /* nobody waits for the answer */
    WB_T_PERIOD,    /* timers; lo: region */
    WB_T_CTL,
    WB_T_BATCH, /* hi: slot, lo: node */
    WB_T_GO_ON,
    WB_T_RETRY,
    WB_T_FENCE_AGAIN, /* lo: node */
};

static inline uint64_t wb_tag(enum wb_tag k, uint32_t hi, uint32_t lo)
{
    return (uint64_t)k << 56 | (uint64_t)(hi & 0xffffff) << 32 | lo;
}

static inline enum wb_tag wb_tag_kind(uint64_t tag)
{
    return (enum wb_tag)(tag >> 56);
}

static inline uint32_t wb_tag_hi(uint64_t tag)
{
    return (uint32_t)(tag >> 32) & 0xffffff;
}

static inline uint32_t wb_tag_lo(uint64_t tag)
{
    return (uint32_t)tag;
}

/* --- parts of the block ---------------------------------------------------------------------- */

static inline struct wb_page *wb_pg(struct wb *w, uint32_t idx)
{
    return (struct wb_page *)(void *)((char *)w + w->off_pages) + idx;
}

static inline struct wb_node *wb_nd(struct wb *w, uint32_t n)
{
    return (struct wb_node *)(void *)((char *)w + w->off_nodes) + n;
}

static inline uint16_t *wb_buf_link(struct wb *w, uint32_t buf)
{
    return (uint16_t *)(void *)((char *)w + w->off_bufs) + buf;
}

/* Heads of lists are entries behind the pages. */
enum wb_head {
    WB_H_LRU,     /* possible victims, most recently used first */
    WB_H_URGENT,  /* due for write-back or eviction, somebody waits */
    WB_H_DUE,     /* due for write-back or eviction */
    WB_H_FETCH,   /* wait for a buffer to be read into */
    WB_H_FRAME,   /* read, wait for a frame */
    WB_H_REFUSED, /* read and installed, not opened: the mapping limit */
    WB_H_REGION,  /* first of the regions' lists of dirty pages */
    WB_H_NODE = WB_H_REGION + WB_REGIONS_MAX,
};
enum wb_node_head {
    WB_NH_FETCH,
    WB_NH_FLUSH,
    WB_NH_LOG,
    WB_NH_BATCH,
    WB_NH_COUNT = WB_NH_BATCH + WB_LOG_WINDOW
};

static inline uint32_t wb_head(const struct wb *w, enum wb_head h)
{
    return w->page_total + (uint32_t)h;
}

static inline uint32_t wb_head_dirty(const struct wb *w, uint16_t region)
{
    return w->page_total + WB_H_REGION + region;
}

static inline uint32_t wb_head_node(const struct wb *w, uint32_t node, uint32_t h)
{
    return w->page_total + WB_H_NODE + node * WB_NH_COUNT + h;
}

static inline enum fl_prot wb_prot(const struct wb_page *p)
{
    return (enum fl_prot)(p->flags >> WB_F_PROT_SHIFT);
}

static inline void wb_prot_set(struct wb_page *p, enum fl_prot prot)
{
    p->flags =
        (uint16_t)((p->flags & ((1u << WB_F_PROT_SHIFT) - 1)) | (unsigned)prot << WB_F_PROT_SHIFT);
}

static inline void wb_set(struct wb_page *p, unsigned f)
{
    p->flags = (uint16_t)(p->flags | f);
}

static inline void wb_clr(struct wb_page *p, unsigned f)
{
    p->flags = (uint16_t)(p->flags & ~f);
}

static inline bool wb_has(const struct wb_page *p, unsigned f)
{
    return (p->flags & f) != 0;
}

static inline bool wb_is_dirty(const struct wb_page *p)
{
    return p->state == WB_DIRTY || p->state == WB_PAGE_DIRTY;
}

static inline bool wb_in_flight(const struct wb_page *p)
{
    return p->step == WB_S_SNAPPED || p->step == WB_S_POSTED;
}

static inline bool wb_planted(const struct wb *w, enum fl_plant x)
{
    return fl_planted(&w->cfg.plants, x);
}

/** Region, page, chunk and node of a page entry. */
struct wb_at {
    uint16_t region, chunk;
    uint32_t page, node;
};

/* Inline: it is asked several times a step, and a struct of narrow parts is slow to hand back. */
static inline struct wb_at wb_at(const struct wb *w, uint32_t idx)
{
    uint32_t page;
    uint16_t region = 0, chunk = 0;

    while (region + 1 < w->cfg.region_count && idx >= w->regions[region + 1].base) {
        region++;
    }
    idx -= w->regions[region].base;
    page = idx;
    while (page >= w->cfg.regions[region].chunks[chunk].page_count) {
        page -= w->cfg.regions[region].chunks[chunk].page_count;
        chunk++;
    }
    return (struct wb_at){region, chunk, idx, w->regions[region].chunk_node[chunk]};
}

struct fl_slot wb_slot_of(const struct wb *w, uint32_t idx);

/** The page's node is lost to its region: nothing is sent there any more. */
bool wb_lost(const struct wb *w, const struct wb_at *at);

/* --- wb_util.c ------------------------------------------------------------------------------- */

bool wb_q_empty(struct wb *w, uint32_t head);
uint32_t wb_q_first(struct wb *w, uint32_t head);
void wb_q_push(struct wb *w, uint32_t head, uint32_t idx, enum wb_q q);
void wb_q_remove(struct wb *w, uint32_t idx);
/** Moves all of @from to the end of @to. The pages keep their enum wb_q. */
void wb_q_splice(struct wb *w, uint32_t to, uint32_t from);

void wb_lru_add(struct wb *w, uint32_t idx);
void wb_lru_remove(struct wb *w, uint32_t idx);

bool wb_buf_take(struct wb *w, struct wb_page *p);
/** Fewer than @need buffers can be had now; counts when only a fault is why. */
bool wb_buf_short(struct wb *w, uint32_t need);
void wb_buf_put(struct wb *w, uint32_t buf);
void wb_buf_release(struct wb *w, struct wb_page *p);
/** Some region is neither closed nor failed. */
bool wb_in_use(const struct wb *w);
/** After an error the buffer may still be read or written until the fence. */
void wb_buf_quarantine(struct wb *w, uint32_t node, uint32_t buf);

/** Changes the state by a row of the table. */
void wb_row(struct wb *w, uint32_t idx, enum wb_row r);
void wb_region_row(struct wb *w, uint16_t region, enum wb_row r);

/* --- wb_dclb.c ------------------------------------------------------------------------------- */

void wb_on_dirty(struct wb *w, struct fl_env *e, const struct fl_event *ev);
/** A store opened or may open the page: CLEAN or FLUSHING becomes DIRTY, its lines unknown. */
void wb_mark_dirty(struct wb *w, struct fl_env *e, uint32_t idx, unsigned lines);
/** Puts a dirty page with nothing outstanding into the list it waits in. */
void wb_queue_dirty(struct wb *w, struct fl_env *e, uint32_t idx);
/** Adds entries; past the threshold or capacity the page is marked as a whole. */
void wb_dclb_add(struct wb *w, struct fl_env *e, uint32_t idx, fl_mask lines);
void wb_dclb_clear(struct wb *w, struct wb_page *p);
void wb_coarsen(struct wb *w, struct fl_env *e, uint32_t idx, unsigned lines);

/* --- wb_fetch.c ------------------------------------------------------------------------------ */

void wb_on_miss(struct wb *w, struct fl_env *e, const struct fl_event *ev);
void wb_on_read(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_on_gate_up(struct wb *w, struct fl_env *e, uint64_t tag, int status);
/** Looks at the threads that wait for this page and does what lets them go on. */
void wb_serve(struct wb *w, struct fl_env *e, uint32_t idx);
void wb_serve_all(struct wb *w, struct fl_env *e);
/** Fails every thread that waits for a page for which @lost_only is false or whose node is lost. */
void wb_fail_waiting(struct wb *w, struct fl_env *e, uint16_t region, bool lost_only, int status);
void wb_pump_refused(struct wb *w, struct fl_env *e);
void wb_pump_fetch(struct wb *w, struct fl_env *e, uint32_t *budget);
void wb_pump_frames(struct wb *w, struct fl_env *e, uint32_t *budget);

/* --- wb_evict.c ------------------------------------------------------------------------------ */

void wb_touch(struct wb *w, uint32_t idx);
/** Chooses a victim and starts its eviction; false when no page may leave. @pressure: somebody
 * outside wants memory back, no miss waits; pinned pages may go, too. */
bool wb_evict_one(struct wb *w, struct fl_env *e, bool pressure);
void wb_evict(struct wb *w, struct fl_env *e, uint32_t idx, bool urgent);
void wb_revive(struct wb *w, uint32_t idx);
/** Drops a clean page that is gated to NONE. */
void wb_drop(struct wb *w, struct fl_env *e, uint32_t idx);
void wb_on_mapped(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_frame_put(struct wb *w, struct wb_page *p);
void wb_pump_evict(struct wb *w, struct fl_env *e);

/* --- wb_flush.c ------------------------------------------------------------------------------ */

void wb_pump_due(struct wb *w, struct fl_env *e, uint32_t *budget);
void wb_on_gate_down(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_on_write(struct wb *w, struct fl_env *e, uint64_t tag, int status);
/** The lines in flight are visible at the memory node. */
void wb_retire(struct wb *w, struct fl_env *e, uint32_t idx);
/** The write-back in flight failed: its lines are dirty again. */
void wb_flush_failed(struct wb *w, struct fl_env *e, uint32_t idx, int status);
/** Puts a page with nothing outstanding where it belongs next. */
void wb_settle(struct wb *w, struct fl_env *e, uint32_t idx);
/** Lines that go out for this page: what is in flight, unless a plant says otherwise. */
fl_mask wb_sent_mask(struct wb *w, struct fl_env *e, uint32_t idx);
/** Takes it back: it turned out that nothing was. */
void wb_unsent(struct wb *w, uint32_t idx);

/* --- wb_log.c -------------------------------------------------------------------------------- */

void wb_log_queue(struct wb *w, uint32_t idx, uint32_t node);
void wb_pump_log(struct wb *w, struct fl_env *e);
void wb_on_log_sent(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_on_log_ack(struct wb *w, struct fl_env *e, uint32_t node, uint64_t seq, int status);
void wb_on_log_timer(struct wb *w, struct fl_env *e, uint64_t tag);
void wb_log_credit(struct wb *w, struct fl_env *e, uint32_t node);
/** Every batch to @node that is not answered fails; snapshots not yet sent too when @queued. */
void wb_log_fail(struct wb *w, struct fl_env *e, uint32_t node, bool queued, int status);

/* --- wb_node.c ------------------------------------------------------------------------------- */

/** Index of the node, or -1. */
int wb_node_find(struct wb *w, uint16_t id);
/** An operation failed. Whatever the error, it may still land: fence before sending again. */
void wb_node_error(struct wb *w, struct fl_env *e, uint32_t node);
void wb_node_progress(struct wb *w, uint32_t node);
/** Asks for a fence of a node given up that still has buffers, while a region is in use. */
void wb_on_fence_again(struct wb *w, struct fl_env *e, uint32_t node);
void wb_on_fence(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_on_peer_up(struct wb *w, struct fl_env *e, const struct fl_event *ev);
void wb_on_peer_down(struct wb *w, struct fl_env *e, const struct fl_event *ev);

/* --- wb_region.c ----------------------------------------------------------------------------- */

void wb_on_open(struct wb *w, struct fl_env *e, const struct fl_event *ev);
void wb_on_close(struct wb *w, struct fl_env *e, const struct fl_event *ev);
void wb_on_ctl_sent(struct wb *w, struct fl_env *e, uint64_t tag, int status);
void wb_on_ctl_msg(struct wb *w, struct fl_env *e, const struct fl_event *ev);
void wb_on_ctl_timer(struct wb *w, struct fl_env *e, uint16_t region);
void wb_on_period(struct wb *w, struct fl_env *e, uint16_t region);
void wb_arm_period(struct wb *w, struct fl_env *e, uint16_t region);
void wb_on_admin(struct wb *w, struct fl_env *e, const struct fl_event *ev);
/** Sends what open and close still have to send; after a fence, credit or new connection. */
void wb_ctl_send(struct wb *w, struct fl_env *e, uint16_t region);
/** Chunks on @node are lost to every region that is not closed. */
void wb_regions_lose(struct wb *w, struct fl_env *e, uint32_t node, int status);
void wb_pump_regions(struct wb *w, struct fl_env *e, uint32_t *budget);

#endif
