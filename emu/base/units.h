/* SPDX-License-Identifier: Apache-2.0 */
/** Fixed sizes of the emulated machine and units of time. The host's page size is another matter. */
#ifndef FL_UNITS_H
#define FL_UNITS_H

#include <stdint.h>

enum {
    FL_LINE_BYTES = 64,   /* one cache line */
    FL_PAGE_BYTES = 4096, /* one emulated page */
    FL_PAGE_LINES = 64,   /* lines in a page: one bit each in an fl_mask */
};

/** Set of lines of one page; bit i is the line at byte offset 64 * i. */
typedef uint64_t fl_mask;

#define FL_MASK_NONE ((fl_mask)0)
#define FL_MASK_ALL (~(fl_mask)0)

#define FL_NS_PER_US UINT64_C(1000)
#define FL_NS_PER_MS UINT64_C(1000000)
#define FL_NS_PER_S UINT64_C(1000000000)
#define FL_NEVER UINT64_MAX /* a time that does not come: cancels a timer */

static inline unsigned fl_mask_count(fl_mask m)
{
    return (unsigned)__builtin_popcountll(m);
}

/** Index of the lowest line in @m. @m must not be empty. */
static inline unsigned fl_mask_first(fl_mask m)
{
    return (unsigned)__builtin_ctzll(m);
}

/** Lines @first .. @first + @count - 1; @count 1..64, @first + @count <= 64. */
static inline fl_mask fl_mask_run(unsigned first, unsigned count)
{
    return (count >= 64 ? FL_MASK_ALL : (((fl_mask)1 << count) - 1)) << first;
}

#endif
