/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The interface between a protocol core and the world it runs in.
 *
 * A core is `void step(core *, struct fl_env *, const struct fl_event *)`: pure, bounded, without
 * I/O, clock or allocation; its state is one flat block without pointers. It acts only through the
 * calls below. A call submits and returns at once; its result comes back as an event, never inside
 * the call (snap and now, rng are the exceptions: they answer at once). Memory is named (region,
 * page, line), never pointed to. Worlds: real processes, simulator, exhaustive explorer.
 *
 * Every call with a @tag is answered by exactly one event that carries the same tag.
 */
#ifndef FL_ENV_H
#define FL_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "emu/base/err.h"
#include "emu/base/rng.h"
#include "emu/base/sites.h"
#include "emu/base/units.h"

/** Classes of traffic: separate connections, so that no class waits behind a lower one. */
enum fl_class { FL_URGENT, FL_NORMAL, FL_BULK, FL_CLASSES };

/** Protection of a page as every application thread sees it. */
enum fl_prot { FL_PROT_NONE, FL_PROT_READ, FL_PROT_RW };

enum fl_access { FL_LOAD, FL_STORE, FL_FETCH };

/** What the page-table entry of a page refers to. */
enum fl_map_kind {
    FL_MAP_HOLE,  /* nothing: local bytes are given back */
    FL_MAP_FRAME, /* a local frame */
    FL_MAP_SLOT,  /* a page of a remote chunk, read in place */
};

/** Which coherence event an exact tracker or device saw. */
enum fl_coh { FL_COH_RD_SHARED, FL_COH_RD_OWN, FL_COH_WB_DIRTY, FL_COH_EVICT, FL_COH_SNOOP };

enum fl_vcpu_op { FL_VCPU_PAUSE, FL_VCPU_EXPORT, FL_VCPU_IMPORT, FL_VCPU_RUN, FL_VCPU_DROP };

enum fl_store_op {
    FL_STORE_LINES,  /* lines of a page to persistent media */
    FL_STORE_RECORD, /* a small record (commit record, manifest, counter) */
    FL_STORE_READ,
    FL_STORE_SYNC, /* everything stored before is durable */
};

enum fl_power { FL_POWER_AC_LOST, FL_POWER_AC_BACK, FL_POWER_BATTERY, FL_POWER_SPENT };

enum fl_admin {
    FL_ADMIN_MIGRATE,
    FL_ADMIN_RECLAIM,
    FL_ADMIN_REJOIN,
    FL_ADMIN_QUIESCE,
    FL_ADMIN_SLOTS, /* a fault, not answered; b: 1 no page buffer is given out, 0 again */
};

/** What the program asked of its persistence domain (PERSIST.a). */
enum fl_persist { FL_PERSIST_FLUSH, FL_PERSIST_FENCE };

enum { FL_NO_NODE = 0xffff, FL_MSG_ENTRIES_MAX = 64, FL_MSG_PAYLOAD_MAX = 64 * 1024 };

/** fl_store.buf: the lines are taken from the page itself (persistent memory, chunks). */
#define FL_BUF_LIVE UINT32_MAX

/** A page of a chunk on a memory node. */
struct fl_slot {
    uint16_t node;  /* index of the node in the plan */
    uint16_t chunk; /* chunk id, unique on that node */
    uint32_t page;  /* page within the chunk */
};

/** One-sided read or write of lines of one page. */
struct fl_rma {
    uint64_t tag;
    struct fl_slot slot; /* remote side */
    uint16_t region;     /* whose page this is, for ledgers and the trace */
    uint8_t cls;         /* enum fl_class */
    uint8_t whole;       /* write of a page marked dirty as a whole (PAGE_DIRTY) */
    uint32_t page;
    uint32_t buf;         /* page buffer: source of a write, target of a read */
    fl_mask mask;         /* lines to move; the world posts one operation per run */
    uint64_t seq;         /* sequence number of this page's write-back, 0 for reads */
    uint64_t deadline_ns; /* relative to now; FL_ETIMEDOUT when it passes */
    uint8_t want_sum;     /* DONE.a: XXH64 of the lines of @mask in the buffer, in order */
    /* Erasure code, mechanism C; a world without one answers FL_ENOSYS. 0: plain page. n: share
     * n - 1 of @share_data data shares (equal runs of lines) and @share_parity parity shares, each
     * in the first lines of its slot; @mask is unused. A write computes the share from the buffer.
     * Reads of any @share_data different shares into one buffer make the page whole there. */
    uint8_t share, share_data, share_parity;
};

