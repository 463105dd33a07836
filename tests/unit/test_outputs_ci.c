/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs_ci.c: JUnit and TAP. */
#include "tests/support/runs.h"

static char *tap_of(const struct out_run *o, size_t count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    out_tap(f, o, count);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void held_checks_pass(void **state)
{
    struct out_run o = runs_new();
    char *xml = out_junit(&o, 1), *tap = tap_of(&o, 1);

    (void)state;
    plans_contains(xml, "<testsuite name=\"t seed 1\" tests=\"3\" failures=\"0\" errors=\"0\" "
                        "skipped=\"0\" time=\"0.001500\">");
    plans_contains(xml,
                   "<testcase classname=\"W3\" name=\"t seed 1\"><system-out>8192 bytes compared");
    plans_contains(xml, "classname=\"verdict\"");
    plans_contains(tap, "TAP version 13\n1..3\nok 1 - t seed 1 W1 # 4096 bytes compared\n");
    plans_contains(tap, "ok 3 - t seed 1 verdict # held");
    free(tap);
    free(xml);
    runs_free(&o);
}

static void violations_fail_and_silence_is_an_error(void **state)
{
    struct out_run o = runs_new();

    (void)state;
    result_check(runs_result(&o), "W1", "bytes")->violated = 3;
    strcpy(result_check(runs_result(&o), "W1", "bytes")->first, "page <7> & \"x\"\x01");
    result_check(runs_result(&o), "W3", "bytes")->checked = 0;
    o.verdict = EMU_VIOLATED;
    char *xml = out_junit(&o, 1), *tap = tap_of(&o, 1);
    plans_contains(xml, "failures=\"2\" errors=\"1\"");
    plans_contains(xml, "violated 3 times, first: page &lt;7&gt; &amp; &quot;x&quot;?");
    plans_contains(xml, "<error message=\"nothing was compared\"/>");
    plans_contains(tap, "not ok 1 - t seed 1 W1 # violated 3 times");
    plans_contains(tap, "not ok 2 - t seed 1 W3");
    plans_contains(tap, "not ok 3 - t seed 1 verdict # violated");
    free(tap);
    free(xml);
    runs_free(&o);
}

static void skipped_runs_are_counted(void **state)
{
    struct out_run o = runs_new();

    (void)state;
    o.verdict = EMU_SKIPPED;
    strcpy(o.why, "no RDMA device");
    o.variant = "V1";
    char *xml = out_junit(&o, 1), *tap = tap_of(&o, 1);
    plans_contains(xml,
                   "name=\"t/V1 seed 1\" tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"3\"");
    plans_contains(xml, "<skipped message=\"no RDMA device\"/>");
    plans_contains(tap, "ok 1 - t/V1 seed 1 W1 # SKIP no RDMA device");
    free(tap);
    free(xml);
    runs_free(&o);
}

static void several_runs_number_on(void **state)
{
    struct out_run o[2] = {runs_new(), runs_new()};

    (void)state;
    o[1].verdict = EMU_UNDECIDED;
    strcpy(o[1].why, "fault \"#3\" never fired");
    char *tap = tap_of(o, 2), *xml = out_junit(o, 2);
    plans_contains(tap, "1..6\n");
    plans_contains(tap, "ok 4 - t seed 1 W1");
    plans_contains(tap, "not ok 6 - t seed 1 verdict # undecided: fault \" 3\" never fired\n");
    plans_contains(xml, "<error message=\"undecided: ");
    free(xml);
    free(tap);
    runs_free(&o[0]);
    runs_free(&o[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_checks_pass),
        cmocka_unit_test(violations_fail_and_silence_is_an_error),
        cmocka_unit_test(skipped_runs_are_counted),
        cmocka_unit_test(several_runs_number_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
