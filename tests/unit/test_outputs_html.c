/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs_html.c: report.html. */
#include "tests/support/markup.h"
#include "tests/support/runs.h"

static void a_run_that_held_tells_what_was_compared(void **state)
{
    struct out_run o = runs_new();
    char *text;

    (void)state;
    snprintf(o.dir, sizeof(o.dir), "runs/t/1");
    text = out_html(&o);
    markup_is_sound(text);
    plans_contains(text, "<b>HELD</b>");
    plans_contains(text, "4 096 bytes");
    plans_contains(text, "farline replay runs/t/1/run.json");
    plans_contains(text, "<td>kill m0</td>");
    plans_contains(text, "<td>c0.flush_ack#3</td>");
    plans_contains(text, "signal 9");
    plans_contains(text, "expected misses &gt; 1, seen 12345");
    plans_contains(text, "<td>miss_ns_p50</td>\n<td class=\"n\">88.0 us</td>");
    assert_null(strstr(text, "What went wrong"));
    assert_null(strstr(text, "http")); /* nothing comes from elsewhere */
    assert_null(strstr(text, "<script"));
    free(text);
    runs_free(&o);
}

static void a_violation_is_told_with_writer_and_fault(void **state)
{
    struct out_run o = runs_new();
    struct result_check *c = result_check(runs_result(&o), "W3", "bytes");
    char *text;

    (void)state;
    c->violated = 2;
    strcpy(c->first, "page 7 <is> wrong");
    c->what = (struct result_first){.expected = "byte 1: 0x11",
                                    .seen = "0x22",
                                    .writer = "c0, thread 1 & others",
                                    .writer_ns = 600,
                                    .t_ns = 2500};
    o.verdict = EMU_VIOLATED;
    text = out_html(&o);
    markup_is_sound(text);
    plans_contains(text, "<h3>W3: no lost write</h3>");
    plans_contains(text, "page 7 &lt;is&gt; wrong, 2.5 us after the start");
    plans_contains(text, "<th>expected</th><td>byte 1: 0x11</td>");
    plans_contains(text, "<th>seen</th><td>0x22</td>");
    plans_contains(text, "c0, thread 1 &amp; others, 600 ns after the start");
    plans_contains(text, "kill m0, asked for at c0.flush_ack#3, fired, 700 ns after the start");
    free(text);
    c->what.t_ns = 650; /* before the fault */
    text = out_html(&o);
    plans_contains(text, "<th>fault before it</th><td>none had fired</td>");
    free(text);
    runs_free(&o);
}

static void what_is_missing_is_said(void **state)
{
    struct out_run o = runs_new();
    char *text;

    (void)state;
    runs_result(&o)->check_count = 1;
    runs_result(&o)->faults[0].fired = 0;
    runs_result(&o)->metric_count = 0;
    strcpy(((struct plan *)o.p)->expects[0].metric, "no.such");
    strcpy(runs_result(&o)->why, "the run's deadline passed");
    o.verdict = EMU_UNDECIDED;
    text = out_html(&o);
    markup_is_sound(text);
    plans_contains(text, "nothing was compared");
    plans_contains(text, "<td class=\"n bad\">0</td>");
    plans_contains(text, "<td class=\"bad\">no such figure</td>");
    plans_contains(text, "the run&#39;s deadline passed");
    assert_null(strstr(text, "<h2>Figures"));
    free(text);
    runs_result(&o)->fault_count = 0;
    text = out_html(&o);
    plans_contains(text, "None was asked for.");
    free(text);
    runs_free(&o);
}

static void variants_are_replayed_one_by_one(void **state)
{
    struct out_run o = runs_new();
    struct plan *p = (struct plan *)o.p;
    char *text;

    (void)state;
    p->variant_count = 2;
    strcpy(p->variants[0].name, "direct");
    strcpy(p->variants[1].name, "log");
    o.variants = 2;
    text = out_html(&o);
    markup_is_sound(text);
    plans_contains(text, "farline replay ./direct/run.json\nfarline replay ./log/run.json\n");
    free(text);
    runs_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_held_tells_what_was_compared),
        cmocka_unit_test(a_violation_is_told_with_writer_and_fault),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(variants_are_replayed_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