/**
 * Messages. All share one header and one layout: @entry_count entries, then for each entry the
 * lines of its mask, packed. A new message is a new row here; codec and worlds stay. Messages with
 * a value from FL_MSG_BARE on only name lines (requests, manifests, missing sets): none travel.
 * X(enumerator, value on the wire, class, name)
 */
#define FL_MSGS(X)                                                                                 \
    X(FL_MSG_OPEN_REQ, 1, FL_NORMAL, "open_req")   /* a: lease epoch, count: pages */              \
    X(FL_MSG_OPEN_ACK, 2, FL_NORMAL, "open_ack")   /* status; a: lease epoch */                    \
    X(FL_MSG_CLOSE_REQ, 3, FL_NORMAL, "close_req") /* a: lease epoch */                            \
    X(FL_MSG_CLOSE_ACK, 4, FL_NORMAL, "close_ack") /* status; a: lease epoch */                    \
    X(FL_MSG_LOG_BATCH, 5, FL_BULK, "log_batch")   /* seq; entries with lines */                   \
    X(FL_MSG_LOG_ACK, 6, FL_NORMAL, "log_ack")     /* seq of the batch; status */

enum fl_msg_type {
#define X(e, value, cls, name) e = value,
    FL_MSGS(X)
#undef X
};

enum { FL_MSG_BARE = 0x80 };

/** True when the masks of this message's entries name lines that do not travel with it. */
static inline bool fl_msg_bare(uint8_t type)
{
    return type >= FL_MSG_BARE;
}

struct fl_msg_entry {
    uint16_t chunk;  /* chunk at the receiver; its region when that is a compute node */
    uint16_t region; /* region at the sender */
    uint32_t page;   /* page within the chunk */
    fl_mask mask;    /* lines that travel with the message, or are named by a bare one */
    uint64_t seq;    /* sequence number of this page; mechanism C: epoch of the slot */
    uint32_t buf;    /* sender only: page buffer the lines are taken from */
    uint32_t whole;  /* page was dirty as a whole */
};

struct fl_msg {
    uint8_t type; /* enum fl_msg_type */
    uint8_t flags;
    uint16_t chunk;
    uint16_t region;
    uint16_t entry_count;
    int32_t status; /* 0 or enum fl_error */
    uint32_t page, count;
    uint64_t epoch;
    uint64_t seq;
    uint64_t a, b;
    struct fl_msg_entry entries[FL_MSG_ENTRIES_MAX];
};

/** Where install takes its bytes from. */
enum fl_src_kind { FL_SRC_BUF, FL_SRC_MSG };
struct fl_src {
    enum fl_src_kind kind;
    uint32_t idx; /* page buffer, or entry of the message being handled in this step */
};

/**
 * Persistent media operation, answered by DONE. LINES, and READ with a mask, move lines of (region,
 * page) from or to @buf. RECORD puts @b under key @a, whole or not at all; READ with an empty mask
 * gets it: DONE.b, FL_EINVAL when never written, FL_ECORRUPT when torn. Only SYNC makes durable.
 */
struct fl_store {
    uint64_t tag;
    enum fl_store_op op;
    uint16_t region;
    uint32_t page;
    uint32_t buf; /* page buffer, or FL_BUF_LIVE */
    fl_mask mask;
    uint64_t seq;
    uint64_t a, b; /* record: key (type and index) and value */
};

