/* SPDX-License-Identifier: Apache-2.0 */
/** One row of a benchmark's output. */
#ifndef TESTS_BENCH_FIG_H
#define TESTS_BENCH_FIG_H

#include <stdbool.h>

struct fig {
    const char *id, *unit;
    double value, baseline, ratio, target;
    bool at_least;   /* the ratio must reach the target, not stay below it */
    const char *why; /* why this row means nothing here; NULL: it does */
    bool beside;     /* a figure without a target, for comparison */
    int n;
};

/** Sorts @v. */
double fig_median(double *v, int n);

void fig_print(const struct fig *f);

#endif
