/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/fig.h"

#include <stdio.h>
#include <stdlib.h>

static int by_value(const void *x, const void *y)
{
    double p = *(const double *)x, q = *(const double *)y;
    return (p > q) - (p < q);
}

double fig_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return v[n / 2];
}

void fig_print(const struct fig *f)
{
    bool holds = !f->why && (f->at_least ? f->ratio >= f->target : f->ratio <= f->target);

    char target[32] = "null";

    if (!f->beside)
        snprintf(target, sizeof(target), "%.2f", f->target);
    printf("{\"id\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"baseline\":%.3f,\"ratio\":%.3f,"
           "\"target\":%s,\"holds\":%s,\"n\":%d",
           f->id, f->value, f->unit, f->baseline, f->ratio, target,
           f->beside ? "null"
           : holds   ? "true"
                     : "false",
           f->n);
    if (f->why)
        printf(",\"error\":\"%s\"", f->why);
    printf("}\n");
    fflush(stdout);
}
