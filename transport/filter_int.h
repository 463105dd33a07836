/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of the stack of fault filters (filter*.c): one entry per call of the owner that is not
 * answered or may still change memory, lanes that keep requests and answers in order, and one
 * struct flt_kind per fault.
 *
 * An entry is answered (its result is on the ready list, or was told) independently of where it
 * is: a write whose deadline passed while it waits here may still land later.
 */
#ifndef TP_FILTER_INT_H
#define TP_FILTER_INT_H

#include <sys/queue.h>

#include "emu/base/env.h"
#include "emu/base/rng.h"
#include "transport/filter.h"
#include "transport/timers.h"

enum {
    FLT_OPS_MAX = 1 << 16,  /* beyond, calls pass untouched by any fault */
    FLT_OPS_SLAB = 64,      /* entries made at once */
    FLT_SENDS_MAX = 64,     /* messages held per peer and class; beyond: FL_EAGAIN */
    FLT_COPIES_MAX = 256,   /* messages held on their way up; beyond, they are not touched */
    FLT_SLOTS = 256,        /* copies of written bytes; beyond, writes are not touched */
    FLT_REQUEST_BYTES = 64, /* on a slow link: of a request, or an answer without data */
    FLT_NO_SLOT = 0xffff,
};

/** For what has no deadline of its own. */
#define FLT_DEFAULT_DEADLINE_NS (10 * FL_NS_PER_S)

enum flt_what { FLT_READ, FLT_WRITE, FLT_SEND, FLT_FENCE };

enum flt_where {
    FLT_QUEUED, /* in a lane on its way down */
    FLT_APART,  /* on its way down as well, by itself: goes when due */
    FLT_BELOW,  /* the port has it */
    FLT_BACK,   /* in a lane on its way up, successful */
    FLT_LATE,   /* on its way up as well, by itself */
    FLT_LOST,   /* nothing of it will come: its deadline answers it, or the end of the session */
    FLT_KEPT,   /* failed below: the port may still read the copy of its bytes */
    FLT_GONE,   /* free as soon as it was told */
};

enum flt_timer { FLT_T_OP, FLT_T_LANE, FLT_T_COPY, FLT_T_CONNECT };

struct flt_fault {
    STAILQ_ENTRY(flt_fault) link;
    uint32_t id;
    struct tp_fault t;
    bool armed;
    uint64_t seen, taken; /* that could be hit; that were chosen */
    uint64_t fired;
    uint64_t busy_ns[FL_CLASSES]; /* rate: when the link is free again */
};
STAILQ_HEAD(flt_faults, flt_fault);

struct flt_op {
    struct tpo_timer timer; /* first: timers are told apart by their kind */
    uint32_t idx, gen;
    uint64_t tag, serial;
    struct tp_rma r; /* one-sided operations */
    uint16_t peer, slot;
    uint8_t cls;
    uint8_t what, where;
    bool used, answered, ready;
    int status;
    uint64_t deadline_at_ns;
    /* What faults decide, first for the way down, then for the way up. */
    uint64_t due_ns;
    struct flt_fault *due_by; /* who said so last: when it ends, the way is free */
    struct flt_fault *parked; /* waits in its lane until this one ends */
    bool lost, apart, early;
    struct flt_fault *lie; /* that changes what this read brings */
    uint32_t bytes;        /* on the link */
    uint8_t *saved;        /* an encoded message, or what a read's target was before */
    size_t saved_bytes;
    TAILQ_ENTRY(flt_op) live; /* of a peer, in order of the calls */
    TAILQ_ENTRY(flt_op) lane; /* or free list */
    TAILQ_ENTRY(flt_op) tell;
};
TAILQ_HEAD(flt_ops, flt_op);

/** Order per peer and class; one lane for requests, one for answers. */
struct flt_lane {
    struct tpo_timer timer;
    struct flt_peer *peer;
    struct flt_ops ops;
    uint32_t sends;
    uint8_t cls;
    bool up;
    bool asked;     /* its head, a message, is below and not answered */
    bool no_credit; /* the port had none for it */
};

