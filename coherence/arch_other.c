/* SPDX-License-Identifier: Apache-2.0 */
#if !defined(__x86_64__) && !defined(__aarch64__)

#include "coherence/arch.h"

const char *coh_arch_name(void)
{
    return "other";
}

bool coh_arch_knows_access(void)
{
    return false;
}

bool coh_arch_access(const void *ucontext, enum fl_access *ret)
{
    (void)ucontext;
    (void)ret;
    return false;
}

size_t coh_arch_diffs(struct coh_diff_impl *ret, size_t max)
{
    (void)ret;
    (void)max;
    return 0;
}

void coh_arch_flush_line(const void *p)
{
    (void)p;
}

void coh_arch_relax(void)
{
}

#else
typedef int coh_arch_other_unused; /* a C file must not be empty */
#endif
