/* SPDX-License-Identifier: Apache-2.0 */
/** Which lines of a page differ from its twin. */
#ifndef COH_DIFF_H
#define COH_DIFF_H

#include <stddef.h>
#include <stdint.h>

#include "coherence/arch.h"
#include "emu/base/units.h"

enum { COH_DIFF_IMPLS_MAX = 4 };

/**
 * Mask of the lines in which the pages @a and @b (FL_PAGE_BYTES each, any alignment) differ. Runs
 * the best code this processor has, chosen at the first call. A page that is being written while
 * it is compared gives a mask in which each line is judged by what was read of it. Any thread.
 */
fl_mask coh_diff(const uint8_t *a, const uint8_t *b);

/** Same result without vector code. */
fl_mask coh_diff_portable(const uint8_t *a, const uint8_t *b);

/** All ways to compare that run here, best first, "portable" last; returns their number. */
size_t coh_diff_impls(struct coh_diff_impl ret[COH_DIFF_IMPLS_MAX]);

#endif
