/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <string.h>

#include "emu/base/env.h"
#include "emu/base/zeroed.h"

/* Small and large, next to the border, twice: the second finds what the first left dirty. */
static void it_is_aligned_and_zero_every_time(void **state)
{
    static const size_t lens[] = {
        1,       4096, 5000, FL_ZEROED_HEAP_MAX - 1, FL_ZEROED_HEAP_MAX, FL_ZEROED_HEAP_MAX + 1,
        5U << 20};

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
            uint8_t *p = fl_zeroed_new(lens[i]);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % FL_PAGE_BYTES, 0);
            for (size_t k = 0; k < lens[i]; k++) {
                if (p[k] != 0) {
                    fail_msg("byte %zu of %zu is not zero", k, lens[i]);
                }
            }
            memset(p, 0xa5, lens[i]);
            fl_zeroed_free(p, lens[i]);
        }
    }
    fl_zeroed_free(NULL, 1);
    fl_zeroed_free(NULL, FL_ZEROED_HEAP_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_aligned_and_zero_every_time)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
