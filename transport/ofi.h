/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Private to the libfabric port (ofi*.c) and its tests.
 *
 * One thread, one completion queue, one event queue. Life of things:
 * - a tpo_ep is one connection of one class in one generation. It is retired (shut down), flushed,
 *   closed and freed only from the pump, never inside a call; new ones get a fresh tpo_ep, so
 *   that a late completion of an old generation cannot be taken for one of the new.
 * - a tpo_op belongs to its caller until done() was called and to the provider until its
 *   completion came or its endpoint was closed: it is reused only when both are over.
 * - callbacks run from the pump only.
 */
#ifndef TP_OFI_H
#define TP_OFI_H

#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "transport/fabric.h"
#include "transport/frame.h"
#include "transport/handshake.h"
#include "transport/timers.h"

enum {
    TPO_RESERVE = 4,        /* receive buffers beyond the credits, for the port's own frames */
    TPO_SMALL_BYTES = 4096, /* message buffers of the urgent and normal class */
    TPO_REGS_MAX = 16,
    TPO_OPS_MAX = 1 << 20, /* one-sided operations submitted and not yet released */
    TPO_OPS_SLAB = 256,
    TPO_CQ_BATCH = 32,
    TPO_PUMP_ROUNDS = 64,
};

struct tpo_port;
struct tpo_peer;
struct tpo_ep;

enum tpo_ctx_kind { TPO_CTX_OP, TPO_CTX_RX, TPO_CTX_TX };

/** First member of whatever is given to libfabric as the context of an operation. */
struct tpo_ctx {
    uint8_t kind; /* enum tpo_ctx_kind */
    bool posted;  /* the provider holds it */
    struct tpo_ep *ep;
};

struct tpo_buf {
    struct tpo_ctx ctx;
    uint8_t *mem;
};

struct tpo_op {
    struct tpo_ctx ctx;
    struct tp_rma r;
    void *desc;
    bool write;
    bool answered; /* done() was called; only the provider still needs it */
    struct tpo_timer timer;
    TAILQ_ENTRY(tpo_op) link; /* free list, peer's queue or endpoint's list of posted ones */
};
TAILQ_HEAD(tpo_ops, tpo_op);

enum tpo_ep_state {
    TPO_EP_SETUP,  /* fi_connect or fi_accept called */
    TPO_EP_UP,     /* FI_CONNECTED seen */
    TPO_EP_SHUT,   /* fi_shutdown called; waits for its flushed completions */
    TPO_EP_CLOSED, /* fi_close called; what has not come back yet may still come */
};

struct tpo_ep {
    struct tpo_port *port;
    struct tpo_peer *peer;
    struct fid_ep *fid;
    enum tpo_ep_state state;
    uint8_t cls;
    uint8_t request_mac[TP_MAC_BYTES]; /* initiator: what the answer must cover */
    uint32_t buf_bytes, buf_count;
    uint8_t *mem; /* receive buffers, then send buffers */
    size_t mem_bytes;
    struct fid_mr *mr;
    void *desc;
    struct tpo_buf *rx, *tx;
    uint32_t *tx_free;
    uint32_t tx_free_count;
    uint32_t outstanding;  /* contexts the provider holds */
    uint32_t sent;         /* frames sent; each takes one buffer of the peer */
    uint32_t peer_posted;  /* buffers the peer has posted, cumulative, as it told */
    uint32_t peer_buffers; /* how many it posts at once */
    uint32_t posted, told; /* buffers posted here, and what the peer knows of it */
    uint32_t owed_user;    /* of the untold: those that carried messages */
    bool ended;            /* the peer ended it or said goodbye on it: nothing follows */
    uint64_t retire_at_ns;
    struct tpo_ops ops; /* posted one-sided operations */
    TAILQ_ENTRY(tpo_ep) link;
};
TAILQ_HEAD(tpo_eps, tpo_ep);

