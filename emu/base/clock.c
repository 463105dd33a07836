/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/clock.h"

#include <time.h>

uint64_t fl_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}
