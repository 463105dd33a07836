/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One interface to every fabric: libfabric (FI_EP_MSG over tcp, sockets, verbs) and the simulated
 * one. Filters (faults) implement the same interface and forward to the next.
 *
 * A port is one node's attachment. Calls submit and return; results arrive through the callbacks,
 * never inside the call. Each peer has one connection per class.
 *
 * Threads: a port belongs to one thread.
 */
#ifndef TP_FABRIC_H
#define TP_FABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/base/env.h"
#include "emu/base/plants.h"

enum { TP_ADDR_MAX = 64, TP_KEY_BYTES = 32 };

struct tp_addr {
    uint16_t len;
    uint8_t bytes[TP_ADDR_MAX]; /* fabric's own form; opaque to callers, travels as hex */
};

/** What an RDMA device does by itself when nothing comes back; other fabrics ignore it. */
struct tp_rdma {
    bool set;                /* false: the provider's own numbers */
    uint8_t retry;           /* 0..7: sent again before the connection breaks */
    uint8_t rnr_retry;       /* 0..6 times when the peer has no receive posted; 7: without end */
    uint64_t ack_timeout_ns; /* rounded up to 4096 ns x 2^n; 0: the kernel's own, about 2 s */
};

struct tp_cfg {
    uint16_t self;             /* index of this node in the plan */
    uint16_t nodes;            /* number of nodes in the plan */
    uint64_t incarnation;      /* of this node; a restarted node has a higher one */
    uint8_t key[TP_KEY_BYTES]; /* the run's key: a peer without it is refused with FL_EAUTH */
    const char *provider;      /* "tcp", "sockets", "verbs"; ignored by sim */
    const char *bind;          /* local address, NULL for loopback */
    uint16_t credits;          /* messages in flight per peer and class, 1..256 */
    uint32_t window_ops;       /* one-sided operations in flight per peer; more are queued */
    uint32_t window_bytes;
    uint64_t heartbeat_ns;      /* idle peers are probed this often; 0: no heartbeats */
    uint64_t heartbeat_miss_ns; /* a peer silent for this long is down */
    uint64_t connect_deadline_ns;
    uint64_t fence_deadline_ns;
    int wait;      /* 0 adaptive, 1 block, 2 spin: as enum coh_wait */
    bool announce; /* one-sided writes carry their byte count to the target's ledger */
    struct tp_rdma rdma;
    struct fl_plants plants;
};

/** Byte and operation ledgers, counted at post; @rx_announced at the target. */
struct tp_ledger {
    uint64_t write_ops, write_bytes; /* one-sided writes: payload only */
    uint64_t read_ops, read_bytes;
    uint64_t msg_sent, msg_bytes; /* header and payload */
    uint64_t msg_payload_bytes;   /* lines inside messages */
    uint64_t rx_announced_bytes;  /* payload of one-sided writes that arrived here */
    uint64_t rx_msg, rx_msg_bytes, rx_msg_payload_bytes;
    uint64_t errors, timeouts, fences, reconnects;
    uint64_t wakeups; /* returns of the event loop for this port */
};

/** What a port tells its owner. */
struct tp_handler {
    void *arg;
    void (*done)(void *arg, uint64_t tag, int status);
    /** @payload: lines of the entries, packed in order; valid during the call. */
    void (*msg)(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                size_t payload_bytes);
    void (*credit)(void *arg, uint16_t peer, enum fl_class cls);
    void (*peer_up)(void *arg, uint16_t peer, uint64_t incarnation);
    void (*peer_down)(void *arg, uint16_t peer, uint64_t incarnation, int cause);
    /** A one-sided write announced @bytes at this node (only when tp_cfg.announce). */
    void (*landed)(void *arg, uint16_t peer, uint32_t bytes);
};

/** One-sided operation of one contiguous span. */
struct tp_rma {
    uint64_t tag;
    uint16_t peer;
    uint8_t cls;
    uint8_t last; /* last span of a group: carries the announcement */
    uint32_t announce_bytes;
    uint64_t remote_off; /* offset in what the peer exposed */
    uint8_t *local;      /* inside memory given to tp_register */
    uint32_t len_bytes;
    uint64_t deadline_ns; /* relative */
    /* for the simulator's ledgers and the trace only */
    uint16_t region;
    uint32_t page;
    uint64_t seq;
};

struct tp_port;

