/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of the simulated fabric: packets, directed edges, and each port's view of a peer.
 *
 * A packet carries one operation through its stages: a write goes to the target, lands there, and
 * its acknowledgement comes back; a read goes there, samples, and its answer comes back. A packet
 * has at most one pending event, so it is never freed under one: what dies early is marked dropped
 * and freed when its event comes.
 */
#ifndef TP_SIM_INT_H
#define TP_SIM_INT_H

#include "emu/base/evq.h"
#include "emu/base/rng.h"
#include "transport/fabric.h"

enum sim_kind {
    SIM_WRITE,
    SIM_READ,
    SIM_MSG,
    SIM_CREDIT, /* the receiver is ready for one more message of this class */
    SIM_SYN,    /* connect */
    SIM_SYN_ACK,
    SIM_FIN, /* orderly end, or what a kernel sends for a dead process */
    SIM_FENCE,
    SIM_FENCE_ACK,
    SIM_REFUSE, /* answer to a SYN that is not accepted; status says why */
};

enum sim_stage {
    SIM_WAITING, /* not posted: window or connection */
    SIM_OUT,
    SIM_LANDING,
    SIM_BACK,
    SIM_LOST, /* nobody took it; its owner does not know yet */
};

struct sim_pkt {
    struct sim_pkt *prev, *next; /* operations of a half and class, oldest first */
    struct sim_pkt *fifo;        /* next in a hold, stall or free list */
    struct sim_half *half;       /* whose operation this is */
    struct sim_port *to;         /* SIM_LANDING: the port whose memory changes */
    struct sim_pkt *land_prev, *land_next;
    uint8_t kind, stage, cls;
    bool reported, dropped, linked;
    uint16_t src, dst; /* nodes, in the direction of travel now */
    uint16_t buf_class;
    int32_t status;
    uint64_t gen;
    uint64_t deadline_at_ns;
    uint64_t first_ns, last_ns;        /* first and last byte at the target */
    uint64_t sent_from_ns, sent_to_ns; /* on the wire of the sender */
    uint32_t limit_bytes;              /* bytes that leave a sender which dies half-way */
    uint32_t landed_bytes;
    uint64_t incarnation; /* control: of the sender */
    uint8_t *buf;         /* message, sampled bytes, or bytes of a dead sender */
    uint32_t buf_bytes;
    struct tp_rma op;
};

struct sim_list {
    struct sim_pkt *head, *tail;
};

/** One direction of a link. */
struct sim_edge {
    struct tp_simnet *net;
    uint16_t from, to;
    bool cut; /* nothing arrives; stays set until what was held has arrived */
    bool want_cut;
    uint64_t heals; /* serial, so that a heal that was cut again does nothing */
    uint64_t delay_ns, rate_bps;
    uint64_t busy_ns[FL_CLASSES];    /* wire is taken until then for this class and lower ones */
    uint64_t arrival_ns[FL_CLASSES]; /* last arrival: order per connection */
    struct sim_list held;
};

enum sim_state { SIM_NONE, SIM_CONNECTING, SIM_UP, SIM_FENCING, SIM_DOWN };

/** What makes a peer silent. */
enum { SIM_SILENT_CUT = 1, SIM_SILENT_PAUSED = 2, SIM_SILENT_MUTED = 4, SIM_SILENT_PEER_MUTED = 8 };

struct sim_ops {
    struct sim_pkt *head, *tail;
    struct sim_pkt *waiting; /* first that is not posted; all behind it are not either */
    uint32_t count, bytes;   /* posted and not reported */
};

/** A port's view of one peer. */
struct sim_half {
    struct sim_port *port;
    uint16_t peer;
    uint8_t state, silent;
    bool muted;       /* see mute in struct tp_port_ops */
    bool known_up;    /* the owner was told peer_up, and not peer_down since */
    uint64_t gen;     /* connection generation that is sent and accepted */
    uint64_t old_gen; /* FENCING: the one before */
    uint64_t peer_incarnation;
    uint64_t silent_epoch;
    struct sim_ops ops[FL_CLASSES];
    struct sim_list fences; /* tags that wait for the fence under way */
    struct sim_list unsent; /* credits, while muted */
    uint16_t credits[FL_CLASSES];
    bool starved[FL_CLASSES];
    uint64_t scan_at_ns; /* deadline scan is armed for */
};

struct sim_range {
    uint8_t *base;
    size_t len_bytes;
};

enum { SIM_RANGES_MAX = 64, SIM_BUF_CLASSES = 3, SIM_NO_BUF = 0xffff };

/** A callback that waits for the loop to come round: none runs inside a call. */
enum sim_note_kind { SIM_NOTE_DONE, SIM_NOTE_UP, SIM_NOTE_DOWN, SIM_NOTE_CREDIT };
struct sim_note {
    uint8_t kind, cls;
    uint16_t peer;
    int32_t status;
    uint64_t tag; /* or incarnation */
};