/** Events. One struct for all: unused fields are zero. */
#define FL_EVENTS(X)                                                                               \
    X(FL_EV_START, "START")         /* once, first */                                              \
    X(FL_EV_TIMER, "TIMER")         /* tag: timer id; a: lateness_ns */                            \
    X(FL_EV_MSG, "MSG")             /* node, msg */                                                \
    X(FL_EV_DONE, "DONE")           /* tag, status: answer to send, rma_*, commit, fence, store */ \
                                    /* a: sum that an rma wanted; b: record that a store read */   \
    X(FL_EV_CREDIT, "CREDIT")       /* node, a: class: room to send again after FL_EAGAIN */       \
    X(FL_EV_PEER_UP, "PEER_UP")     /* node, a: incarnation */                                     \
    X(FL_EV_PEER_DOWN, "PEER_DOWN") /* node, a: incarnation, status */                             \
    X(FL_EV_MISS, "MISS")           /* ticket, region, page, access, mask (0: unknown) */          \
    X(FL_EV_DIRTY, "DIRTY")         /* region, page, mask (0: unknown lines) */                    \
    X(FL_EV_COH, "COH")             /* region, page, mask, a: enum fl_coh */                       \
    X(FL_EV_GATED, "GATED")         /* tag, status: answer to gate; FL_ENOSPC: mapping limit */    \
    X(FL_EV_MAPPED, "MAPPED")       /* tag, status: answer to map */                               \
    X(FL_EV_PERSIST, "PERSIST")     /* region, page, mask, ticket (thread), a: enum fl_persist */  \
    X(FL_EV_OPEN, "OPEN")           /* ticket, region */                                           \
    X(FL_EV_CLOSE, "CLOSE")         /* ticket, region */                                           \
    X(FL_EV_PRESSURE, "PRESSURE")   /* a: pages that should leave device memory */                 \
    X(FL_EV_VCPU, "VCPU")   /* tag, status, a: vm: answer to vcpu; region, page of state */        \
    X(FL_EV_RATE, "RATE")   /* node, a: live bandwidth in bytes per second */                      \
    X(FL_EV_POWER, "POWER") /* a: enum fl_power, b: nanoseconds left */                            \
    X(FL_EV_ADMIN, "ADMIN") /* a: enum fl_admin, region, node, page, b: pages; ticket */

enum fl_ev_kind {
#define X(e, name) e,
    FL_EVENTS(X)
#undef X
        FL_EV_COUNT
};

struct fl_event {
    enum fl_ev_kind kind;
    int32_t status;
    uint16_t node;
    uint16_t region;
    uint32_t page;
    uint32_t ticket; /* blocked access: index of the application thread; also open, close, admin */
    uint8_t access;  /* enum fl_access */
    fl_mask mask;
    uint64_t tag;
    uint64_t a, b;
    const struct fl_msg *msg; /* MSG only; valid during the step */
};

#define FL_CALLS(X)                                                                                \
    X(FL_CALL_TIMER, "timer")                                                                      \
    X(FL_CALL_SEND, "send")                                                                        \
    X(FL_CALL_RMA_READ, "rma_read")                                                                \
    X(FL_CALL_RMA_WRITE, "rma_write")                                                              \
    X(FL_CALL_COMMIT, "commit")                                                                    \
    X(FL_CALL_FENCE, "fence")                                                                      \
    X(FL_CALL_GATE, "gate")                                                                        \
    X(FL_CALL_SNAP, "snap")                                                                        \
    X(FL_CALL_INSTALL, "install")                                                                  \
    X(FL_CALL_MAP, "map")                                                                          \
    X(FL_CALL_RESUME, "resume")                                                                    \
    X(FL_CALL_VCPU, "vcpu")                                                                        \
    X(FL_CALL_STORE, "store")                                                                      \
    X(FL_CALL_HALT, "halt")

enum fl_call {
#define X(e, name) e,
    FL_CALLS(X)
#undef X
        FL_CALL_COUNT
};

struct fl_env;

