/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__aarch64__)

#include "coherence/arch.h"

#include <arm_neon.h>
#include <asm/sigcontext.h>
#include <string.h>
#include <ucontext.h>

enum {
    ESR_EC_SHIFT = 26,
    ESR_EC_FETCH_LOW = 0x20, /* instruction abort from user space */
    ESR_EC_FETCH = 0x21,
    ESR_WNR = 1 << 6,
    ESR_CM = 1 << 8, /* cache maintenance sets WnR too, but is no store */
};

const char *coh_arch_name(void)
{
    return "aarch64";
}

bool coh_arch_knows_access(void)
{
    return true;
}

/* The syndrome register is one of the tagged records behind the general registers. */
static uint64_t find_esr(const ucontext_t *uc)
{
    const uint8_t *p = (const uint8_t *)uc->uc_mcontext.__reserved;
    const uint8_t *end = p + sizeof uc->uc_mcontext.__reserved;
    while (p + sizeof(struct _aarch64_ctx) <= end) {
        struct _aarch64_ctx head;
        memcpy(&head, p, sizeof head);
        if (head.magic == 0 || head.size < sizeof head)
            break;
        if (head.magic == ESR_MAGIC && p + sizeof(struct esr_context) <= end) {
            struct esr_context esr;
            memcpy(&esr, p, sizeof esr);
            return esr.esr;
        }
        p += head.size;
    }
    return 0;
}

bool coh_arch_access(const void *ucontext, enum fl_access *ret)
{
    uint64_t esr = find_esr(ucontext);
    uint64_t ec = (esr >> ESR_EC_SHIFT) & 0x3f;
    if (ec == ESR_EC_FETCH_LOW || ec == ESR_EC_FETCH)
        *ret = FL_FETCH;
    else
        *ret = (esr & ESR_WNR) && !(esr & ESR_CM) ? FL_STORE : FL_LOAD;
    return esr != 0;
}

static uint8x16_t line_xor(const uint8_t *a, const uint8_t *b)
{
    uint8x16_t x = veorq_u8(vld1q_u8(a), vld1q_u8(b));
    for (unsigned i = 16; i < FL_LINE_BYTES; i += 16)
        x = vorrq_u8(x, veorq_u8(vld1q_u8(a + i), vld1q_u8(b + i)));
    return x;
}

static fl_mask diff_neon(const uint8_t *a, const uint8_t *b)
{
    fl_mask mask = 0;
    for (unsigned line = 0; line < FL_PAGE_LINES; line++) {
        size_t off = (size_t)line * FL_LINE_BYTES;
        uint32x4_t x = vreinterpretq_u32_u8(line_xor(a + off, b + off));
        mask |= (fl_mask)(vmaxvq_u32(x) != 0) << line;
    }
    return mask;
}

size_t coh_arch_diffs(struct coh_diff_impl *ret, size_t max)
{
    if (max == 0)
        return 0;
    ret[0] = (struct coh_diff_impl){"neon", diff_neon};
    return 1;
}

void coh_arch_flush_line(const void *p)
{
    __asm__ volatile("dc civac, %0" : : "r"(p) : "memory");
}

void coh_arch_relax(void)
{
    __asm__ volatile("yield");
}

#else
typedef int coh_arch_aarch64_unused; /* a C file must not be empty */
#endif
