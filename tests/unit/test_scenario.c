/* SPDX-License-Identifier: Apache-2.0 */
/* emu/scenario.c: one evaluation: settings from outside, seeds, what must be finished, messages. */
#include "tests/support/plans.h"

static const struct scn_limits limits = {32 << 20, 2000000, 4096};

static int eval_sets(const char *extra, const char *const *sets, int count, struct plan *p,
                     struct fl_errmsg *err)
{
    char text[4096];

    snprintf(text, sizeof(text), "%s%s", plans_basic, extra);
    return scn_eval("dir/t.lua", text, strlen(text), sets, count, &limits, p, err);
}

static void a_scenario_becomes_a_plan(void **state)
{
    struct plan *p = plans_new("");

    (void)state;
    assert_string_equal(p->title, "basic");
    assert_string_equal(p->file, "t.lua");
    assert_int_equal(p->node_count, 3);
    assert_int_equal(p->nodes[0].role, PLAN_COMPUTE);
    assert_int_equal(p->nodes[0].device_memory_bytes, 256 << 10);
    assert_int_equal(p->nodes[0].line, 2);
    assert_int_equal(p->links[0].rate_bps, UINT64_C(10000000000));
    assert_int_equal(p->regions[0].chunk_count, 2);
    assert_int_equal(p->regions[0].chunks[1].page_count, 128);
    assert_int_equal(p->workloads[0].threads, 2);
    assert_int_equal(p->workloads[0].len_bytes, 300);
    assert_int_equal(p->check_count, 2);
    free(p);
}

static void settings_from_outside_win(void **state)
{
    static const char *const sets[] = {"region.heap.threshold=5", "workload.w.ops=77"};
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(eval_sets("", sets, 2, p, &err), FL_OK);
    assert_int_equal(p->regions[0].threshold_lines, 5);
    assert_int_equal(p->workloads[0].ops, 77);
    static const char *const bad[] = {"region.heap.treshold=5"};
    assert_int_equal(eval_sets("", bad, 1, p, &err), FL_EINVAL);
    plans_contains(err.text, "--set region.heap.treshold=5");
    plans_contains(err.text, "did you mean \"threshold\"");
    static const char *const odd[] = {"seed=x"};
    assert_int_equal(eval_sets("", odd, 1, p, &err), FL_EINVAL);
    free(p);
}

/* math.random follows the seed, and the seed from outside counts from the first line. */
static void random_numbers_follow_the_seed(void **state)
{
    static const char draw[] = "seed (5) deadline (math.random (1000) .. \"s\")";
    static const char *const one[] = {"seed=1234"}, *const two[] = {"seed=1235"};
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};
    uint64_t plain, first;

    (void)state;
    assert_int_equal(eval_sets(draw, NULL, 0, p, &err), FL_OK);
    assert_int_equal(p->seed, 5);
    plain = p->run_deadline_ns;
    assert_int_equal(eval_sets(draw, NULL, 0, p, &err), FL_OK);
    assert_true(p->run_deadline_ns == plain);
    assert_int_equal(eval_sets(draw, one, 1, p, &err), FL_OK);
    assert_int_equal(p->seed, 1234);
    first = p->run_deadline_ns;
    assert_int_equal(eval_sets(draw, one, 1, p, &err), FL_OK);
    assert_true(p->run_deadline_ns == first);
    assert_int_equal(eval_sets(draw, two, 1, p, &err), FL_OK);
    assert_true(p->run_deadline_ns != first);
    free(p);
}

static void what_was_begun_must_be_finished(void **state)
{
    (void)state;
    plans_refused("node \"n\"", "node \"n\" has no settings; write node \"n\" { ... }");
    plans_refused("link (\"c0\", \"m1\")", "link has no settings");
    plans_refused("at (\"5ms\")", "says when, but not what");
    plans_refused("expect (\"evictions\")", "but no value");
    plans_refused("variant \"v\"", "has no settings");
}

static void something_must_be_judged(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(plans_eval_text("node \"c0\" { role = \"compute\" }", p, &err), FL_EINVAL);
    assert_string_equal(err.text, "t.lua: nothing is judged; add check { \"W1\", \"W3\" } or an "
                                  "expectation");
    free(p);
}

static void messages_carry_file_and_line(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(plans_eval_text("\n\nx = = 1", p, &err), FL_EINVAL);
    plans_contains(err.text, "t.lua:3: unexpected symbol");
    assert_int_equal(plans_eval_text("\nlocal t = nil; t.x = 1", p, &err), FL_EINVAL);
    plans_contains(err.text, "t.lua:2: attempt to index");
    assert_int_equal(plans_eval_text("\n\ntable.concat (1)", p, &err), FL_EINVAL);
    plans_contains(err.text, "t.lua:3: ");
    assert_int_equal(plans_eval_text("error ({})", p, &err), FL_EINVAL);
    plans_contains(err.text, "not a text");
    assert_int_equal(plans_eval_text("error (\"one\\ntwo\", 0)", p, &err), FL_EINVAL);
    assert_string_equal(err.text, "t.lua:1: one");
    assert_int_equal(plans_eval_text("error ()", p, &err), FL_EINVAL);
    assert_int_equal(plans_eval_text("\033Lua", p, &err), FL_EINVAL); /* no byte code */
    free(p);
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};
    char file[400];

    (void)state;
    memset(file, 'd', sizeof(file));
    file[sizeof(file) - 1] = '\0';
    assert_int_equal(scn_eval(file, "", 0, NULL, 0, &limits, p, &err), FL_EINVAL);
    plans_contains(err.text, "longer than");
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scenario_becomes_a_plan),
        cmocka_unit_test(settings_from_outside_win),
        cmocka_unit_test(random_numbers_follow_the_seed),
        cmocka_unit_test(what_was_begun_must_be_finished),
        cmocka_unit_test(something_must_be_judged),
        cmocka_unit_test(messages_carry_file_and_line),
        cmocka_unit_test(a_path_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
