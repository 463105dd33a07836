/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The memory node's core: leases and chunk bounds, and the log unpacker. A pure core. Regions here
 * are chunks: install(region = chunk, page) writes the pool's memory.
 */
#ifndef MECH_MEMNODE_H
#define MECH_MEMNODE_H

#include <stddef.h>

#include "emu/base/env.h"
#include "emu/base/plants.h"

enum { MN_CHUNKS_MAX = 64 };

struct mn_cfg {
    uint16_t chunk_count;
    uint32_t chunk_pages[MN_CHUNKS_MAX];
    bool durable;         /* the pool outlives the node: batches get a commit record */
    uint64_t incarnation; /* above 1: this node was killed and has come back */
    struct fl_plants plants;
};

struct mn_stats {
    uint64_t opens, refused, batches, entries, lines, stale, payload_bytes;
};

struct mn; /* flat block: per page one sequence number */

int mn_check(const struct mn_cfg *cfg, struct fl_errmsg *err);
size_t mn_size(const struct mn_cfg *cfg);
struct mn *mn_init(void *mem, const struct mn_cfg *cfg);
void mn_step(struct mn *m, struct fl_env *env, const struct fl_event *ev);
const struct mn_stats *mn_stats(const struct mn *m);

#endif
