/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan_values.c: units, widths, bounds, nearest words. */
#include "tests/support/plans.h"

static void sizes_are_powers_of_1024(void **state)
{
    uint64_t v;

    (void)state;
    assert_true(plan_parse_size("0", &v) && v == 0);
    assert_true(plan_parse_size("4096", &v) && v == 4096);
    assert_true(plan_parse_size("7B", &v) && v == 7);
    assert_true(plan_parse_size("64K", &v) && v == 65536);
    assert_true(plan_parse_size("8G", &v) && v == UINT64_C(8) << 30);
    assert_true(plan_parse_size("1T", &v) && v == UINT64_C(1) << 40);
    assert_false(plan_parse_size("", &v));
    assert_false(plan_parse_size("-1", &v));
    assert_false(plan_parse_size("+1", &v));
    assert_false(plan_parse_size(" 1", &v));
    assert_false(plan_parse_size("1.5M", &v));
    assert_false(plan_parse_size("1k", &v));
    assert_false(plan_parse_size("1KB", &v));
    assert_false(plan_parse_size("0x10", &v));
    assert_false(plan_parse_size("99999999999999999999", &v));
    assert_false(plan_parse_size("18446744073709551615K", &v)); /* overflow of the product */
}

static void times_need_a_unit(void **state)
{
    uint64_t v;

    (void)state;
    assert_true(plan_parse_time("0", &v) && v == 0);
    assert_true(plan_parse_time("300ns", &v) && v == 300);
    assert_true(plan_parse_time("5us", &v) && v == 5000);
    assert_true(plan_parse_time("2ms", &v) && v == 2000000);
    assert_true(plan_parse_time("3s", &v) && v == 3 * FL_NS_PER_S);
    assert_true(plan_parse_time("2m", &v) && v == 120 * FL_NS_PER_S);
    assert_false(plan_parse_time("5", &v));
    assert_false(plan_parse_time("5 ms", &v));
    assert_false(plan_parse_time("99999999999s", &v) && v < FL_NS_PER_S);
}

static void rates_are_powers_of_1000(void **state)
{
    uint64_t v;

    (void)state;
    assert_true(plan_parse_rate("10G", &v) && v == UINT64_C(10000000000));
    assert_true(plan_parse_rate("9600", &v) && v == 9600);
    assert_false(plan_parse_rate("10Gbit", &v));
}

static void every_width_is_read_back(void **state)
{
    struct {
        uint8_t a;
        uint16_t b;
        uint32_t c;
        uint64_t d;
        uint8_t end;
    } o;
    const struct plan_field f[] = {
        {.key = "a", .type = PLAN_F_COUNT, .offset = offsetof(__typeof__(o), a), .width = 1},
        {.key = "b", .type = PLAN_F_COUNT, .offset = offsetof(__typeof__(o), b), .width = 2},
        {.key = "c", .type = PLAN_F_COUNT, .offset = offsetof(__typeof__(o), c), .width = 4},
        {.key = "d", .type = PLAN_F_COUNT, .offset = offsetof(__typeof__(o), d), .width = 8}};

    (void)state;
    memset(&o, 0x55, sizeof(o));
    for (size_t i = 0; i < 4; i++)
        plan_field_put(&o, &f[i], 0x0102030405060708);
    assert_int_equal(o.a, 0x08);
    assert_int_equal(o.b, 0x0708);
    assert_int_equal(o.c, 0x05060708);
    assert_true(o.d == 0x0102030405060708);
    assert_int_equal(o.end, 0x55);
    for (size_t i = 0; i < 4; i++)
        assert_true(plan_field_get(&o, &f[i]) ==
                    (0x0102030405060708 & (i == 3 ? ~UINT64_C(0) : (UINT64_C(1) << (8 << i)) - 1)));
}