enum tpo_peer_state {
    TPO_DOWN,  /* never connected, or peer_down was told */
    TPO_SETUP, /* connections of a generation are being made */
    TPO_UP,
    TPO_PARTING, /* a fence is announced: the peer closes its side, or time runs out */
    TPO_DRAIN,   /* old endpoints are being retired; see after */
    TPO_LIMBO,   /* no connection: a fence ran out of time, or the peer announced a fence */
};

/** What happens when the endpoints of a peer are gone. */
enum tpo_after { TPO_AFTER_DOWN, TPO_AFTER_CONNECT, TPO_AFTER_ACCEPT, TPO_AFTER_LIMBO };

/** A connection request that waits until the older generation is closed. */
struct tpo_request {
    struct fi_info *info;
    struct tp_hello hello;
    uint8_t mac[TP_MAC_BYTES];
};

struct tpo_peer {
    struct tpo_port *port;
    uint16_t id;
    enum tpo_peer_state state;
    enum tpo_after after;
    bool initiator;   /* connect() was called here; otherwise the peer connects */
    bool told_up;     /* the owner heard peer_up and not yet peer_down */
    bool wants_down;  /* connect() was called: its failure is told by peer_down */
    bool goodbye;     /* the peer said on some connection that it leaves */
    bool fence_noted; /* the peer said that it will reconnect */
    bool tell_down;   /* the end of the old session is still to be told */
    bool fencing;     /* done(fence_tag) is owed */
    bool draining;    /* on the port's list of draining peers */
    bool muted;       /* see mute in struct tp_port_ops */
    uint8_t refused;  /* bit per class: a send got FL_EAGAIN, the owner waits for credit() */
    int down_cause;
    int flush_status; /* what flushed operations are answered with */
    uint64_t fence_tag;
    struct tp_addr addr;
    uint64_t incarnation;      /* of the peer, in this session */
    uint64_t told_incarnation; /* of the last peer_up */
    uint32_t generation;
    struct fid_mr *mr; /* what this peer may reach here; NULL: nothing exposed */
    uint64_t mr_key, mr_base;
    uint64_t rma_key, rma_base, rma_bytes; /* what we may reach there */
    struct tpo_ep *ep[FL_CLASSES];
    uint32_t retiring; /* endpoints of this peer not closed yet */
    struct tpo_request req[FL_CLASSES];
    struct tpo_ops queue[FL_CLASSES];
    uint32_t fly_ops;
    uint64_t fly_bytes;
    uint64_t last_rx_ns, last_tx_ns;
    struct tpo_timer t_setup, t_beat;
    TAILQ_ENTRY(tpo_peer) link;
};
TAILQ_HEAD(tpo_peers, tpo_peer);

struct tpo_reg {
    uint8_t *base;
    size_t len_bytes;
    struct fid_mr *mr;
    void *desc;
};

struct tpo_done {
    uint64_t tag;
    int status;
};

struct tpo_slab {
    struct tpo_slab *next;
    struct tpo_op ops[TPO_OPS_SLAB];
};

struct tpo_port {
    struct tp_port base;
    struct tp_cfg cfg;
    struct tp_handler h;
    uint16_t version; /* TP_WIRE_VERSION; tests set another */
    struct event_base *loop;
    struct event ev_cq, ev_eq, ev_timer, ev_soon;
    bool events_added, timer_armed;
    uint64_t timer_at_ns;

    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *pep;
    bool
        eq_by_fd; /* events of connections come by their descriptor only, and asking costs a call */
    bool eq_due;  /* that descriptor, or something else, says to ask */
    bool rx_cq_data;  /* a remote write with data takes a posted receive */
    bool landed_wide; /* completion data has 8 bytes: the sender's number fits beside the bytes */

    uint8_t *exposed;
    size_t exposed_bytes;
    struct tpo_reg regs[TPO_REGS_MAX];
    unsigned reg_count;

    struct tpo_peer *peers; /* cfg.nodes */
    struct tpo_eps eps;     /* endpoints in use */
    struct tpo_eps retired; /* shut down, not closed */
    struct tpo_eps grave;   /* closed, but completions are still owed: freed with the port */
    struct tpo_peers drain;

