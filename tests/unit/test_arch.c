/* SPDX-License-Identifier: Apache-2.0 */
/* What an access was, read from signal frames made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

#include "coherence/arch.h"

static ucontext_t frame;

#if defined(__x86_64__)
static int access_for(uint64_t code)
{
    enum fl_access a;
    memset(&frame, 0, sizeof frame);
    frame.uc_mcontext.gregs[REG_ERR] = (greg_t)code;
    return coh_arch_access(&frame, &a) ? (int)a : -1;
}

static void frames_tell_the_access(void **state)
{
    (void)state;
    assert_true(coh_arch_knows_access());
    assert_int_equal(access_for(0x5), FL_LOAD); /* present, from user space */
    assert_int_equal(access_for(0x7), FL_STORE);
    assert_int_equal(access_for(0x15), FL_FETCH);
}
#elif defined(__aarch64__)
#include <asm/sigcontext.h>

/* The record lies behind another one, as in the kernel's frames. */
static int access_for(uint64_t code)
{
    enum fl_access a;
    memset(&frame, 0, sizeof frame);
    uint8_t *p = (uint8_t *)frame.uc_mcontext.__reserved;
    struct fpsimd_context fp = {.head = {FPSIMD_MAGIC, sizeof fp}};
    struct esr_context esr = {.head = {ESR_MAGIC, sizeof esr}, .esr = code};
    memcpy(p, &fp, sizeof fp);
    memcpy(p + sizeof fp, &esr, sizeof esr);
    return coh_arch_access(&frame, &a) ? (int)a : -1;
}

static void frames_tell_the_access(void **state)
{
    (void)state;
    assert_true(coh_arch_knows_access());
    assert_int_equal(access_for(0x9200000f), FL_LOAD); /* data abort from user space */
    assert_int_equal(access_for(0x9200004f), FL_STORE);
    assert_int_equal(access_for(0x9200014f), FL_LOAD); /* cache maintenance */
    assert_int_equal(access_for(0x8200000f), FL_FETCH);
    assert_int_equal(access_for(0), -1);
    enum fl_access a;
    memset(&frame, 0, sizeof frame);
    assert_false(coh_arch_access(&frame, &a)); /* no record at all */
}
#else
static void frames_tell_the_access(void **state)
{
    (void)state;
    enum fl_access a;
    assert_false(coh_arch_knows_access());
    assert_false(coh_arch_access(&frame, &a));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_tell_the_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
