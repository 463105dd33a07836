/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Pool of twin frames: copies of pages as they were before their first store. Bounded and lock-free;
 * frames given back last are taken first, while they are still in the cache. Memory is used only
 * for frames that have been taken at least once.
 */
#ifndef COH_TWIN_H
#define COH_TWIN_H

#include <stdint.h>

#include "emu/base/err.h"

enum { COH_TWIN_NONE = 0 }; /* frames are numbered from 1 */

struct coh_twins; /* opaque */

/** @count frames, at least 1. Errors: FL_EINVAL, FL_ENOMEM. */
int coh_twins_new(uint32_t count, struct coh_twins **ret, struct fl_errmsg *err);
void coh_twins_free(struct coh_twins **t);

/** A frame with undefined content, or COH_TWIN_NONE when all are taken. Any thread,
 * async-signal-safe. */
uint32_t coh_twins_take(struct coh_twins *t);

/** Gives back a frame that was taken. Any thread, async-signal-safe. */
void coh_twins_give(struct coh_twins *t, uint32_t twin);

/** Bytes of a taken frame: FL_PAGE_BYTES, page-aligned. */
uint8_t *coh_twins_at(const struct coh_twins *t, uint32_t twin);

uint32_t coh_twins_count(const struct coh_twins *t);
uint32_t coh_twins_used(const struct coh_twins *t);
uint32_t coh_twins_used_max(const struct coh_twins *t);

#endif
