/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What the exhaustive explorer needs of the cores of mechanism W beyond their contract: a canonical
 * form of the block, so that states which only differ in counters and numbers are one state.
 */
#ifndef MECH_INSPECT_H
#define MECH_INSPECT_H

#include "emu/mech/memnode.h"
#include "emu/mech/writeback.h"

/** Sequence number of the page's last write-back; of the last log batch. */
uint64_t wb_page_seq(const struct wb *w, uint16_t region, uint32_t page);
uint64_t wb_batch_seq(const struct wb *w);

/** The page's dirty lines are counted as lost. */
bool wb_page_lost(const struct wb *w, uint16_t region, uint32_t page);

/** Page buffers that nothing uses. */
uint32_t wb_free_bufs(const struct wb *w);

/** Page buffers that nodes given up still have, while no region is in use: nobody asks for them. */
uint32_t wb_left_bufs(const struct wb *w);

/** Pages that wait for the next periodic write-back. */
bool wb_waits_for_period(struct wb *w, uint16_t region);

/** Clears statistics, rows and sequence numbers and puts the free buffers in order. The block is
 * for hashing then, not for stepping. */
void wb_canon(struct wb *w);

/** Last sequence number that was applied to a page, and as wb_canon. */
uint64_t mn_applied_seq(const struct mn *m, uint16_t chunk, uint32_t page);
void mn_canon(struct mn *m);

#endif