/** What a world implements. Cores use the inline wrappers below. */
struct fl_env_ops {
    uint64_t (*now)(struct fl_env *e);
    uint64_t (*rng)(struct fl_env *e, enum fl_stream s);
    void (*timer)(struct fl_env *e, uint64_t tag, uint64_t after_ns);
    void (*send)(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag);
    void (*rma_read)(struct fl_env *e, const struct fl_rma *op);
    void (*rma_write)(struct fl_env *e, const struct fl_rma *op);
    void (*commit)(struct fl_env *e, uint16_t node, uint64_t deadline_ns, uint64_t tag);
    void (*fence)(struct fl_env *e, uint16_t node, uint64_t tag);
    void (*gate)(struct fl_env *e, uint16_t region, uint32_t page, uint32_t count,
                 enum fl_prot prot, uint64_t tag);
    fl_mask (*snap)(struct fl_env *e, uint16_t region, uint32_t page, uint32_t buf);
    void (*install)(struct fl_env *e, uint16_t region, uint32_t page, fl_mask mask,
                    struct fl_src src);
    void (*map)(struct fl_env *e, uint16_t region, uint32_t page, enum fl_map_kind kind,
                struct fl_slot slot, uint64_t tag);
    void (*resume)(struct fl_env *e, uint32_t ticket, int status);
    void (*vcpu)(struct fl_env *e, uint16_t vm, enum fl_vcpu_op op, uint64_t tag);
    void (*store)(struct fl_env *e, const struct fl_store *s);
    void (*halt)(struct fl_env *e);
    void (*site)(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a, uint64_t b);
};

/** First member of a world's own structure. */
struct fl_env {
    const struct fl_env_ops *ops;
};

/** Time of this world in nanoseconds; cores use it for figures, never for decisions in explore. */
static inline uint64_t fl_now(struct fl_env *e)
{
    return e->ops->now(e);
}

static inline uint64_t fl_rand(struct fl_env *e, enum fl_stream s)
{
    return e->ops->rng(e, s);
}

/** TIMER(tag) after @after_ns; one timer per tag: arming again replaces, FL_NEVER cancels. */
static inline void fl_timer(struct fl_env *e, uint64_t tag, uint64_t after_ns)
{
    e->ops->timer(e, tag, after_ns);
}

/**
 * Hands a message to the fabric on its type's class. Lines of @m's entries are copied from their
 * page buffers during the call. DONE(tag): FL_OK accepted and buffers reusable, FL_EAGAIN no credit
 * (wait for CREDIT), FL_EPEERDEAD, FL_ECONN. Delivery is proved only by an answer.
 */
static inline void fl_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    e->ops->send(e, node, m, tag);
}

/** Reads lines into a page buffer. DONE(tag): the bytes of op->mask are in the buffer, or an error. */
static inline void fl_rma_read(struct fl_env *e, const struct fl_rma *op)
{
    e->ops->rma_read(e, op);
}

/**
 * Writes lines from a page buffer. DONE(tag, FL_OK): visible in the target's memory. On any error
 * each line is old or new there, and may still change until a fence. The buffer is the caller's
 * again at DONE, after an error only once the fence is done.
 */
static inline void fl_rma_write(struct fl_env *e, const struct fl_rma *op)
{
    e->ops->rma_write(e, op);
}

/** DONE(tag): everything written to @node before is durable there. */
static inline void fl_commit(struct fl_env *e, uint16_t node, uint64_t deadline_ns, uint64_t tag)
{
    e->ops->commit(e, node, deadline_ns, tag);
}

/**
 * Old keys revoked and old connections closed at @node, new ones up. DONE(tag, FL_OK): nothing
 * posted before can land any more, and every earlier operation to @node has had its DONE.
 * FL_EPEERDEAD, FL_ETIMEDOUT: the node cannot be reached.
 */
static inline void fl_fence(struct fl_env *e, uint16_t node, uint64_t tag)
{
    e->ops->fence(e, node, tag);
}