struct flt_peer {
    struct tpo_timer t_connect;
    uint16_t id;
    struct flt_ops live;
    struct flt_ops fences; /* that cannot pass now */
    struct flt_lane down[FL_CLASSES], up[FL_CLASSES];
    uint8_t refused;    /* bit per class: FL_EAGAIN from here, credit is owed */
    uint8_t credit_due; /* and can be told now */
    uint32_t cuts;      /* armed faults that stop connections to be made */
    uint32_t mutes;
    bool session;       /* without one the port answers by itself */
    bool lost_messages; /* a cut swallowed some: the connection cannot outlive it */
    bool connecting;    /* a connect waits for the end of a cut */
    struct tp_addr addr;
};

/** A message on its way up that is held. */
struct flt_copy {
    struct tpo_timer timer;
    TAILQ_ENTRY(flt_copy) link;
    struct flt_fault *by;
    uint16_t peer;
    uint8_t cls;
    bool behind_next; /* comes after the next one of its class; otherwise by time only */
    struct fl_msg m;
    size_t payload_bytes;
    uint8_t payload[];
};
TAILQ_HEAD(flt_copies, flt_copy);

struct flt_scratch {
    struct fl_msg m;
    const uint8_t *lines[FL_MSG_ENTRIES_MAX];
    uint8_t pages[FL_MSG_ENTRIES_MAX][FL_PAGE_BYTES];
    uint8_t wire[]; /* tp_wire_max() */
};

struct tp_filters {
    struct tp_port port; /* first: the owner's view */
    struct tp_port *below;
    struct tp_handler above, mine;
    struct tp_filter_env env;
    uint16_t self, nodes;
    struct fl_rng rng;
    struct flt_faults armed, over; /* in order of arming; ended ones keep their counts */
    struct flt_peer **peers;       /* nodes, and one for calls to nobody */
    struct flt_op **slabs;
    uint32_t op_count, slab_cap, peer_count, ready_count, credits_due;
    struct flt_ops free_ops, ready;
    uint64_t serial;
    struct tpo_timers timers;
    struct flt_copies copies;
    uint32_t copy_count;
    uint8_t *slots; /* registered below when first needed */
    uint16_t slot_free[FLT_SLOTS], slot_free_count;
    bool slots_wanted;
    struct flt_scratch *scratch;
    uint64_t wish_ns;
    uint32_t depth; /* entry points running: the outermost sets the timer */
    uint64_t timeouts;
};

/** A message that has arrived. */
struct flt_arrival {
    uint16_t peer;
    uint8_t cls;
    const struct fl_msg *m;
    const uint8_t *payload;
    size_t payload_bytes;
    bool taken;   /* it goes no further */
    bool doubled; /* it is delivered twice */
};

/** What a kind of fault does; a NULL hook does nothing. Hooks ask flt_hit before they act. */
struct flt_kind {
    int (*arm)(struct tp_filters *f, struct flt_fault *t);
    void (*disarm)(struct tp_filters *f, struct flt_fault *t);
    /** A read, write or message is about to go down: sets what happens to it in @op. */
    void (*request)(struct tp_filters *f, struct flt_fault *t, struct flt_op *op);
    /** A read or write has succeeded below: sets its way up, changes its status or bytes. */
    void (*answer)(struct tp_filters *f, struct flt_fault *t, struct flt_op *op);
    void (*arrival)(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a);
    /** The port tells that a peer has gone. */
    void (*down)(struct tp_filters *f, struct flt_fault *t, uint16_t peer, int cause);
    /** Memory is registered: FL_OK, or the failure instead. */
    int (*reg)(struct tp_filters *f, struct flt_fault *t, size_t len_bytes, struct fl_errmsg *err);
};

/* one per line of TP_FAULTS; each in the file of its family */
extern const struct flt_kind flt_delay, flt_rate, flt_cut, flt_clog, flt_duplicate, flt_reorder,
    flt_drop, flt_truncate, flt_corrupt, flt_done_lost, flt_done_late, flt_done_error,
    flt_done_early, flt_stuck, flt_short_read, flt_stale_read, flt_bit_flip, flt_reg_fail;

/* filter.c */

