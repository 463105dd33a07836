/* SPDX-License-Identifier: Apache-2.0 */
/** Page-aligned memory full of zeros, whose length the owner remembers. */
#ifndef FL_ZEROED_H
#define FL_ZEROED_H

#include <stddef.h>

/**
 * Up to FL_ZEROED_HEAP_MAX bytes come from the heap, so that one simulated run after the other finds
 * the same pages instead of having the kernel fetch and clear new ones; more is mapped, and takes
 * memory only where it is touched. NULL: out of memory. Any thread.
 */
enum { FL_ZEROED_HEAP_MAX = 1 << 20 };
void *fl_zeroed_new(size_t len_bytes);

/** With the length it was made with; @p may be NULL. */
void fl_zeroed_free(void *p, size_t len_bytes);

#endif
