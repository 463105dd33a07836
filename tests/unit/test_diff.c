/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/diff.h"
#include "emu/base/rng.h"

static uint8_t room_a[FL_PAGE_BYTES + 64], room_b[FL_PAGE_BYTES + 64];

/* Every implementation must give what was planted, byte by byte and at any alignment. */
static void all_agree(const uint8_t *a, const uint8_t *b, fl_mask expected)
{
    struct coh_diff_impl impls[COH_DIFF_IMPLS_MAX];
    size_t n = coh_diff_impls(impls);
    assert_true(n >= 1 && n <= COH_DIFF_IMPLS_MAX);
    for (size_t i = 0; i < n; i++)
        if (impls[i].fn(a, b) != expected)
            fail_msg("%s: %#llx, expected %#llx", impls[i].name,
                     (unsigned long long)impls[i].fn(a, b), (unsigned long long)expected);
    assert_true(coh_diff(a, b) == expected);
    assert_true(coh_diff_portable(a, b) == expected);
}

static void fill(struct fl_rng *rng, uint8_t *a, uint8_t *b)
{
    for (size_t i = 0; i < FL_PAGE_BYTES; i++)
        a[i] = (uint8_t)fl_rng_next(rng);
    memcpy(b, a, FL_PAGE_BYTES);
}

static void equal_pages_have_no_difference(void **state)
{
    (void)state;
    struct fl_rng rng;
    fl_rng_init(&rng, 1, 0, FL_RNG_WORK, 0);
    fill(&rng, room_a, room_b);
    all_agree(room_a, room_b, FL_MASK_NONE);
}

static void one_byte_marks_its_line_only(void **state)
{
    (void)state;
    struct fl_rng rng;
    fl_rng_init(&rng, 2, 0, FL_RNG_WORK, 0);
    fill(&rng, room_a, room_b);
    for (size_t i = 0; i < FL_PAGE_BYTES; i++) {
        room_b[i] ^= (uint8_t)(1u << (i % 8));
        all_agree(room_a, room_b, (fl_mask)1 << (i / FL_LINE_BYTES));
        room_b[i] = room_a[i];
    }
}

static void all_lines_can_differ(void **state)
{
    (void)state;
    memset(room_a, 0x55, FL_PAGE_BYTES);
    memset(room_b, 0xaa, FL_PAGE_BYTES);
    all_agree(room_a, room_b, FL_MASK_ALL);
}

static void random_masks_at_any_alignment(void **state)
{
    (void)state;
    struct fl_rng rng;
    fl_rng_init(&rng, 3, 0, FL_RNG_WORK, 0);
    for (int round = 0; round < 2000; round++) {
        uint8_t *a = room_a + fl_rng_below(&rng, 64), *b = room_b + fl_rng_below(&rng, 64);
        fill(&rng, a, b);
        fl_mask mask = fl_rng_next(&rng);
        mask &= fl_rng_next(&rng); /* a quarter of the lines */
        for (fl_mask m = mask; m; m &= m - 1) {
            size_t at = fl_mask_first(m) * FL_LINE_BYTES + fl_rng_below(&rng, FL_LINE_BYTES);
            b[at] = (uint8_t)(b[at] + 1 + fl_rng_below(&rng, 255));
        }
        all_agree(a, b, mask);
    }
}

static void arch_file_is_the_right_one(void **state)
{
    (void)state;
#if defined(__x86_64__)
    assert_string_equal(coh_arch_name(), "x86_64");
    assert_true(coh_arch_knows_access());
#elif defined(__aarch64__)
    assert_string_equal(coh_arch_name(), "aarch64");
    assert_true(coh_arch_knows_access());
#else
    assert_string_equal(coh_arch_name(), "other");
    enum fl_access access;
    assert_false(coh_arch_knows_access());
    assert_false(coh_arch_access(NULL, &access));
#endif
    /* Flushing and relaxing change nothing that can be seen. */
    room_a[0] = 7;
    coh_arch_flush_line(room_a);
    coh_arch_relax();
    assert_int_equal(room_a[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_pages_have_no_difference),
        cmocka_unit_test(one_byte_marks_its_line_only),
        cmocka_unit_test(all_lines_can_differ),
        cmocka_unit_test(random_masks_at_any_alignment),
        cmocka_unit_test(arch_file_is_the_right_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
