/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Oracles of mechanism W. They watch a node from outside: what the workload stored, what was
 * posted to the fabric, what was acknowledged, what was dropped. They never read the core's
 * state; the core's figures are only compared. Each has a blinding plant.
 */
#ifndef EMU_ORACLE_H
#define EMU_ORACLE_H

#include "coherence/tracker.h"
#include "emu/plan.h"
#include "emu/result.h"

struct oracle;

/** One per node. @trk: NULL on memory nodes. */
struct oracle *oracle_new(const struct plan *p, uint16_t self, struct coh_tracker *trk);
void oracle_free(struct oracle **o);

/** Where the times of violations and stores come from; any thread calls @now_ns. */
void oracle_set_clock(struct oracle *o, uint64_t (*now_ns)(void *arg), void *arg);

/* --- what outlives the node ------------------------------------------------------------------- */

/** Bytes of the record that a plan in which this node dies, or a memory node comes back with its
 * image, needs; 0: none. */
size_t oracle_record_bytes(const struct plan *p, uint16_t self);

/** Keeps the record in @mem (zeros at first, aligned to 64), together with the shadows. At once
 * after oracle_new. Also to read what another process has left in it. */
void oracle_record(struct oracle *o, void *mem);

/** After a crash: @remote is what a memory node holds. W3 is violated by a line that is neither as
 * acknowledged last nor as sent since. Returns the lines that are not as the application left them:
 * they are lost. */
uint64_t oracle_crash_page(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote);

/** False: nobody ever fetched this page, so the record says nothing of it. */
bool oracle_crash_known(const struct oracle *o, uint16_t region, uint32_t page);

/* --- the workload's side, any application thread -------------------------------------------- */

/** Shadow memory of a region: the workload writes here *before* each store, at the same offset.
 * NULL: this region has no shadow (native programs); its live bytes count instead. */
uint8_t *oracle_shadow(struct oracle *o, uint16_t region);

/** A store is about to begin; @access: of this thread, from 1. Any application thread. */
void oracle_on_store(struct oracle *o, uint16_t region, uint64_t off, uint32_t len_bytes,
                     uint16_t workload, uint32_t thread, uint64_t access);

/** A load returned other bytes than the shadow's; thread-safe. */
void oracle_bad_load(struct oracle *o, uint16_t region, uint64_t off, uint64_t expected,
                     uint64_t seen);

/** @bytes of loads were compared with the shadow; thread-safe. */
void oracle_good_loads(struct oracle *o, uint64_t bytes);

/** A program with its heap in this region ended. @deceived: it did not give what it gave on plain
 * memory (@text, may be empty); the sum over its data counts for W3. Thread-safe. */
void oracle_on_program(struct oracle *o, uint16_t region, bool deceived, const char *text);

/** The bytes [@off, @off + @len_bytes) are undecided: a store of them failed. Thread-safe. */
void oracle_undecided(struct oracle *o, uint16_t region, uint64_t off, uint64_t len_bytes);

/* --- what the node does, called by emu/node.c on the device thread -------------------------- */

void oracle_on_gate(struct oracle *o, uint16_t region, uint32_t page, uint32_t count,
                    enum fl_prot prot);
/** @src: page-shaped bytes that were installed in a page of this compute node. */
void oracle_on_install(struct oracle *o, uint16_t region, uint32_t page, fl_mask mask,
                       const uint8_t *src);
/** @since_ns: earliest time at which the store can have happened. */
void oracle_on_dirty(struct oracle *o, uint16_t region, uint32_t page, uint64_t since_ns);
/** The periodic write-back of a region began, @late_ns after the time its timer was set to. */
void oracle_on_period(struct oracle *o, uint16_t region, uint64_t now_ns, uint64_t late_ns);
/** The drain of a region's close began: what is dirty now need not wait for a period. */
void oracle_on_closing(struct oracle *o, uint16_t region, uint64_t now_ns, uint64_t late_ns);
/** @now_ns: less what timers are overdue at this moment; the host, not the device, makes them so. */
void oracle_on_snap(struct oracle *o, uint16_t region, uint32_t page, uint64_t now_ns);
/** Lines of a page are about to be handed to the fabric: from here on they may arrive. */
void oracle_on_hand(struct oracle *o, const struct fl_rma *op, const uint8_t *src);
/** The fabric has them; @src: the page buffer. */
void oracle_on_post(struct oracle *o, const struct fl_rma *op, const uint8_t *src);
/** One contiguous span of a posted operation, as the fabric gets it. */
void oracle_on_span(struct oracle *o, const struct fl_rma *op, uint64_t page_off,
                    uint64_t len_bytes);
/** The answer to a posted operation or batch entry. */
void oracle_on_done(struct oracle *o, const struct fl_rma *op, const uint8_t *src, int status,
                    uint64_t now_ns);
/** After an answer to a batch that came while a fence was due: the device may have given the batch up
 * by then, and may send its lines again. */
void oracle_on_doubt(struct oracle *o, const struct fl_rma *op);
/** The device has been told that a write to @node failed, or asks for a fence: it writes nothing there
 * until one has succeeded. What it posts while the bad news is still on its way to it is no error. */
void oracle_on_error(struct oracle *o, uint16_t node);
/** The device has been told how its fence ended. */
void oracle_on_fence(struct oracle *o, uint16_t node, int status);
void oracle_on_peer_down(struct oracle *o, uint16_t node);
void oracle_on_drop(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *live);
void oracle_on_close(struct oracle *o, uint16_t region, int status, uint64_t lost_lines);
/** Memory node: an entry of a log batch was written to a chunk. */
void oracle_on_apply(struct oracle *o, uint16_t chunk, uint32_t page, uint64_t seq);
/** Memory node in sim: a piece of a one-sided write landed. */
void oracle_on_land(struct oracle *o, uint16_t chunk, uint32_t page, uint64_t seq);
/** End of a node: @posted as counted by the transport, @own by the core. */
void oracle_on_bytes(struct oracle *o, uint64_t posted_bytes, uint64_t own_bytes);

/* --- final compare -------------------------------------------------------------------------- */

/** Expected content of a page of a region after close: shadow, or the application's last view.
 * False: the page was never touched, or its content is not decided (lines lost with a node). */
bool oracle_expect_page(struct oracle *o, uint16_t region, uint32_t page,
                        uint8_t ret[FL_PAGE_BYTES]);

/** Digest of an expected page; false as above. Cheaper over a control connection. */
bool oracle_expect_digest(struct oracle *o, uint16_t region, uint32_t page, uint64_t *ret_xxh64);

/** Compares one page with the memory node's own bytes; counts for W1 and W3. */
void oracle_compare(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote);

/** Who stored last in the line of this byte; false: that is not known. */
bool oracle_writer(const struct oracle *o, uint16_t region, uint64_t off, struct result_first *ret);

/** Bytes posted by compute nodes against bytes that arrived at memory nodes, over the whole run.
 * Only meaningful when nothing failed in between. Counts for W5. */
void oracle_cross_bytes(const struct plan *p, struct result *r, uint64_t posted_bytes,
                        uint64_t arrived_bytes);

/** Merges this node's checks into the result. Only ids the plan asks for. */
void oracle_report(struct oracle *o, struct result *r);

#endif
