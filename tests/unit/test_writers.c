/* SPDX-License-Identifier: Apache-2.0 */
/* emu/writers.c: who stored last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "emu/base/env.h"
#include "emu/writers.h"

static void the_latest_store_of_a_line_is_known(void **state)
{
    struct writers *w = writers_new(2 * FL_PAGE_BYTES);
    struct writer a = {.workload = 15, .thread = 4095, .access = 4000000000U, .t_ns = 7}, got;

    (void)state;
    assert_false(writers_last(w, 0, 2 * FL_PAGE_BYTES, &got));
    writers_note(w, 100, 40, &a); /* bytes 36..63 of line 1, 0..11 of line 2 */
    assert_false(writers_last(w, 0, FL_LINE_BYTES, &got));
    assert_true(writers_last(w, 64, 1, &got)); /* by line, not by byte */
    assert_int_equal(got.line, 1);
    assert_int_equal(got.first_byte, 36);
    assert_int_equal(got.last_byte, 63);
    assert_int_equal(got.workload, 15);
    assert_int_equal(got.thread, 4095);
    assert_int_equal(got.access, 4000000000U);
    assert_int_equal(got.t_ns, 7);
    assert_true(writers_last(w, 128, 1, &got));
    assert_int_equal(got.first_byte, 0);
    assert_int_equal(got.last_byte, 11);
    writers_free(&w);
    assert_null(w);
}

static void of_a_range_it_is_the_newest(void **state)
{
    struct writers *w = writers_new(FL_PAGE_BYTES);
    struct writer got;

    (void)state;
    writers_note(w, 0, 8, &(struct writer){.access = 1, .t_ns = 50});
    writers_note(w, 640, 8, &(struct writer){.access = 2, .t_ns = 90});
    writers_note(w, 1280, 8, &(struct writer){.access = 3, .t_ns = 70});
    assert_true(writers_last(w, 0, FL_PAGE_BYTES, &got));
    assert_int_equal(got.access, 2);
    writers_note(w, 0, 8, &(struct writer){.access = 4, .t_ns = 95});
    assert_true(writers_last(w, 0, FL_PAGE_BYTES, &got));
    assert_int_equal(got.access, 4);
    writers_free(&w);
}

static void nothing_is_written_beside_the_region(void **state)
{
    struct writers *w = writers_new(FL_LINE_BYTES + 1);
    struct writer got;

    (void)state;
    writers_note(w, 60, 200, &(struct writer){.t_ns = 1});
    assert_true(writers_last(w, 64, 1000, &got));
    assert_int_equal(got.line, 1);
    assert_int_equal(got.last_byte, 63);
    assert_false(writers_last(w, 128, 1000, &got));
    writers_free(&w);
    assert_null(writers_new(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_store_of_a_line_is_known),
        cmocka_unit_test(of_a_range_it_is_the_newest),
        cmocka_unit_test(nothing_is_written_beside_the_region),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
