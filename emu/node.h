/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One node: a core joined to a fabric port, a tracker and a source of time. This file implements
 * the calls of emu/base/env.h for the real world and the simulator alike; only what is behind
 * port, tracker and loop differs. Single-threaded: everything here runs on the node's loop.
 */
#ifndef EMU_NODE_H
#define EMU_NODE_H

#include "coherence/tracker.h"
#include "emu/base/trace.h"
#include "emu/mech/memnode.h"
#include "emu/mech/writeback.h"
#include "emu/oracle.h"
#include "emu/plan.h"
#include "transport/fabric.h"

struct emu_node;

/** What a node needs of its world. */
struct emu_loop {
    void *arg;
    uint64_t (*now_ns)(void *arg);
    /** Call emu_node_run at @at_ns (FL_NEVER: no timer). One timer per node; replaces the last. */
    void (*wake_at)(void *arg, struct emu_node *n, uint64_t at_ns);
    /** Call emu_node_run as soon as the loop is reached again. */
    void (*wake_soon)(void *arg, struct emu_node *n);
    /** A site was passed for the @nth time (from 1). Fires steps of the plan; may not return. */
    void (*site)(void *arg, struct emu_node *n, enum fl_site site, uint64_t nth);
    /** The connections to a peer are up, or down (@cause: FL_OK when it left in good order). May be
     * NULL. */
    void (*peer)(void *arg, struct emu_node *n, uint16_t peer, bool up, int cause);
    /** A request (open, close) of emu_node_open/close ended. */
    void (*answer)(void *arg, struct emu_node *n, uint32_t ticket, int status);
};

/** Tickets of requests that are not application threads. */
enum { EMU_TICKET_OPEN = 0x10000, EMU_TICKET_CLOSE = 0x20000 }; /* + region */

struct emu_node_cfg {
    const struct plan *plan; /* outlives the node */
    uint16_t self;
    uint64_t incarnation; /* from 1; above: the node was killed and comes back */
    struct emu_loop loop;
    struct fl_trace *trace;      /* may be NULL */
    struct coh_tracker *tracker; /* compute nodes; owned by the node from here on */
    bool oracles;                /* run the checks (off only in benchmarks) */
    /** Memory nodes: emu_node_image_bytes() that outlive the node, zeros at first; they hold the
     * pool and what makes log batches whole again. NULL: a pool that is gone with the node. */
    uint8_t *image;
    /** Compute nodes: oracle_record_bytes() for the oracles, zeros at first; NULL: not kept. */
    void *record;
};

/** Bytes of the image of a memory node. */
size_t emu_node_image_bytes(const struct plan *p, uint16_t self);

/** Creates the node and its core. Compute: regions of the plan that are on this node are added to
 * the tracker. Memory: the pool is allocated. */
int emu_node_new(const struct emu_node_cfg *cfg, struct emu_node **ret, struct fl_errmsg *err);
void emu_node_free(struct emu_node **n);

/** Callbacks to give to the fabric when its port is made. */
struct tp_handler emu_node_handler(struct emu_node *n);

/** Port configuration for node @self of the plan. The caller adds key, provider, bind. */
void emu_node_port_cfg(const struct plan *p, uint16_t self, struct tp_cfg *ret);

/** Gives the node its port and registers (compute) or exposes (memory) memory with it. */
int emu_node_attach(struct emu_node *n, struct tp_port *port, struct fl_errmsg *err);

/** Delivers START. Call once peers are being connected. */
void emu_node_start(struct emu_node *n);

/** Runs everything that is ready: timers, tracker notes, events for the core. */
void emu_node_run(struct emu_node *n);

/** Opens or closes a region; emu_loop.answer brings the outcome. */
void emu_node_open(struct emu_node *n, uint16_t region);
void emu_node_close(struct emu_node *n, uint16_t region);

/** Faults of the device. Each step comes @by_ns after the one before; 0: as fast as the loop. */
void emu_node_slow(struct emu_node *n, uint64_t by_ns);
/** No page buffer is given out, as if all were in use; or again. Compute nodes. */
void emu_node_fill_slots(struct emu_node *n, bool full);
/** How often these two made a step or a page wait. */
uint64_t emu_node_slow_hits(const struct emu_node *n);
uint64_t emu_node_fill_hits(const struct emu_node *n);

/** Address of a region for application threads; NULL in sim. */
void *emu_node_region_base(struct emu_node *n, uint16_t region);
struct coh_tracker *emu_node_tracker(struct emu_node *n);
struct oracle *emu_node_oracle(struct emu_node *n);
struct tp_port *emu_node_port(struct emu_node *n);
uint16_t emu_node_id(const struct emu_node *n);
const struct wb *emu_node_wb(const struct emu_node *n); /* NULL on memory nodes */

/** True when no work is pending in this node's core. */
bool emu_node_quiescent(const struct emu_node *n);

/** Memory of a chunk on a memory node, for the final compare; NULL when there is none. */
const uint8_t *emu_node_chunk(const struct emu_node *n, uint16_t chunk, uint32_t *ret_pages);

/** How often a site was passed. */
uint64_t emu_node_site_count(const struct emu_node *n, enum fl_site s);

/** Calls @fn for every figure of this node: "misses", 12.0. Names as in the metrics contract. */
void emu_node_metrics(struct emu_node *n, void (*fn)(void *arg, const char *name, double value),
                      void *arg);

#endif