/** The link of @t is this stack's towards @peer, or from it. */
bool flt_out(const struct tp_filters *f, const struct flt_fault *t, uint16_t peer);
bool flt_in(const struct tp_filters *f, const struct flt_fault *t, uint16_t peer);
const struct flt_kind *flt_kind_of(const struct flt_fault *t);
/** Chooses by class, every and count; flt_fire then counts what really happened. */
bool flt_choose(struct flt_fault *t, uint8_t cls);
void flt_unchoose(struct flt_fault *t);
/** Both at once. */
bool flt_hit(struct flt_fault *t, uint8_t cls);
/** A connection to @peer may be made and fenced, or not (counted: cuts come in numbers). */
void flt_block(struct tp_filters *f, uint16_t peer, bool on);
void flt_mute(struct tp_filters *f, uint16_t peer, bool on);
static inline uint64_t flt_now(const struct tp_filters *f)
{
    return f->env.now_ns(f->env.arg);
}

/** A message was spoiled: its @len bytes in the scratch memory go through the codec. */
void flt_spoiled(struct tp_filters *f, struct flt_fault *t, struct flt_arrival *a, size_t len);

/* filter_op.c: entries, lanes, answers */

/** NULL: no entry is left. */
struct flt_op *flt_op_new(struct tp_filters *f, enum flt_what what, uint16_t peer, uint64_t tag);
void flt_op_free_all(struct tp_filters *f);
struct flt_peer *flt_peer(struct tp_filters *f, uint16_t peer);
uint64_t flt_op_tag(const struct flt_op *op);
/** The entry of one of our tags; NULL when there is none. */
struct flt_op *flt_op_find(struct tp_filters *f, uint64_t tag);
/** Its result, once; told by flt_tell. */
void flt_answer(struct tp_filters *f, struct flt_op *op, int status);
/** It is nowhere any more: freed as soon as its answer was told. */
void flt_leave(struct tp_filters *f, struct flt_op *op);
/** Tells the answers that are ready now. */
void flt_tell(struct tp_filters *f);
/** A read or write on its way down. */
void flt_submit(struct tp_filters *f, struct flt_op *op);
/** The parts of that for messages: what faults say; whether it has to wait; it does. */
void flt_request_faults(struct tp_filters *f, struct flt_op *op);
bool flt_must_queue(struct tp_filters *f, const struct flt_op *op);
void flt_queue(struct tp_filters *f, struct flt_op *op);
/** The port has answered. */
void flt_below_done(struct tp_filters *f, struct flt_op *op, int status);
/** Moves what may move in every lane of a peer. */
void flt_lanes_run(struct tp_filters *f, struct flt_peer *p);
void flt_lane_run(struct tp_filters *f, struct flt_lane *l);
void flt_op_expired(struct tp_filters *f, struct flt_op *op);
/** Everything of @p that is held here ends with @status. */
void flt_flush(struct tp_filters *f, struct flt_peer *p, int status, bool gone);
/** Of what was called before @serial nothing can land any more: its copies are free. */
void flt_fenced(struct tp_filters *f, struct flt_peer *p, uint64_t serial);
/** Copies the bytes of a write to memory of the stack; false when there is no room. */
bool flt_copy_bytes(struct tp_filters *f, struct flt_op *op);
int flt_slots_reg(struct tp_filters *f);

/* filter_msg.c: messages */

/** Encodes a message that has arrived as it was on the wire, in the scratch memory. */
int flt_encode(struct tp_filters *f, const struct flt_arrival *a, size_t *ret_len);
void flt_send(struct tp_filters *f, uint16_t peer, const struct fl_msg *m,
              const uint8_t *const *lines, uint64_t tag);
/** The message of @op, held so far, to the port. */
void flt_send_below(struct tp_filters *f, struct flt_op *op);
void flt_arrived(struct tp_filters *f, struct flt_arrival *a);
/** Keeps a copy for later; false when there is no room. */
bool flt_copy_hold(struct tp_filters *f, struct flt_fault *by, const struct flt_arrival *a,
                   uint64_t at_ns, bool behind_next);
bool flt_copy_held(const struct tp_filters *f, uint16_t peer, uint8_t cls);
/** Time is up for it. */
void flt_copy_deliver(struct tp_filters *f, struct flt_copy *c);
/** @peer is gone: what was reordered comes before that is told, the rest never. */
void flt_copies_end(struct tp_filters *f, uint16_t peer);
/** The fault has ended: what it held comes now. */
void flt_copies_release(struct tp_filters *f, const struct flt_fault *by);
void flt_copies_free(struct tp_filters *f);

#endif
