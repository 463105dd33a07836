/* SPDX-License-Identifier: Apache-2.0 */
/* emu/base/ids.c and its tables: every id of the specification is there once and is explained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "emu/base/ids.h"
#include "emu/base/plants.h"

/* How many invariants and faults the specification numbers in each mechanism. */
static const struct {
    const char *mech;
    int invariants, faults;
} spec[] = {{"W", 9, 8}, {"C", 8, 8}, {"M", 8, 7}, {"P", 8, 10}};

static void every_id_of_the_specification_is_found(void **state)
{
    size_t total = 0;
    char id[16];

    (void)state;
    for (size_t m = 0; m < sizeof spec / sizeof spec[0]; m++) {
        for (int i = 1; i <= spec[m].invariants; i++, total++) {
            snprintf(id, sizeof id, "%s%d", spec[m].mech, i);
            assert_non_null(fl_id_find(id));
            assert_string_equal(fl_id_find(id)->id, id);
            assert_int_equal(fl_id_find(id)->kind, FL_ID_INVARIANT);
        }
        for (int i = 1; i <= spec[m].faults; i++, total++) {
            snprintf(id, sizeof id, "%s-f%d", spec[m].mech, i);
            assert_non_null(fl_id_find(id));
            assert_string_equal(fl_id_find(id)->id, id);
            assert_int_equal(fl_id_find(id)->kind, FL_ID_FAULT);
        }
    }
    assert_int_equal(fl_id_count(), total);
    assert_null(fl_id_at(total));
}

static void what_is_no_id_is_not_found(void **state)
{
    static const char *const none[] = {"", "W", "W0", "W10", "W-f0", "W-f9", "W3 ", "X1", "P-f100"};

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_null(fl_id_find(none[i]));
    }
}

static void case_does_not_matter(void **state)
{
    (void)state;
    assert_ptr_equal(fl_id_find("w3"), fl_id_find("W3"));
    assert_ptr_equal(fl_id_find("m-F2"), fl_id_find("M-f2"));
}

static void ids_are_unique_and_explained(void **state)
{
    (void)state;
    for (size_t i = 0; i < fl_id_count(); i++) {
        const struct fl_id_info *k = fl_id_at(i);

        assert_ptr_equal(fl_id_find(k->id), k);
        assert_true(strncmp(k->id, k->mech, 1) == 0);
        assert_true(strlen(k->title) > 5 && strlen(k->title) <= 80);
        assert_true(strlen(k->text) > 20);
        assert_true(strlen(k->why) > 20);
        assert_true(strlen(k->violation) > 15);
        assert_null(strchr(k->text, '\n'));
    }
}

static enum fl_plant plant_of(const char *id)
{
    for (int x = 0; x < FL_PLANT_COUNT; x++) {
        if (strcmp(fl_plant_info((enum fl_plant)x)->id, id) == 0) {
            return (enum fl_plant)x;
        }
    }
    return FL_PLANT_COUNT;
}

/* What a student is told to plant exists, and breaks the check of that very id. */
static void plants_named_exist_and_break_that_id(void **state)
{
    int invariants = 0;

    (void)state;
    for (size_t i = 0; i < fl_id_count(); i++) {
        const struct fl_id_info *k = fl_id_at(i);

        if (k->plant == NULL) {
            assert_false(k->kind == FL_ID_INVARIANT && fl_id_mech_built(k->mech));
            continue;
        }
        assert_true(plant_of(k->plant) < FL_PLANT_COUNT);
        if (k->kind == FL_ID_INVARIANT) {
            assert_string_equal(fl_plant_info(plant_of(k->plant))->check, k->id);
            invariants++;
        }
    }
    assert_int_equal(invariants, 9);
}

static void each_plant_names_a_known_id(void **state)
{
    (void)state;
    for (int x = 0; x < FL_PLANT_COUNT; x++) {
        assert_non_null(fl_id_find(fl_plant_info((enum fl_plant)x)->check));
    }
}

/* Only a built mechanism may claim an oracle, and each of its invariants must have one. */
static void oracles_are_claimed_where_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < fl_id_count(); i++) {
        const struct fl_id_info *k = fl_id_at(i);

        if (!fl_id_mech_built(k->mech)) {
            assert_null(k->oracle);
            assert_null(k->scenario);
        } else {
            assert_non_null(k->oracle);
        }
    }
}

/* A scenario that is named is there and asks for that check. Tests run from the top of the tree. */
static void scenarios_named_exist_and_check_that_id(void **state)
{
    char text[65536], quoted[16];
    int named = 0;

    (void)state;
    for (size_t i = 0; i < fl_id_count(); i++) {
        const struct fl_id_info *k = fl_id_at(i);
        FILE *f;

        if (k->scenario == NULL) {
            continue;
        }
        named++;
        f = fopen(k->scenario, "re");
        if (f == NULL) {
            fail_msg("%s names %s, which is not there", k->id, k->scenario);
        }
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
        snprintf(quoted, sizeof quoted, "\"%s\"", k->id);
        if (k->kind == FL_ID_INVARIANT && strstr(text, quoted) == NULL) {
            fail_msg("%s does not check %s", k->scenario, k->id);
        }
    }
    assert_true(named > 0);
}

static void mechanisms_have_names(void **state)
{
    (void)state;
    assert_string_equal(fl_id_mech_name("W"), "remote memory write-back");
    assert_non_null(fl_id_mech_name("P"));
    assert_null(fl_id_mech_name("Q"));
    assert_true(fl_id_mech_built("W"));
    assert_false(fl_id_mech_built("Q"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_id_of_the_specification_is_found),
        cmocka_unit_test(what_is_no_id_is_not_found),
        cmocka_unit_test(case_does_not_matter),
        cmocka_unit_test(ids_are_unique_and_explained),
        cmocka_unit_test(plants_named_exist_and_break_that_id),
        cmocka_unit_test(each_plant_names_a_known_id),
        cmocka_unit_test(oracles_are_claimed_where_they_are),
        cmocka_unit_test(scenarios_named_exist_and_check_that_id),
        cmocka_unit_test(mechanisms_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
