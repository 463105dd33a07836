/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a program that keeps its data in a region may ask. Everything else it does with loads and
 * stores. A load or store that cannot be served raises SIGBUS in the accessing thread, with si_code
 * BUS_MCEERR_AR and si_addr the address; a program recovers with sigsetjmp before the access and
 * siglongjmp out of its SIGBUS handler. If it returns from the handler, the access is tried again.
 *
 * System calls do not trap: read(2) and its like return EFAULT when they meet a page of a region
 * that is not open for them. Copy through a buffer outside the region.
 */
#ifndef FARLINE_H
#define FARLINE_H

/** Why the last access to the region that contains @addr failed, an enum fl_error; 0 if none did,
 * FL_EINVAL when no region contains it. Any thread, async-signal-safe. */
int farline_region_error(const void *addr);

#endif
