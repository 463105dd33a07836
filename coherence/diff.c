/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/diff.h"

#include <stdatomic.h>
#include <string.h>

static uint64_t word_at(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static uint64_t line_diff(const uint8_t *a, const uint8_t *b)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < FL_LINE_BYTES; i += 8)
        x |= word_at(a + i) ^ word_at(b + i);
    return x;
}

fl_mask coh_diff_portable(const uint8_t *a, const uint8_t *b)
{
    fl_mask mask = 0;
    for (unsigned line = 0; line < FL_PAGE_LINES; line++) {
        size_t off = (size_t)line * FL_LINE_BYTES;
        mask |= (fl_mask)(line_diff(a + off, b + off) != 0) << line;
    }
    return mask;
}

size_t coh_diff_impls(struct coh_diff_impl ret[COH_DIFF_IMPLS_MAX])
{
    size_t n = coh_arch_diffs(ret, COH_DIFF_IMPLS_MAX - 1);
    ret[n] = (struct coh_diff_impl){"portable", coh_diff_portable};
    return n + 1;
}

fl_mask coh_diff(const uint8_t *a, const uint8_t *b)
{
    static _Atomic(coh_diff_fn *) best;
    coh_diff_fn *fn = atomic_load_explicit(&best, memory_order_relaxed);
    if (!fn) {
        struct coh_diff_impl impls[COH_DIFF_IMPLS_MAX];
        coh_diff_impls(impls);
        fn = impls[0].fn; /* every thread finds the same, so that a race does not matter */
        atomic_store_explicit(&best, fn, memory_order_relaxed);
    }
    return fn(a, b);
}