struct tp_port_ops {
    /** Memory that one-sided operations use locally. Never memory that can fault. */
    int (*reg)(struct tp_port *p, void *base, size_t len_bytes, struct fl_errmsg *err);
    /** Memory that peers may read and write; each peer gets a key of its own. Once, before listen. */
    int (*expose)(struct tp_port *p, void *base, size_t len_bytes, struct fl_errmsg *err);
    /** Starts to accept; @ret_addr is what peers connect to. */
    int (*listen)(struct tp_port *p, struct tp_addr *ret_addr, struct fl_errmsg *err);
    /** Connects all classes to @peer. peer_up, or peer_down with the cause, follows in time. */
    int (*connect)(struct tp_port *p, uint16_t peer, const struct tp_addr *addr,
                   struct fl_errmsg *err);
    /** done(tag) with FL_OK, FL_ETIMEDOUT, FL_ECONN, FL_EPEERDEAD, FL_EPERM (key or bounds). */
    void (*read)(struct tp_port *p, const struct tp_rma *op);
    /** done(tag, FL_OK) only after delivery at the target. */
    void (*write)(struct tp_port *p, const struct tp_rma *op);
    /** Encodes and sends on the class of its type. @lines[i] is the page-shaped source of entry i.
     * done(tag): FL_OK handed over, FL_EAGAIN no credit (credit follows), FL_EPEERDEAD. */
    void (*send)(struct tp_port *p, uint16_t peer, const struct fl_msg *m,
                 const uint8_t *const *lines, uint64_t tag);
    /** See fl_fence: new generation of connections and keys; the old ones are dead at the peer
     * before done(tag, FL_OK). Operations in flight get done(FL_EFENCED) first. */
    void (*fence)(struct tp_port *p, uint16_t peer, uint64_t tag);
    /** For faults. @muted: nothing of the port's own (heartbeats, credits) leaves for @peer and
     * what arrives from it does not count as a sign of life, until called with false. */
    void (*mute)(struct tp_port *p, uint16_t peer, bool muted);
    /** For faults: the connections to @peer break now, as after a message that was refused; both
     * sides hear peer_down, here with @cause. */
    void (*sever)(struct tp_port *p, uint16_t peer, int cause);
    /** Runs what is ready; true if anything happened. For spin mode; the event loop otherwise. */
    bool (*poll)(struct tp_port *p);
    void (*ledger)(struct tp_port *p, struct tp_ledger *ret);
    /** Clean shutdown: peers see peer_down with FL_OK as cause. Frees the port. */
    void (*close)(struct tp_port **p);
};

/** First member of every port and filter. */
struct tp_port {
    const struct tp_port_ops *ops;
};

struct event_base;
struct fl_evq;
struct tp_simnet;

/** libfabric port on libevent loop @base. Errors: FL_EUNSUPPORTED (no such provider or device),
 * FL_EADDRINUSE, FL_EPERM, FL_ENOMEM; the message names the remedy. */
int tp_ofi_new(struct event_base *base, const struct tp_cfg *cfg, const struct tp_handler *h,
               struct tp_port **ret, struct fl_errmsg *err);

/** A simulated network of @nodes ports over virtual time. */
struct tp_simnet *tp_simnet_new(struct fl_evq *q, uint64_t seed, uint16_t nodes);
void tp_simnet_free(struct tp_simnet **n);

/** Link between two nodes, both directions. Defaults: 5 us, 10 Gbit/s. */
void tp_simnet_link(struct tp_simnet *n, uint16_t a, uint16_t b, uint64_t delay_ns,
                    uint64_t rate_bps);

/** One-way or two-way cut; operations on it hang until their deadline, heartbeats are lost. */
void tp_simnet_cut(struct tp_simnet *n, uint16_t from, uint16_t to, bool cut);

/** The node stops at this instant: its port calls nothing any more, its memory is gone, peers see
 * flushed completions and peer_down in a seeded order. */
void tp_simnet_kill(struct tp_simnet *n, uint16_t node);

/** The node's processor stops (SIGSTOP) or goes on; connections stay up. */
void tp_simnet_pause(struct tp_simnet *n, uint16_t node, bool paused);

/** Bytes of a one-sided write that are changing a target's memory at this instant. */
struct tp_sim_land {
    uint16_t from, to;
    uint16_t region; /* these three as the writer gave them in its tp_rma */
    uint32_t page;
    uint64_t seq;
    uint64_t off; /* in what @to exposed */
    uint32_t len_bytes;
    const uint8_t *before, *after; /* len_bytes each; valid during the call */
};
typedef void tp_simnet_land_fn(void *arg, const struct tp_sim_land *l);

/** Calls @fn for every piece of a write that lands, also late and partial ones. For oracles. */
void tp_simnet_on_land(struct tp_simnet *n, tp_simnet_land_fn *fn, void *arg);

int tp_sim_new(struct tp_simnet *n, const struct tp_cfg *cfg, const struct tp_handler *h,
               struct tp_port **ret, struct fl_errmsg *err);

#endif
