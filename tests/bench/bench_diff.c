/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two equal 4 KiB pages line by line, against memcmp of the same buffers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/diff.h"
#include "emu/base/clock.h"

enum { ROUNDS = 101, CALLS = 4000 };

static uint8_t a[FL_PAGE_BYTES] __attribute__((aligned(4096)));
static uint8_t b[FL_PAGE_BYTES] __attribute__((aligned(4096)));
static volatile uint64_t sink;

static fl_mask by_memcmp(const uint8_t *x, const uint8_t *y)
{
    return (fl_mask)memcmp(x, y, FL_PAGE_BYTES);
}

static double call_ns(coh_diff_fn *fn)
{
    uint64_t sum = 0, start = fl_clock_ns();
    for (int i = 0; i < CALLS; i++) {
        __asm__ volatile("" : : : "memory"); /* the pages may have changed: call again */
        sum += fn(a, b);
    }
    sink = sum;
    return (double)(fl_clock_ns() - start) / CALLS;
}

static int by_value(const void *x, const void *y)
{
    double p = *(const double *)x, q = *(const double *)y;
    return (p > q) - (p < q);
}

/* Rounds of both in turn, so that a change of the processor's speed meets both. */
static void compare(const char *id, coh_diff_fn *fn, double target)
{
    static double value[ROUNDS], base[ROUNDS], ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        base[i] = call_ns(by_memcmp);
        value[i] = call_ns(fn);
        ratio[i] = value[i] / base[i];
    }
    qsort(value, ROUNDS, sizeof *value, by_value);
    qsort(base, ROUNDS, sizeof *base, by_value);
    qsort(ratio, ROUNDS, sizeof *ratio, by_value);
    double r = ratio[ROUNDS / 2];
    printf("{\"id\":\"%s\",\"value\":%.1f,\"unit\":\"ns\",\"baseline\":%.1f,\"ratio\":%.3f,"
           "\"target\":%.2f,\"holds\":%s,\"n\":%d}\n",
           id, value[ROUNDS / 2], base[ROUNDS / 2], r, target, r <= target ? "true" : "false",
           ROUNDS * CALLS);
}

int main(void)
{
    memset(a, 0x5a, sizeof a);
    memcpy(b, a, sizeof b);
    compare("diff-equal-vector", coh_diff, 1.5);
    compare("diff-equal-portable", coh_diff_portable, 5.0);
    return 0;
}