    struct tpo_slab *slabs;
    struct tpo_ops free_ops;
    uint32_t op_count;
    uint32_t fly_ops; /* over all peers */

    struct tpo_timers timers;
    struct tpo_timer t_reap; /* looks again after endpoints that wait for flushed completions */
    struct tpo_done *dones;  /* ring of results of calls; grows, power of two */
    uint32_t done_head, done_tail, done_cap;

    bool in_pump, closing;
    bool soon;     /* ev_soon is active */
    bool cm_moved; /* connections were made: look for new descriptors */
    bool tell_all; /* some credit() waits for nothing but the provider */
    bool kick_all; /* some queue waits for no completion */
    uint64_t spin_ns;
    uint64_t late_frames_ns; /* frames may be heard this long after their connection's end */
    uint32_t poll_count;
    unsigned char *fd_before; /* descriptors that were open before the port, and are not ours */
    unsigned fd_before_count;
    struct tp_ledger ledger;
};

enum tpo_timer_kind { TPO_T_OP, TPO_T_SETUP, TPO_T_BEAT, TPO_T_REAP };

/* ofi_dev.c: provider, device, memory ---------------------------------------------------------- */

/** Opens fabric, domain, queues. */
int tpo_dev_open(struct tpo_port *p, struct fl_errmsg *err);
void tpo_dev_close(struct tpo_port *p);

/** Registers; @access: FI_REMOTE_READ and so on. */
int tpo_mr_open(struct tpo_port *p, void *base, size_t len_bytes, uint64_t access,
                struct fid_mr **ret, struct fl_errmsg *err);

/** Any local port instead of the listening one. */
void tpo_dev_any_port(struct fi_info *info);

/** Nearest of our errors for a positive libfabric error number. */
int tpo_err(int fi_err);

/* ofi_why.c: what is missing --------------------------------------------------------------------- */

/** Why there is no verbs endpoint on @bind, and the remedy. @root: "" but in tests. */
void tpo_verbs_why(const char *root, const char *bind, char *ret, size_t len);

/* ofi_rdma.c: how often an RDMA device sends again ------------------------------------------------ */

/** Numbers for the connections that this thread makes from now on. */
void tpo_rdma_use(const struct tp_rdma *r);

/** n of the shortest 4096 ns x 2^n that is not shorter; 1 to 31. */
uint8_t tpo_rdma_exponent(uint64_t timeout_ns);

/* ofi_fds.c: close-on-exec ---------------------------------------------------------------------- */

/** Sets close-on-exec on descriptors opened since the port was made. */
void tpo_cloexec_before(struct tpo_port *p);
void tpo_cloexec(struct tpo_port *p);

/* ofi_ep.c: one endpoint ----------------------------------------------------------------------- */

/** What the connections to one peer take: memory that stays registered, and entries of the queues. */
struct tpo_cost {
    size_t registered_bytes;
    uint32_t queue_entries;
};
void tpo_conn_cost(const struct tp_cfg *cfg, struct tpo_cost *ret);

/** A fresh endpoint with receives posted. @info: of the connection request or with the address to
 * connect to. @ret_rc: libfabric's error. NULL on failure. */
struct tpo_ep *tpo_ep_new(struct tpo_peer *peer, uint8_t cls, struct fi_info *info, int *ret_rc);
void tpo_ep_retire(struct tpo_ep *ep);

/** Closes retired endpoints whose flushed completions have come; true if anything moved. */
bool tpo_ep_reap(struct tpo_port *p, uint64_t now_ns);

/** Closes and frees at once; only when the port goes. */
void tpo_ep_destroy(struct tpo_ep *ep);
struct tpo_ep *tpo_ep_find(struct tpo_port *p, const struct fid *fid);

/* ofi_conn.c: events of the event queue, set-up of a session ------------------------------------ */

