/* SPDX-License-Identifier: Apache-2.0 */
/** Monotonic time of the host, for the real world only. */
#ifndef FL_CLOCK_H
#define FL_CLOCK_H

#include <stdint.h>

/** CLOCK_MONOTONIC in nanoseconds. Safe in a signal handler. */
uint64_t fl_clock_ns(void);

#endif
