/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Sites: named points in cores, tracker and transport. A site is where the trace, a logical trigger
 * (`event("c0.page_fetched", 12)`), a fault and a kill attach. Names are part of the contract.
 * X(enumerator, name, mechanism, meaning of a, meaning of b, what happened)
 */
#ifndef FL_SITES_H
#define FL_SITES_H

#include <stdint.h>

#define FL_SITES(X)                                                                                \
    X(FL_SITE_REGION_OPEN, "region_open", "W", "region", "-", "region is open")                    \
    X(FL_SITE_REGION_CLOSING, "region_closing", "W", "region", "-", "write gate shut, draining")   \
    X(FL_SITE_REGION_CLOSED, "region_closed", "W", "region", "status", "region is closed")         \
    X(FL_SITE_MISS, "miss", "W", "page", "access", "access to a page that is not cached")          \
    X(FL_SITE_FETCH_POST, "fetch_post", "W", "page", "node", "read of a page is being posted")     \
    X(FL_SITE_PAGE_FETCHED, "page_fetched", "W", "page", "node", "page is installed and open")     \
    X(FL_SITE_DIRTY, "page_dirty", "W", "page", "lines", "page went from clean to dirty")          \
    X(FL_SITE_COARSEN, "coarsen", "W", "page", "lines", "page marked dirty as a whole")            \
    X(FL_SITE_DCLB_OVERFLOW, "dclb_overflow", "W", "page", "-", "no entry left in the DCLB")       \
    X(FL_SITE_PERIOD, "period", "W", "region", "dirty pages", "periodic write-back begins")        \
    X(FL_SITE_FLUSH_GATE, "flush_gate", "W", "page", "-", "dirty page is about to be gated")       \
    X(FL_SITE_SNAP, "snap", "W", "page", "lines", "dirty lines frozen in the snapshot")            \
    X(FL_SITE_FLUSH_POST, "flush_post", "W", "page", "lines", "write of dirty lines is posted")    \
    X(FL_SITE_FLUSH_ACK, "flush_ack", "W", "page", "lines", "lines visible at the memory node")    \
    X(FL_SITE_FLUSH_FAIL, "flush_fail", "W", "page", "status", "lines re-added after an error")    \
    X(FL_SITE_EVICT, "evict", "W", "page", "dirty", "page chosen for eviction")                    \
    X(FL_SITE_PAGE_DROP, "page_drop", "W", "page", "-", "page left device memory")                 \
    X(FL_SITE_FENCE_POST, "fence_post", "W", "node", "-", "fence requested")                       \
    X(FL_SITE_FENCE_DONE, "fence_done", "W", "node", "status", "fence answered")                   \
    X(FL_SITE_PEER_LOST, "peer_lost", "W", "node", "-", "device learned that a node is gone")      \
    X(FL_SITE_LOG_RX, "log_rx", "W", "entries", "seq", "memory node received a log batch")         \
    X(FL_SITE_LOG_COMMIT, "log_commit", "W", "entries", "seq",                                     \
      "batch is whole: it will be applied")                                                        \
    X(FL_SITE_LOG_APPLY, "log_apply", "W", "page", "lines", "one page of a batch unpacked")        \
    X(FL_SITE_LOG_STALE, "log_stale", "W", "page", "seq", "older or duplicate entry ignored")      \
    X(FL_SITE_LEASE, "lease", "W", "region", "status", "memory node answered an open request")     \
    X(FL_SITE_RESTART, "restart", "W", "incarnation", "image", "killed memory node is back")

enum fl_site {
    FL_SITE_NONE,
#define X(e, name, mech, a, b, doc) e,
    FL_SITES(X)
#undef X
        FL_SITE_COUNT
};

struct fl_site_info {
    const char *name, *mech, *a, *b, *doc;
};

/** Description of a site; NULL for FL_SITE_NONE and numbers that are none. */
const struct fl_site_info *fl_site_info(enum fl_site s);

/** Site of that name, or FL_SITE_NONE. */
enum fl_site fl_site_find(const char *name);

#endif
