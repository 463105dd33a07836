/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs_text.c: what people read. */
#include "tests/support/runs.h"

static char *report_of(const struct out_run *o)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    out_report(f, o);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void a_report_says_what_people_compare(void **state)
{
    struct out_run o = runs_new();

    (void)state;
    strcpy(o.dir, "runs/t/1");
    char *text = report_of(&o);
    plans_contains(text, "scenario  t.lua  basic\n");
    plans_contains(text, "fabric sim, tracker actor, seed 1, 1.50 ms, trace 0000000000001234");
    plans_contains(text, "12 345\n");
    plans_contains(text, "88.0 us");
    plans_contains(text, "2.00 KiB");
    plans_contains(text, "8.00 KiB   4.00 times as much");
    plans_contains(text, "W3   held      8 192 bytes compared");
    plans_contains(text, "met      t.lua:9: expected misses > 1, seen 12345");
    plans_contains(text, "kill m0              at c0.flush_ack#3");
    plans_contains(text, "ended by signal 9");
    plans_contains(text, "verdict   HELD: ");
    plans_contains(text, "files     runs/t/1\n");
    free(text);
    runs_free(&o);
}

static void bad_news_are_written_out(void **state)
{
    struct out_run o = runs_new();
    struct result *r = runs_result(&o);

    (void)state;
    result_check(r, "W1", "bytes")->violated = 2;
    strcpy(result_check(r, "W1", "bytes")->first, "page 9");
    result_check(r, "W3", "bytes")->checked = 0;
    r->faults[0].fired = 0;
    r->nodes[0].exit_code = 6;
    strcpy(r->nodes[0].why, "assertion");
    result_metric(r, "misses", 0);
    result_metric(r, "lost_lines", 3);
    result_metric(r, "fences", 2);
    o.verdict = EMU_NO_PROGRESS;
    char *text = report_of(&o);
    plans_contains(text, "VIOLATED");
    plans_contains(text, "2 times, first: page 9");
    plans_contains(text, "nothing was compared");
    plans_contains(text, "never fired");
    plans_contains(text, "NOT MET  t.lua:9: expected misses > 1, seen 0");
    plans_contains(text, "ended with status 6  assertion");
    plans_contains(text, "lines lost with a node");
    plans_contains(text, "verdict   NO-PROGRESS");
    free(text);
    runs_free(&o);
}

static void variants_stand_beside_each_other(void **state)
{
    struct out_run o[2] = {runs_new(), runs_new()};
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    o[0].variant = "T0";
    o[1].variant = "T64";
    o[1].verdict = EMU_VIOLATED;
    out_report_variants(f, o, 2);
    fclose(f);
    plans_contains(text, "variant");
    plans_contains(text, "T0");
    plans_contains(text, "12 345");
    plans_contains(text, "held\n");
    plans_contains(text, "violated\n");
    free(text);
    runs_free(&o[0]);
    runs_free(&o[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_says_what_people_compare),
        cmocka_unit_test(bad_news_are_written_out),
        cmocka_unit_test(variants_stand_beside_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