bool tpo_eq_drain(struct tpo_port *p);
void tpo_conn_start(struct tpo_peer *peer);
/** The other side ended this connection, or the network did. */
void tpo_conn_ended(struct tpo_ep *ep);
void tpo_conn_judge_end(struct tpo_peer *peer);
/** A frame on an endpoint proves that the other side has all connections up. */
void tpo_conn_frame_seen(struct tpo_peer *peer);
void tpo_conn_accept_pending(struct tpo_peer *peer);
void tpo_conn_drop_pending(struct tpo_peer *peer, int status);

/* ofi_peer.c: life and death -------------------------------------------------------------------- */

void tpo_peer_init(struct tpo_peer *peer, struct tpo_port *p, uint16_t id);
void tpo_peer_up(struct tpo_peer *peer);
/** The session ends with @cause; told to the owner once its operations are flushed. */
void tpo_peer_fail(struct tpo_peer *peer, int cause);
void tpo_peer_retire(struct tpo_peer *peer, enum tpo_after after, int flush_status);
bool tpo_peer_drained(struct tpo_port *p);
void tpo_peer_fence(struct tpo_peer *peer, uint64_t tag);
/** The fence was heard, or has waited long enough for that: on with it. */
void tpo_peer_part(struct tpo_peer *peer);
void tpo_peer_setup_expired(struct tpo_peer *peer);
void tpo_peer_beat(struct tpo_peer *peer, uint64_t now_ns, uint64_t due_ns);
void tpo_peer_beat_start(struct tpo_peer *peer);
int tpo_peer_expose(struct tpo_peer *peer);

/* ofi_op.c: one-sided operations ---------------------------------------------------------------- */

void tpo_op_submit(struct tpo_port *p, const struct tp_rma *r, bool write);
void tpo_op_kick(struct tpo_peer *peer);
void tpo_op_completed(struct tpo_op *op, int fi_err);
void tpo_op_expired(struct tpo_port *p, struct tpo_op *op);
/** Answers the queued, never posted operations of a peer. */
void tpo_op_fail_queued(struct tpo_peer *peer, int status);
/** The endpoint is closed: answers what is unanswered. */
void tpo_op_abandon(struct tpo_ep *ep);
void tpo_op_free_all(struct tpo_port *p);
void tpo_done(struct tpo_port *p, uint64_t tag, int status);

/* ofi_msg.c: messages and credits ---------------------------------------------------------------- */

void tpo_msg_send(struct tpo_port *p, uint16_t peer, const struct fl_msg *m,
                  const uint8_t *const *lines, uint64_t tag);
/** Sends one of the port's own frames; false when no credit or buffer is left. */
bool tpo_msg_frame(struct tpo_ep *ep, enum tp_frame_kind kind);
void tpo_msg_received(struct tpo_buf *b, size_t len_bytes);
void tpo_msg_landed(struct tpo_buf *b, uint32_t bytes);
void tpo_msg_sent(struct tpo_buf *b);
int tpo_msg_post_rx(struct tpo_ep *ep, struct tpo_buf *b);
/** Room for a frame that may not touch the reserve. */
bool tpo_msg_room(const struct tpo_ep *ep);
void tpo_msg_tell_credit(struct tpo_ep *ep);
void tpo_msg_mute(struct tpo_peer *peer, bool muted);

/* ofi_cq.c: the pump ---------------------------------------------------------------------------- */

void tpo_pump(struct tpo_port *p);
bool tpo_poll(struct tpo_port *p);
/** Sets the loop's timer to the earliest deadline. */
void tpo_arm(struct tpo_port *p);
/** Delivers results of calls; true if there were any. */
bool tpo_run_dones(struct tpo_port *p);
/** The pump will run soon, from the loop. */
void tpo_soon(struct tpo_port *p);
int tpo_events_add(struct tpo_port *p, struct fl_errmsg *err);
void tpo_events_del(struct tpo_port *p);
/** Runs the pump until @done says so or @deadline_ns (absolute); for close. */
bool tpo_pump_until(struct tpo_port *p, bool (*done)(struct tpo_port *p), uint64_t deadline_ns);

#endif
