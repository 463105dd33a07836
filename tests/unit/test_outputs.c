/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs.c: verdict.json, run.json, metrics.json. */
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/runs.h"

static const char *text_at(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    if (s == NULL)
        fail_msg("no text \"%s\"", key);
    return s;
}

static json_int_t int_at(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);

    if (!json_is_integer(v))
        fail_msg("no whole number \"%s\"", key);
    return json_integer_value(v);
}

static void the_verdict_has_what_the_contract_says(void **state)
{
    struct out_run o = runs_new();
    char *text = out_verdict_json(&o, false);
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    (void)state;
    assert_non_null(j);
    assert_null(strchr(text, '\n'));
    assert_int_equal(int_at(j, "version"), 1);
    assert_string_equal(text_at(j, "scenario"), "t.lua");
    assert_string_equal(text_at(j, "fabric"), "sim");
    assert_string_equal(text_at(j, "tracker"), "actor");
    assert_int_equal(int_at(j, "seed"), 1);
    assert_string_equal(text_at(j, "verdict"), "held");
    assert_int_equal(int_at(j, "exit"), 0);
    assert_string_equal(text_at(j, "trace_hash"), "0000000000001234");
    assert_string_equal(text_at(j, "image_digest"), "fedcba9876543210");
    const json_t *check = json_array_get(json_object_get(j, "checks"), 1);
    assert_string_equal(text_at(check, "id"), "W3");
    assert_int_equal(int_at(check, "checked"), 8192);
    assert_int_equal(int_at(check, "violated"), 0);
    assert_string_equal(text_at(check, "first"), "");
    const json_t *fault = json_array_get(json_object_get(j, "faults"), 0);
    assert_string_equal(text_at(fault, "kind"), "kill m0");
    assert_string_equal(text_at(fault, "at"), "c0.flush_ack#3");
    assert_int_equal(int_at(fault, "asked"), 1);
    assert_int_equal(int_at(fault, "fired"), 1);
    const json_t *node = json_array_get(json_object_get(j, "nodes"), 1);
    assert_string_equal(text_at(node, "role"), "memory");
    assert_int_equal(int_at(node, "signal"), 9);
    const json_t *m = json_object_get(j, "metrics");
    assert_int_equal(int_at(m, "misses"), 12345);
    assert_true(json_is_real(json_object_get(m, "ratio")));
    assert_string_equal(text_at(m, "close.heap"), "FL_OK");
    json_decref(j);
    free(text);
    runs_free(&o);
}

static void a_violation_has_its_story(void **state)
{
    struct out_run o = runs_new();
    struct result_check *c = result_check(runs_result(&o), "W1", "bytes");

    (void)state;
    c->violated = 1;
    c->what = (struct result_first){
        .expected = "1", .seen = "2", .writer = "c0", .writer_ns = 5, .t_ns = 900};
    char *text = out_verdict_json(&o, false);
    json_t *j = json_loads(text, 0, NULL), *checks = json_object_get(j, "checks");
    const json_t *what = json_object_get(json_array_get(checks, 0), "what");
    assert_string_equal(text_at(what, "expected"), "1");
    assert_string_equal(text_at(what, "seen"), "2");
    assert_string_equal(text_at(what, "writer"), "c0");
    assert_int_equal(int_at(what, "writer_ns"), 5);
    assert_int_equal(int_at(what, "t_ns"), 900);
    assert_string_equal(text_at(json_object_get(what, "fault"), "kind"), "kill m0");
    assert_true(json_is_null(json_object_get(json_array_get(checks, 1), "what")));
    json_decref(j);
    free(text);
    c->what = (struct result_first){.expected = ""};
    text = out_verdict_json(&o, false);
    j = json_loads(text, 0, NULL);
    what = json_object_get(json_array_get(json_object_get(j, "checks"), 0), "what");
    assert_true(json_is_null(json_object_get(what, "writer")));
    assert_true(json_is_null(json_object_get(what, "t_ns")));
    assert_true(json_is_null(json_object_get(what, "fault")));
    json_decref(j);
    free(text);
    runs_free(&o);
}

static void every_verdict_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(out_verdict_name(EMU_HELD), "held");
    assert_string_equal(out_verdict_name(EMU_VIOLATED), "violated");
    assert_string_equal(out_verdict_name(EMU_UNDECIDED), "undecided");
    assert_string_equal(out_verdict_name(EMU_NO_PROGRESS), "no-progress");
    assert_string_equal(out_verdict_name(EMU_SKIPPED), "skipped");
}

