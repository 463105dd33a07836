/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)

#include "coherence/arch.h"

#include <immintrin.h>
#include <ucontext.h>

enum { ERR_WRITE = 1 << 1, ERR_FETCH = 1 << 4 }; /* page-fault error code */

const char *coh_arch_name(void)
{
    return "x86_64";
}

bool coh_arch_knows_access(void)
{
    return true;
}

bool coh_arch_access(const void *ucontext, enum fl_access *ret)
{
    const ucontext_t *uc = ucontext;
    greg_t err = uc->uc_mcontext.gregs[REG_ERR];
    if (err & ERR_FETCH)
        *ret = FL_FETCH;
    else
        *ret = (err & ERR_WRITE) ? FL_STORE : FL_LOAD;
    return true;
}

__attribute__((target("avx2"))) static __m256i load256(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* Most pages are compared to find few dirty lines: four lines are folded before the first branch. */
__attribute__((target("avx2"))) static fl_mask diff_avx2(const uint8_t *a, const uint8_t *b)
{
    fl_mask mask = 0;
    for (unsigned line = 0; line < FL_PAGE_LINES; line += 4) {
        __m256i x[4], all = _mm256_setzero_si256();
        for (unsigned i = 0; i < 4; i++) {
            const uint8_t *pa = a + (line + i) * FL_LINE_BYTES;
            const uint8_t *pb = b + (line + i) * FL_LINE_BYTES;
            x[i] = _mm256_or_si256(_mm256_xor_si256(load256(pa), load256(pb)),
                                   _mm256_xor_si256(load256(pa + 32), load256(pb + 32)));
            all = _mm256_or_si256(all, x[i]);
        }
        if (_mm256_testz_si256(all, all))
            continue;
        for (unsigned i = 0; i < 4; i++)
            mask |= (fl_mask)!_mm256_testz_si256(x[i], x[i]) << (line + i);
    }
    return mask;
}

__attribute__((target("avx512f"))) static fl_mask diff_avx512(const uint8_t *a, const uint8_t *b)
{
    fl_mask mask = 0;
    for (unsigned line = 0; line < FL_PAGE_LINES; line++) {
        size_t off = (size_t)line * FL_LINE_BYTES;
        __m512i va = _mm512_loadu_si512((const void *)(a + off));
        __m512i vb = _mm512_loadu_si512((const void *)(b + off));
        mask |= (fl_mask)(_mm512_cmpneq_epi64_mask(va, vb) != 0) << line;
    }
    return mask;
}

size_t coh_arch_diffs(struct coh_diff_impl *ret, size_t max)
{
    size_t n = 0;
    __builtin_cpu_init();
    if (n < max && __builtin_cpu_supports("avx512f"))
        ret[n++] = (struct coh_diff_impl){"avx512", diff_avx512};
    if (n < max && __builtin_cpu_supports("avx2"))
        ret[n++] = (struct coh_diff_impl){"avx2", diff_avx2};
    return n;
}

void coh_arch_flush_line(const void *p)
{
    _mm_clflush(p);
}

void coh_arch_relax(void)
{
    _mm_pause();
}

#else
typedef int coh_arch_x86_64_unused; /* a C file must not be empty */
#endif
