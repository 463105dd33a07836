/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan_fields.c: the table of settings is consistent with itself. */
#include "tests/support/plans.h"

enum { OBJS = PLAN_OBJ_WORKLOAD + 1 };

static bool ends_with(const char *s, const char *end)
{
    return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void every_default_is_allowed(void **state)
{
    char obj[sizeof(struct plan_workload) + sizeof(struct plan_region) + sizeof(struct plan_node)];
    struct plan *run = calloc(1, sizeof(*run));
    size_t defaults = 0;

    (void)state;
    assert_non_null(run);
    for (int o = 0; o < OBJS; o++) {
        size_t n;
        const struct plan_field *f = plan_fields((enum plan_obj)o, &n);

        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            struct fl_errmsg err = {""};
            void *to = o == PLAN_OBJ_RUN ? (void *)run : (void *)obj;

            if (f[i].dflt == NULL)
                continue;
            memset(obj, 0, sizeof(obj));
            if (plan_field_set(to, &f[i], f[i].dflt, &err) != FL_OK)
                fail_msg("%s", err.text);
            assert_int_equal(plan_field_check(to, &f[i], &err), FL_OK);
            defaults++;
        }
    }
    assert_true(defaults > 20);
    free(run);
}

static void keys_differ_and_are_found(void **state)
{
    (void)state;
    for (int o = 0; o < OBJS; o++) {
        size_t n;
        const struct plan_field *f = plan_fields((enum plan_obj)o, &n);

        for (size_t i = 0; i < n; i++) {
            assert_ptr_equal(plan_field_find((enum plan_obj)o, f[i].key), &f[i]);
            assert_true(strlen(f[i].doc) > 5);
            for (size_t k = 0; k < i; k++)
                assert_string_not_equal(f[i].json, f[k].json);
        }
        assert_null(plan_field_find((enum plan_obj)o, "nothing"));
        assert_true(strlen(plan_obj_name((enum plan_obj)o)) > 1);
    }
}

static void names_in_the_plan_end_in_their_unit(void **state)
{
    (void)state;
    for (int o = 0; o < OBJS; o++) {
        size_t n;
        const struct plan_field *f = plan_fields((enum plan_obj)o, &n);

        for (size_t i = 0; i < n; i++) {
            assert_int_equal(f[i].type == PLAN_F_SIZE || strcmp(f[i].key, "len") == 0,
                             ends_with(f[i].json, "_bytes"));
            assert_int_equal(f[i].type == PLAN_F_TIME, ends_with(f[i].json, "_ns"));
            assert_int_equal(f[i].type == PLAN_F_RATE, ends_with(f[i].json, "_bps"));
        }
    }
}

static void names_of_enums_fill_their_enums(void **state)
{
    (void)state;
    assert_string_equal(plan_kind_names[PLAN_LUA], "lua");
    assert_null(plan_kind_names[PLAN_LUA + 1]);
    assert_string_equal(plan_role_names[PLAN_MEMORY], "memory");
    assert_string_equal(plan_when_names[PLAN_AT_TIME], "time");
    assert_string_equal(plan_cmp_names[PLAN_GE], "ge");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_allowed),
        cmocka_unit_test(keys_differ_and_are_found),
        cmocka_unit_test(names_in_the_plan_end_in_their_unit),
        cmocka_unit_test(names_of_enums_fill_their_enums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
