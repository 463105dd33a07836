/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The tracker for generated accesses in virtual time. Nothing is mapped or protected: an access is
 * carried out in sub-steps, each of them one point where the scheduler may let the device or
 * another thread run, and every sub-step obeys the page gate as a processor obeys its page tables.
 *
 * Two kinds of sight. Sampled: as mprotect, MISS and DIRTY name no lines, which come by diff.
 * Exact: as a coherent device, MISS names the lines of the access and the first store to each line
 * is a DIRTY of its own; peek has nothing to tell.
 *
 * Threads: one, the simulator's; the application threads are its actors.
 */
#ifndef COH_TRACKER_ACTOR_H
#define COH_TRACKER_ACTOR_H

#include "coherence/tracker.h"

enum coh_sight { COH_SAMPLED, COH_EXACT };

struct coh_actor_cfg {
    struct coh_cfg base; /* access_deadline_ns and spin are the world's business, not used here */
    enum coh_sight sight;
    uint32_t mappings_max; /* as the kernel's limit: borders between protections; 0: unlimited */
    /** A blocked thread can go on: schedule its next sub-step. Called inside ops->resume. */
    void (*wake)(void *arg, uint32_t ticket);
    void *arg;
};

/** Errors: FL_EINVAL, FL_ENOMEM. */
int coh_actor_new(const struct coh_actor_cfg *cfg, struct coh_tracker **ret, struct fl_errmsg *err);

/** One access of one thread. */
struct coh_access {
    uint16_t region;
    bool store;
    uint64_t off;
    uint32_t len_bytes; /* at least 1; inside the region */
    const uint8_t *src; /* store */
    uint8_t *dst;       /* load */
};

enum coh_act {
    COH_ACT_AGAIN,   /* one sub-step further: call again, at once or later */
    COH_ACT_BLOCKED, /* the device has to act; wake() tells when to call again */
    COH_ACT_DONE,
    COH_ACT_FAILED, /* coh_actor_status: why. Bytes before the failing page are done */
};

/** Begins an access of thread @ticket, which has none under way. The buffers stay valid until it
 * is DONE or FAILED. */
void coh_actor_begin(struct coh_tracker *t, uint32_t ticket, const struct coh_access *a);
enum coh_act coh_actor_step(struct coh_tracker *t, uint32_t ticket);

/** Bytes of the access that are done so far. */
uint32_t coh_actor_progress(const struct coh_tracker *t, uint32_t ticket);

/** Why the last access failed, an enum fl_error. */
int coh_actor_status(const struct coh_tracker *t, uint32_t ticket);

/** Fails the access if it is still blocked in its @nth wait (coh_actor_waits); wake() follows. */
void coh_actor_expire(struct coh_tracker *t, uint32_t ticket, uint64_t nth);
uint64_t coh_actor_waits(const struct coh_tracker *t, uint32_t ticket);

/** Notes wait that the device is to look at now (DIRTY notes do not while it is armed). */
bool coh_actor_urgent(const struct coh_tracker *t);

#endif
