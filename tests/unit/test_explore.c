/* SPDX-License-Identifier: Apache-2.0 */
/* The exhaustive explorer: it explores to the end and takes every row of table W; its walks see
 * planted bugs. What the search sees of them: tests/sim/test_explore_plants.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <string.h>

#include "emu/explore.h"

static void every_state_holds_and_every_row_is_taken(void **state)
{
    struct fl_plants none = {{0}};
    struct explore_result r;

    (void)state;
    assert_int_equal(emu_explore_quick("writeback", &none, stdout, &r), FL_OK);
    assert_false(r.violated);
    assert_int_equal(r.complete, r.configs);
    assert_int_equal(r.rows_missing, 0);
    assert_true(r.states > 10000);
}

static void unknown_mechanism_is_refused(void **state)
{
    struct fl_plants none = {{0}};
    struct explore_result r;

    (void)state;
    assert_int_equal(emu_explore("teleport", &none, NULL, &r), FL_EINVAL);
}

static void the_same_search_twice_is_the_same(void **state)
{
    struct fl_plants p = {{0}};
    struct explore_result a, b;

    (void)state;
    fl_plant_add(&p, "W-drop-busy-gate");
    assert_int_equal(emu_explore_quick("writeback", &p, NULL, &a), FL_OK);
    assert_int_equal(emu_explore_quick("writeback", &p, NULL, &b), FL_OK);
    assert_true(a.violated);
    assert_int_equal(a.states, b.states);
    assert_string_equal(a.what, b.what);
}

/* First seed below @seeds whose walk is violated; the walk's check in @check. */
static uint64_t first_bad(const char *plant, const char *blind, uint64_t seeds, char *check)
{
    struct fl_plants p = {{0}};
    struct explore_result r;

    if (plant != NULL) {
        assert_int_equal(fl_plant_add(&p, plant), FL_OK);
    }
    if (blind != NULL) {
        assert_int_equal(fl_plant_add(&p, blind), FL_OK);
    }
    for (uint64_t s = 1; s <= seeds; s++) {
        assert_int_equal(emu_explore_walk(s, 3000, &p, NULL, &r), FL_OK);
        if (r.violated) {
            memcpy(check, r.check, sizeof r.check);
            return s;
        }
    }
    return 0;
}

static void walks_hold(void **state)
{
    char check[8] = "";
    uint64_t bad = first_bad(NULL, NULL, 300, check);

    (void)state;
    if (bad != 0) {
        fail_msg("seed %llu violates %s", (unsigned long long)bad, check);
    }
}

static void walks_find_planted_bugs(void **state)
{
    static const struct {
        const char *plant, *checks; /* what may be the first to see it */
    } bugs[] = {
        {"W-close-before-last-ack", "W1 W-end"},
        {"W-drop-unacked", "W2 W3"},
        {"W-drop-busy-gate", "W2"},
        {"W-clear-after-snap", "W2 W3"},
        {"W-retire-on-post", "W2 W3"},
        {"W-dclb-drop", "W2 W3"},
        {"W-send-clean", "W4"},
        {"W-miscount", "W5"},
        {"W-skip-period", "W6"},
        {"W-skip-fence", "W7 W3 W-end"},
        {"W-over-capacity", "W8"},
        {"W-threshold-lines", "W9"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
        char check[8] = "";
        uint64_t bad = first_bad(bugs[i].plant, NULL, 200, check);

        if (bad == 0 || strstr(bugs[i].checks, check) == NULL) {
            fail_msg("%s: seed %llu, seen by '%s', expected one of %s", bugs[i].plant,
                     (unsigned long long)bad, check, bugs[i].checks);
        }
    }
}

static void a_blind_oracle_sees_nothing(void **state)
{
    char check[8] = "";

    (void)state;
    assert_int_not_equal(first_bad("W-miscount", NULL, 20, check), 0);
    assert_string_equal(check, "W5");
    assert_int_equal(first_bad("W-miscount", "blind-W5", 20, check), 0);
    assert_int_not_equal(first_bad("W-over-capacity", NULL, 100, check), 0);
    assert_string_equal(check, "W8");
    assert_int_equal(first_bad("W-over-capacity", "blind-W8", 100, check), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_mechanism_is_refused),
        cmocka_unit_test(walks_hold),
        cmocka_unit_test(walks_find_planted_bugs),
        cmocka_unit_test(a_blind_oracle_sees_nothing),
        cmocka_unit_test(the_same_search_twice_is_the_same),
        cmocka_unit_test(every_state_holds_and_every_row_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
