/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "emu/image.h"

static void equal_memory_gives_equal_digests(void **state)
{
    (void)state;
    uint8_t page[2][FL_PAGE_BYTES] = {{0}};
    memset(page[1], 7, FL_PAGE_BYTES);
    struct emu_image bytes = {0}, digests = {0};
    for (int k = 0; k < 2; k++)
        emu_image_add(&bytes, emu_image_page(page[k]));
    /* Golden: XXH64 of 4096 zero bytes. */
    emu_image_add(&digests, UINT64_C(0xac869b6f32d8bbdb));
    emu_image_add(&digests, emu_image_page(page[1]));
    assert_int_equal(bytes.pages, 2);
    assert_true(bytes.digest == digests.digest);
}

static void order_and_loss_change_the_digest(void **state)
{
    (void)state;
    struct emu_image a = {0}, b = {0}, c = {0};
    emu_image_add(&a, 1);
    emu_image_add(&a, 2);
    emu_image_add(&b, 2);
    emu_image_add(&b, 1);
    emu_image_add(&c, 1);
    emu_image_add_lost(&c, 1);
    assert_true(a.digest != b.digest);
    assert_true(a.digest != c.digest);
    assert_int_equal(c.pages, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_memory_gives_equal_digests),
        cmocka_unit_test(order_and_loss_change_the_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