static void a_check_without_a_record_compared_nothing(void **state)
{
    struct out_run o = runs_new();

    (void)state;
    runs_result(&o)->check_count = 1;
    runs_result(&o)->trace_hash = 0;
    char *text = out_verdict_json(&o, true);
    json_t *j = json_loads(text, 0, NULL);
    assert_int_equal(int_at(json_array_get(json_object_get(j, "checks"), 1), "checked"), 0);
    assert_true(json_is_null(json_object_get(j, "trace_hash")));
    json_decref(j);
    free(text);
    runs_free(&o);
}

/* A node's last words may be any bytes. */
static void strange_bytes_do_not_break_the_file(void **state)
{
    struct out_run o = runs_new();

    (void)state;
    strcpy(runs_result(&o)->nodes[0].why, "panic \xff\xfe \"quoted\"\n\x01");
    char *text = out_verdict_json(&o, false);
    assert_non_null(text);
    json_t *j = json_loads(text, 0, NULL);
    assert_string_equal(text_at(json_array_get(json_object_get(j, "nodes"), 0), "why"),
                        "panic ?? \"quoted\"\n\x01");
    json_decref(j);
    free(text);
    runs_free(&o);
}

static void all_files_are_written(void **state)
{
    struct out_run o = runs_new();
    struct fl_errmsg err = {""};
    struct plan *p = calloc(1, sizeof(*p));

    (void)state;
    assert_int_equal(mkdir(runs_path("all"), 0755), 0);
    if (out_write(&o, runs_path("all"), &err) != FL_OK)
        fail_msg("%s", err.text);
    static const char *const names[] = {"verdict.json",   "run.json",   "metrics.json", "junit.xml",
                                        "history.ndjson", "trace.json", "report.html"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];

        snprintf(name, sizeof(name), "all/%s", names[i]);
        assert_int_equal(access(runs_path(name), R_OK), 0);
    }
    /* run.json holds the plan as it was run: it reads back equal */
    json_t *run = json_load_file(runs_path("all/run.json"), 0, NULL);
    char *plan = json_dumps(json_object_get(run, "plan"), 0);
    if (plan_from_json(plan, p, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(p, o.p, sizeof(*p));
    assert_int_equal(int_at(run, "version"), 1);
    assert_int_equal(json_array_size(json_object_get(run, "faults")), 1);
    json_t *trace = json_load_file(runs_path("all/trace.json"), 0, NULL);
    assert_true(json_array_size(json_object_get(trace, "traceEvents")) >= 3);
    json_t *metrics = json_load_file(runs_path("all/metrics.json"), 0, NULL);
    assert_string_equal(text_at(metrics, "scenario"), "t");
    json_decref(metrics);
    json_decref(trace);
    json_decref(run);
    free(plan);
    free(p);
    runs_free(&o);
}

static void a_directory_that_is_gone_is_an_error(void **state)
{
    struct out_run o = runs_new();
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(out_write(&o, runs_path("nowhere"), &err), FL_EINVAL);
    plans_contains(err.text, "--out");
    runs_free(&o);
}

static void names_of_scenarios(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    char name[64];

    (void)state;
    strcpy(p->file, "scenarios/writeback/basic.lua");
    out_scenario_name(p, name, sizeof(name));
    assert_string_equal(name, "basic");
    strcpy(p->file, "x");
    out_scenario_name(p, name, sizeof(name));
    assert_string_equal(name, "x");
    strcpy(p->file, "dir/");
    out_scenario_name(p, name, sizeof(name));
    assert_string_equal(name, "scenario");
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_has_what_the_contract_says),
        cmocka_unit_test(a_violation_has_its_story),
        cmocka_unit_test(every_verdict_has_its_name),
        cmocka_unit_test(a_check_without_a_record_compared_nothing),
        cmocka_unit_test(strange_bytes_do_not_break_the_file),
        cmocka_unit_test(all_files_are_written),
        cmocka_unit_test(a_directory_that_is_gone_is_an_error),
        cmocka_unit_test(names_of_scenarios),
    };

    return cmocka_run_group_tests(tests, runs_make_dir, runs_remove_dir);
}
