/* SPDX-License-Identifier: Apache-2.0 */
/* What `farline explore writeback --plant X` finds, for every planted bug of the list: a bug that can
 * show there is found under the id of its own check; a blind oracle does not see it; and the same
 * configuration holds without it. Which bugs cannot show, and why: emu_explore_hides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/explore.h"

/* Bugs that harm more than one invariant: the check that sees them next when their own is blind. What
 * is not named is then seen by nobody. */
static const struct {
    enum fl_plant plant;
    const char *check;
} NEXT[] = {
    {FL_PLANT_DROP_UNACKED, "W1"}, /* the line that went with the page is missing at close */
    {FL_PLANT_DROP_BUSY, "W1"},
    {FL_PLANT_CLEAR_LATE, "W2"}, /* a page that only seems clean is dropped */
    {FL_PLANT_LOCAL_ACK, "W2"},
    {FL_PLANT_DCLB_DROP, "W2"},
    {FL_PLANT_STALE_SEQ, "W3"}, /* the older bytes stay */
    {FL_PLANT_SKIP_FENCE, "W3"},
};

static const char *next_of(enum fl_plant x)
{
    for (size_t i = 0; i < sizeof NEXT / sizeof *NEXT; i++)
        if (NEXT[i].plant == x)
            return NEXT[i].check;
    return NULL;
}

static bool is_blind(enum fl_plant x)
{
    return strncmp(fl_plant_info(x)->id, "blind-", 6) == 0;
}

/* Only in one configuration, with the ids that are not NULL. */
static struct explore_result in(const char *config, const char *plant, const char *blind)
{
    struct fl_plants p = {{0}};
    struct explore_result r;
    if (plant != NULL)
        assert_int_equal(fl_plant_add(&p, plant), FL_OK);
    if (blind != NULL)
        assert_int_equal(fl_plant_add(&p, blind), FL_OK);
    assert_int_equal(emu_explore_config(config, &p, NULL, &r), FL_OK);
    assert_int_equal(r.configs, 1);
    return r;
}

static void holds_without(const char *config)
{
    struct explore_result r = in(config, NULL, NULL);
    if (r.violated || r.complete != 1)
        fail_msg("'%s' without a planted bug: %s %s", config, r.check, r.what);
}

static void its_blind_does_not_see(enum fl_plant x, const char *config)
{
    const struct fl_plant_info *info = fl_plant_info(x);
    char blind[32];
    snprintf(blind, sizeof blind, "blind-%s", info->check);
    if (strchr(info->check, '-') !=
        NULL) { /* the id of a fault: it has no oracle to take sight of */
        struct fl_plants p = {{0}};
        assert_int_equal(fl_plant_add(&p, blind), FL_EINVAL);
        return;
    }
    struct explore_result r = in(config, info->id, blind);
    const char *next = next_of(x);
    if (r.violated ? next == NULL || strcmp(r.check, next) != 0 : next != NULL || r.complete != 1)
        fail_msg("%s with %s in '%s': seen by '%s' (%s), expected '%s'", info->id, blind, config,
                 r.violated ? r.check : "", r.what, next == NULL ? "" : next);
}

static void every_bug_that_can_show_is_found_by_its_own_check(void **state)
{
    (void)state;
    unsigned found = 0;
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        enum fl_plant x = (enum fl_plant)i;
        const struct fl_plant_info *info = fl_plant_info(x);
        struct fl_plants p = {{0}};
        struct explore_result r;
        if (is_blind(x) || emu_explore_hides(x) != NULL)
            continue;
        assert_int_equal(fl_plant_add(&p, info->id), FL_OK);
        assert_int_equal(emu_explore("writeback", &p, NULL, &r), FL_OK);
        if (!r.violated || strcmp(r.check, info->check) != 0)
            fail_msg("%s: seen by '%s' (%s), expected %s", info->id, r.violated ? r.check : "",
                     r.what, info->check);
        print_message("%s: %s in '%s', %d states: %s\n", info->id, r.check, r.config, (int)r.states,
                      r.what);
        holds_without(r.config);
        its_blind_does_not_see(x, r.config);
        found++;
    }
    assert_true(found >= 8);
}

/* All of them at once: nothing is found, the search ends, and each reason is printed. */
static void bugs_that_cannot_show_are_told_so(void **state)
{
    struct fl_plants p = {{0}};
    struct explore_result r;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    for (int i = 0; i < FL_PLANT_COUNT; i++)
        if (emu_explore_hides((enum fl_plant)i) != NULL)
            assert_int_equal(fl_plant_add(&p, fl_plant_info((enum fl_plant)i)->id), FL_OK);
    assert_int_equal(emu_explore_quick("writeback", &p, out, &r), FL_OK);
    fclose(out);
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const char *why = emu_explore_hides((enum fl_plant)i);
        bool told = strstr(text, fl_plant_info((enum fl_plant)i)->id) != NULL;
        assert_int_equal(told, why != NULL);
        assert_true(why == NULL || strstr(text, why) != NULL);
    }
    free(text);
    assert_false(r.violated);
    assert_int_equal(r.complete, r.configs);
    assert_int_equal(r.rows_missing, 0);
    assert_null(emu_explore_hides(FL_PLANT_COUNT));
}

static void a_configuration_that_is_not_there_is_refused(void **state)
{
    struct fl_plants none = {{0}};
    struct explore_result r;
    (void)state;
    assert_int_equal(emu_explore_config("no such world", &none, NULL, &r), FL_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_that_is_not_there_is_refused),
        cmocka_unit_test(every_bug_that_can_show_is_found_by_its_own_check),
        cmocka_unit_test(bugs_that_cannot_show_are_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