/**
 * Changes the protection of pages in every thread, busy gates waited out. Raising to FL_PROT_RW
 * takes the twin first. GATED(tag): FL_OK, or FL_ENOSPC (kernel mapping limit; unchanged). All
 * DIRTY events of stores made before the change are delivered before GATED.
 * A gate over many pages is one consistent cut: a store it holds back anywhere in the range stays
 * back until GATED. A page gated from RW or READ to READ is held: until its snap, a store to it
 * waits or is a MISS. After that, what a first store to a FL_PROT_READ page does is a property of
 * the region: it opens the page in the thread and tells by DIRTY (W), or is a MISS (C, P). Regions
 * whose mechanism needs no diff (C, M) keep no twins. In a line-grain region (M, exact trackers
 * only) an access to a line that was not installed since the last HOLE is a MISS at any protection.
 */
static inline void fl_gate(struct fl_env *e, uint16_t region, uint32_t page, uint32_t count,
                           enum fl_prot prot, uint64_t tag)
{
    e->ops->gate(e, region, page, count, prot, tag);
}

/**
 * Copies the live page into page buffer @buf, ends its twin and returns the lines that differ from
 * the twin (none if there was no twin). The page must be gated to READ or NONE. On a memory node
 * the page is a chunk's: no gate, no twin.
 */
static inline fl_mask fl_snap(struct fl_env *e, uint16_t region, uint32_t page, uint32_t buf)
{
    return e->ops->snap(e, region, page, buf);
}

/** Writes lines into the live page through the alias; no thread can see the page half filled. */
static inline void fl_install(struct fl_env *e, uint16_t region, uint32_t page, fl_mask mask,
                              struct fl_src src)
{
    e->ops->install(e, region, page, mask, src);
}

/**
 * Changes what the page's entry refers to. The page must be gated to NONE. MAPPED(tag): FL_OK, or
 * FL_ENOSPC (kernel mapping limit; unchanged). A fresh frame's bytes are undefined until installed.
 * Loads of a FL_MAP_SLOT page read the chunk itself, without events. When its node goes down the
 * world makes such pages FL_PROT_NONE before it delivers PEER_DOWN. On a memory node the page is a
 * chunk's, ungated, and a hole is filled with 0xDD, so that a read of freed bytes shows.
 */
static inline void fl_map(struct fl_env *e, uint16_t region, uint32_t page, enum fl_map_kind kind,
                          struct fl_slot slot, uint64_t tag)
{
    e->ops->map(e, region, page, kind, slot, tag);
}

/** Lets a blocked access (or open, close, admin request) go on; an error fails it (SIGBUS). */
static inline void fl_resume(struct fl_env *e, uint32_t ticket, int status)
{
    e->ops->resume(e, ticket, status);
}

/**
 * Operates the processor of a VM. VCPU(tag). Its registers have a state page in the VM's region
 * that the guest cannot reach: EXPORT fills it, IMPORT reads it, and it travels like any page. A
 * processor that waits for a line stays blocked inside its access; PAUSE stops it between two.
 */
static inline void fl_vcpu(struct fl_env *e, uint16_t vm, enum fl_vcpu_op op, uint64_t tag)
{
    e->ops->vcpu(e, vm, op, tag);
}

/** See struct fl_store. */
static inline void fl_store(struct fl_env *e, const struct fl_store *s)
{
    e->ops->store(e, s);
}

/** Battery spent: nothing after this call happens on this node. */
static inline void fl_halt(struct fl_env *e)
{
    e->ops->halt(e);
}

/** A named point: trace, trigger, fault, kill. May not return. */
static inline void fl_site(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a,
                           uint64_t b)
{
    e->ops->site(e, id, region, a, b);
}

/** Names for trace and logs; static strings. */
const char *fl_ev_name(enum fl_ev_kind k);
const char *fl_call_name(enum fl_call c);
const char *fl_msg_name(uint8_t type);

/** Class on which messages of @type travel; -1 when there is no such type. */
int fl_msg_class(uint8_t type);

#endif
