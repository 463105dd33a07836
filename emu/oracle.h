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

/* --- the workload's side, any application thread -------------------------------------------- */

/** Shadow memory of a region: the workload writes here *before* each store, at the same offset.
 * NULL: this region has no shadow (native programs); its live bytes count instead. */
uint8_t *oracle_shadow(struct oracle *o, uint16_t region);

/** A load returned other bytes than the shadow's; thread-safe. */
void oracle_bad_load(struct oracle *o, uint16_t region, uint64_t off, uint64_t expected,
                     uint64_t seen);

/** @bytes of loads were compared with the shadow; thread-safe. */
void oracle_good_loads(struct oracle *o, uint64_t bytes);

/* --- final compare -------------------------------------------------------------------------- */

/** Expected content of a page of a region after close: shadow, or the application's last view.
 * False: the page was never touched, or its content is not decided (lines lost with a node). */
bool oracle_expect_page(struct oracle *o, uint16_t region, uint32_t page,
                        uint8_t ret[FL_PAGE_BYTES]);

/** Digest of an expected page; false as above. Cheaper over a control connection. */
bool oracle_expect_digest(struct oracle *o, uint16_t region, uint32_t page, uint64_t *ret_xxh64);

/** Compares one page with the memory node's own bytes; counts for W1 and W3. */
void oracle_compare(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote);

/** Merges this node's checks into the result. Only ids the plan asks for. */
void oracle_report(struct oracle *o, struct result *r);

#endif