static void bounds_are_named_in_the_message(void **state)
{
    struct plan_region r;
    struct fl_errmsg err = {""};

    (void)state;
    memset(&r, 0, sizeof(r));
    const struct plan_field *size = plan_field_find(PLAN_OBJ_REGION, "size");
    assert_int_equal(plan_field_set(&r, size, "0", &err), FL_EINVAL);
    plans_contains(err.text, "4K to 256G");
    assert_int_equal(plan_field_set(&r, size, "5000", &err), FL_EINVAL);
    plans_contains(err.text, "multiple of 4K");
    assert_int_equal(plan_field_set(&r, size, "1T", &err), FL_EINVAL);
    assert_int_equal(r.size_bytes, 0);
    const struct plan_field *deadline = plan_field_find(PLAN_OBJ_REGION, "op_deadline");
    assert_int_equal(plan_field_set(&r, deadline, "never", &err), FL_EINVAL);
    plans_contains(err.text, "must end");
    const struct plan_field *period = plan_field_find(PLAN_OBJ_REGION, "period");
    assert_int_equal(plan_field_set(&r, period, "never", &err), FL_OK);
    r.path = 7;
    assert_int_equal(plan_field_check(&r, plan_field_find(PLAN_OBJ_REGION, "path"), &err),
                     FL_EINVAL);
}

static void reals_and_texts_have_bounds(void **state)
{
    struct plan_workload w;
    struct fl_errmsg err = {""};
    char longer[300];

    (void)state;
    memset(&w, 0, sizeof(w));
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    const struct plan_field *theta = plan_field_find(PLAN_OBJ_WORKLOAD, "theta");
    const struct plan_field *source = plan_field_find(PLAN_OBJ_WORKLOAD, "source");
    assert_int_equal(plan_field_check(&w, theta, &err), FL_EINVAL);
    assert_int_equal(plan_field_set(&w, theta, "nan", &err), FL_EINVAL);
    assert_int_equal(plan_field_set(&w, theta, "0.5x", &err), FL_EINVAL);
    assert_int_equal(plan_field_set(&w, theta, "0.25", &err), FL_OK);
    assert_int_equal(plan_field_check(&w, theta, &err), FL_OK);
    assert_int_equal(plan_field_set(&w, source, longer, &err), FL_EINVAL);
    assert_int_equal(plan_field_set(&w, source, "a.txt", &err), FL_OK);
    assert_string_equal(w.source, "a.txt");
    memset(w.source, 'x', sizeof(w.source));
    assert_int_equal(plan_field_check(&w, source, &err), FL_EINVAL);
}

static void values_are_written_as_they_are_read(void **state)
{
    static const char *const periods[] = {"10us", "2ms", "1s", "never", "1500us"};
    struct plan_region r;
    char text[40];

    (void)state;
    memset(&r, 0, sizeof(r));
    const struct plan_field *f = plan_field_find(PLAN_OBJ_REGION, "period");
    for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
        assert_int_equal(plan_field_set(&r, f, periods[i], NULL), FL_OK);
        plan_field_text(&r, f, text, sizeof(text));
        assert_string_equal(text, periods[i]);
    }
    f = plan_field_find(PLAN_OBJ_REGION, "size");
    assert_int_equal(plan_field_set(&r, f, "1024K", NULL), FL_OK);
    plan_field_text(&r, f, text, sizeof(text));
    assert_string_equal(text, "1M");
}

static void names_are_letters_digits_underscores(void **state)
{
    (void)state;
    assert_true(plan_name_ok("c0"));
    assert_true(plan_name_ok("A_b_9"));
    assert_false(plan_name_ok(""));
    assert_false(plan_name_ok("0c"));
    assert_false(plan_name_ok("_c"));
    assert_false(plan_name_ok("a-b"));
    assert_false(plan_name_ok("a.b"));
    assert_false(plan_name_ok("../x"));
    assert_true(plan_name_ok("a234567890123456789012345678901"));
    assert_false(plan_name_ok("a2345678901234567890123456789012"));
}

static void the_nearest_word_is_offered_when_it_is_near(void **state)
{
    static const char *const names[] = {"threshold", "period", "path"};

    (void)state;
    assert_string_equal(plan_nearest("treshold", names, 3), "threshold");
    assert_string_equal(plan_nearest("perid", names, 3), "period");
    assert_string_equal(plan_nearest("paht", names, 3), "path");
    assert_null(plan_nearest("completely", names, 3));
    assert_null(plan_nearest("", names, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(times_need_a_unit),
        cmocka_unit_test(rates_are_powers_of_1000),
        cmocka_unit_test(every_width_is_read_back),
        cmocka_unit_test(bounds_are_named_in_the_message),
        cmocka_unit_test(reals_and_texts_have_bounds),
        cmocka_unit_test(values_are_written_as_they_are_read),
        cmocka_unit_test(names_are_letters_digits_underscores),
        cmocka_unit_test(the_nearest_word_is_offered_when_it_is_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
