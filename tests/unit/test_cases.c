/* SPDX-License-Identifier: Apache-2.0 */
/* emu/cases.c: test cases of many runs. */
#include "emu/cases.h"
#include "tests/support/markup.h"

static struct pool_note note(enum emu_exit verdict, uint64_t checked, uint64_t violated)
{
    struct pool_note n = {.verdict = verdict, .check_count = 2};

    strcpy(n.checks[0].id, "W1");
    n.checks[0].checked = checked;
    n.checks[0].violated = violated;
    strcpy(n.checks[1].id, "W3");
    n.checks[1].checked = 9;
    return n;
}

/** Suites "a" with seeds 12 (violated) and 3 (held), "b" with passing 1 (nothing to compare). */
static struct cases *three_runs(void)
{
    struct cases *c = cases_new();
    struct pool_note n = note(EMU_VIOLATED, 5, 2);

    assert_non_null(c);
    strcpy(n.key, "W1");
    strcpy(n.why, "W1 violated 2 times, first: <x> & \"y\"");
    assert_int_equal(cases_add(c, 1, &n), FL_ENOSPC); /* no suite yet */
    assert_int_equal(cases_suite(c, "a", "seed"), FL_OK);
    assert_int_equal(cases_add(c, 12, &n), FL_OK);
    n = note(EMU_HELD, 5, 0);
    assert_int_equal(cases_add(c, 3, &n), FL_OK);
    assert_int_equal(cases_suite(c, "b", "kill at c0.miss#"), FL_OK);
    n = note(EMU_HELD, 0, 0);
    assert_int_equal(cases_add(c, 1, &n), FL_OK);
    return c;
}

static void junit_has_a_case_for_each_seed_and_check(void **state)
{
    struct cases *c = three_runs();
    char *xml = cases_junit(c);

    (void)state;
    markup_is_sound(xml);
    assert_int_equal(markup_count(xml, "<testcase "), 9);
    assert_int_equal(markup_count(xml, "classname=\"W1\""), 3);
    assert_int_equal(markup_count(xml, "classname=\"verdict\""), 3);
    plans_contains(xml,
                   "<testsuite name=\"a\" tests=\"6\" failures=\"2\" errors=\"0\" skipped=\"0\"");
    plans_contains(xml,
                   "<testsuite name=\"b\" tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"1\"");
    plans_contains(xml,
                   "<testcase classname=\"W1\" name=\"a seed 12\"><failure message=\"violated 2 "
                   "times: W1 violated 2 times, first: &lt;x&gt; &amp; &quot;y&quot;\"/>");
    plans_contains(xml, "name=\"b kill at c0.miss#1\"><skipped");
    assert_true(strstr(xml, "a seed 3\"") < strstr(xml, "a seed 12\""));
    free(xml);
    cases_free(&c);
    assert_null(c);
}

static void tap_counts_on(void **state)
{
    struct cases *c = three_runs();
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    assert_non_null(f);
    cases_tap(f, c);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(strncmp(text, "TAP version 13\n1..9\nok 1 - a seed 3 W1 # 5 compared\n", 50),
                     0);
    plans_contains(text, "\nnot ok 4 - a seed 12 W1 # violated 2 times: W1 violated");
    plans_contains(text, "\nok 5 - a seed 12 W3 # 9 compared\n");
    plans_contains(text, "\nnot ok 6 - a seed 12 verdict # violated: W1");
    plans_contains(text, "\nok 7 - b kill at c0.miss 1 W1 # SKIP nothing");
    plans_contains(text, "\nok 9 - b kill at c0.miss 1 verdict # held\n");
    free(text);
    cases_free(&c);
}

static void many_runs_keep_their_order(void **state)
{
    struct cases *c = cases_new();
    struct pool_note n = note(EMU_HELD, 1, 0);

    (void)state;
    assert_int_equal(cases_suite(c, "s", "seed"), FL_OK);
    for (uint64_t i = 500; i > 0; i--)
        assert_int_equal(cases_add(c, i * 7, &n), FL_OK);
    char *xml = cases_junit(c);
    assert_int_equal(markup_count(xml, "<testcase "), 1500);
    const char *at = xml;
    for (uint64_t i = 1; i <= 500; i++) {
        char name[32];

        snprintf(name, sizeof(name), "\"s seed %d\"", (int)i * 7);
        at = strstr(at, name);
        assert_non_null(at);
    }
    free(xml);
    cases_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(junit_has_a_case_for_each_seed_and_check),
        cmocka_unit_test(tap_counts_on),
        cmocka_unit_test(many_runs_keep_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