struct sim_port {
    struct tp_port base;
    struct tp_simnet *net;
    struct sim_port *older; /* former incarnations, kept until the network is freed */
    struct tp_cfg cfg;
    struct tp_handler h;
    struct fl_rng rng;
    struct sim_half **halves; /* per node, NULL where never used */
    struct sim_range regs[SIM_RANGES_MAX];
    uint32_t reg_count;
    struct sim_range exposed;
    bool listening, dead, armed;
    uint64_t died_ns;
    bool paused, want_pause; /* as cut and want_cut */
    struct sim_note *notes;  /* ring of note_cap, a power of two */
    uint32_t note_head, note_count, note_cap;
    struct sim_list stalled;
    struct sim_pkt *landing; /* writes that are landing in this memory now */
    struct tp_ledger ledger;
};

struct tp_simnet {
    struct fl_evq *q;
    uint64_t seed;
    uint16_t nodes;
    uint64_t gen;
    struct sim_port **ports;
    struct sim_edge ***edges; /* rows by sender, made when first used */
    struct sim_pkt *free_pkts;
    struct sim_pkt **blocks;
    size_t block_count, block_cap;
    uint8_t *free_bufs[SIM_BUF_CLASSES];
    tp_simnet_land_fn *land;
    void *land_arg;
    struct fl_msg msg; /* being delivered; too large for the stack of every event */
};

/* sim_pool.c: packets and their buffers; memory is never scarce here, it aborts */
void *sim_must(void *p);
struct sim_pkt *sim_pkt_new(struct tp_simnet *n, enum sim_kind kind, struct sim_half *h);
void sim_pkt_free(struct tp_simnet *n, struct sim_pkt *p);
void sim_pkt_buf(struct tp_simnet *n, struct sim_pkt *p, size_t len_bytes);
/** Nobody takes @p: freed at once, or when its owner has been told how it ended. */
void sim_pkt_lost(struct tp_simnet *n, struct sim_pkt *p);
void sim_pool_free(struct tp_simnet *n);
void sim_op_link(struct sim_pkt *p);
void sim_fifo_add(struct sim_list *l, struct sim_pkt *p);
struct sim_pkt *sim_fifo_take(struct sim_list *l);

/* sim_net.c: links, landing, faults */
struct sim_edge *sim_edge_of(struct tp_simnet *n, uint16_t from, uint16_t to);
/** Puts @p on the wire from p->src to p->dst with @bytes of payload. */
void sim_transmit(struct sim_port *from, struct sim_pkt *p, uint32_t bytes);
/** Sends @p back where it came from. */
void sim_turn_back(struct sim_port *from, struct sim_pkt *p, uint32_t bytes);
/** Brings the memory of @t up to this instant. */
void sim_land_all(struct sim_port *t);
/** True when @t still takes what travels on the connection of @p. */
bool sim_accepted(const struct sim_port *t, const struct sim_pkt *p);
void sim_port_close(struct tp_port **p);

/* sim_conn.c: connections, fences, deaths */
struct sim_half *sim_half_of(struct sim_port *p, uint16_t peer);
void sim_control(struct sim_half *h, enum sim_kind kind, int status);
void sim_on_control(struct sim_port *t, struct sim_pkt *p);
/** A SYN or FENCE came to a node where nobody is. */
void sim_nobody(struct sim_pkt *p);
/** A peer broke the protocol: the connection ends on both sides. */
void sim_drop_peer(struct sim_half *h, int cause);
void sim_silence(struct sim_half *h, uint8_t why, bool on);
void sim_watch_silence(struct sim_half *h);
int sim_connect(struct tp_port *p, uint16_t peer, const struct tp_addr *addr,
                struct fl_errmsg *err);
void sim_fence(struct tp_port *p, uint16_t peer, uint64_t tag);
void sim_mute(struct tp_port *p, uint16_t peer, bool muted);
void sim_sever(struct tp_port *p, uint16_t peer, int cause);

/* sim.c: operations */
void sim_note(struct sim_port *p, struct sim_note note);
void sim_note_done(struct sim_port *p, uint64_t tag, int status);
/** Ends up to @at_most operations of @h, oldest first; nothing of them arrives any more. Returns how
 * many. */
uint32_t sim_flush(struct sim_half *h, int status, uint32_t at_most);
void sim_post_waiting(struct sim_half *h);
void sim_on_data(struct sim_port *t, struct sim_pkt *p);
void sim_up(struct sim_half *h);
/** After a pause: deadlines and silences that passed meanwhile. */
void sim_catch_up(struct sim_port *p);

#endif
