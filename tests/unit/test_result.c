/* SPDX-License-Identifier: Apache-2.0 */
/* emu/result.c: figures, checks, and the verdict by the contract. */
#include "tests/support/plans.h"

struct fixture {
    struct plan *p;
    struct result *r;
    struct fl_errmsg why;
};

/** A run in which everything held. */
static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->p = plans_new("expect (\"evictions\") : above (0) expect (\"close.heap\") : is (\"FL_OK\") "
                     "at (event (\"c0.flush_ack\", 3)) : kill (\"m0\")");
    f->r = result_new();
    assert_non_null(f->r);
    result_check(f->r, "W1", "bytes")->checked = 10;
    result_check(f->r, "W3", "bytes")->checked = 20;
    result_metric(f->r, "evictions", 5);
    result_metric_text(f->r, "close.heap", "FL_OK");
    f->r->fault_count = 1;
    f->r->faults[0] = (struct result_fault){.kind = "kill m0", .at = "c0.flush_ack#3", 1, 1, 5};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    result_free(&f->r);
    result_free(&f->r);
    free(f->p);
    free(f);
    return 0;
}

static void judged(struct fixture *f, enum emu_exit want, const char *why)
{
    assert_int_equal(result_judge(f->p, f->r, &f->why), want);
    plans_contains(f->why.text, why);
}

static void all_held(void **state)
{
    judged(*state, EMU_HELD, "2 invariants and 2 expectations held");
}

static void a_violated_check_is_violated(void **state)
{
    struct fixture *f = *state;
    struct result_check *c = result_check(f->r, "W3", "bytes");

    c->violated = 2;
    strcpy(c->first, "page 7");
    f->r->no_progress = f->r->timed_out = true; /* 1 goes before 3 and 2 */
    f->r->faults[0].fired = 0;
    judged(f, EMU_VIOLATED, "W3 violated 2 times, first: page 7");
}

static void a_failed_expectation_is_violated(void **state)
{
    struct fixture *f = *state;

    result_metric(f->r, "evictions", 0);
    judged(f, EMU_VIOLATED, "t.lua:9: expected evictions > 0, seen 0");
    result_metric(f->r, "evictions", 1);
    result_metric_text(f->r, "close.heap", "FL_EPEERDEAD");
    judged(f, EMU_VIOLATED, "expected close.heap = FL_OK, seen FL_EPEERDEAD");
    result_metric(f->r, "close.heap", 0); /* a number is no word */
    judged(f, EMU_VIOLATED, "close.heap");
}

static void a_failed_node_is_violated(void **state)
{
    struct fixture *f = *state;

    f->r->node_failed = true;
    strcpy(f->r->why, "node c0 aborted: assertion");
    judged(f, EMU_VIOLATED, "node c0 aborted");
}

static void no_progress_goes_before_undecided(void **state)
{
    struct fixture *f = *state;

    f->r->no_progress = f->r->timed_out = true;
    judged(f, EMU_NO_PROGRESS, "no progress");
}

static void a_check_that_compared_nothing_is_undecided(void **state)
{
    struct fixture *f = *state;

    result_check(f->r, "W3", "bytes")->checked = 0;
    judged(f, EMU_UNDECIDED, "W3 was asked for, but nothing was compared");
    f->r->check_count = 1; /* it is not even there */
    judged(f, EMU_UNDECIDED, "W3");
}

static void a_fault_that_never_fired_is_undecided(void **state)
{
    struct fixture *f = *state;

    f->r->faults[0].fired = 0;
    judged(f, EMU_UNDECIDED, "\"kill m0\" at c0.flush_ack#3 never fired");
}

static void a_late_run_is_undecided(void **state)
{
    struct fixture *f = *state;

    f->r->timed_out = true;
    judged(f, EMU_UNDECIDED, "deadline");
}

static void an_unknown_figure_is_undecided(void **state)
{
    struct fixture *f = *state;

    strcpy(f->p->expects[0].metric, "evictoins");
    judged(f, EMU_UNDECIDED, "did you mean \"evictions\"");
}

static void a_skipped_run_is_skipped(void **state)
{
    struct fixture *f = *state;

    f->r->skipped = true;
    strcpy(f->r->why, "no RDMA device");
    judged(f, EMU_SKIPPED, "no RDMA device");
}

static void what_was_not_asked_for_does_not_count(void **state)
{
    struct fixture *f = *state;

    result_check(f->r, "W8", "states")->violated = 5;
    judged(f, EMU_HELD, "held");
}

static void every_comparison_compares(void **state)
{
    static const struct {
        enum plan_cmp cmp;
        bool below, equal, above;
    } t[] = {{PLAN_EQ, 0, 1, 0}, {PLAN_NE, 1, 0, 1}, {PLAN_LT, 1, 0, 0},
             {PLAN_LE, 1, 1, 0}, {PLAN_GT, 0, 0, 1}, {PLAN_GE, 0, 1, 1}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        f->p->expects[0].cmp = t[i].cmp;
        f->p->expects[0].value = 10;
        result_metric(f->r, "evictions", 9);
        assert_int_equal(result_expect(f->p, 0, f->r, &f->why) == EXPECT_HOLDS, t[i].below);
        result_metric(f->r, "evictions", 10);
        assert_int_equal(result_expect(f->p, 0, f->r, &f->why) == EXPECT_HOLDS, t[i].equal);
        result_metric(f->r, "evictions", 11);
        assert_int_equal(result_expect(f->p, 0, f->r, &f->why) == EXPECT_HOLDS, t[i].above);
    }
}

static double value_of(const struct result *r, const char *name)
{
    for (size_t i = 0; i < r->metric_count; i++)
        if (strcmp(r->metrics[i].name, name) == 0)
            return r->metrics[i].value;
    fail_msg("no figure %s", name);
    return 0;
}

static void figures_of_nodes_are_summed(void **state)
{
    struct fixture *f = *state;

    strcpy(f->r->nodes[0].name, "c0");
    strcpy(f->r->nodes[1].name, "c1");
    f->r->node_count = 2;
    result_metric(f->r, "c0.misses", 3);
    result_metric(f->r, "c1.misses", 4);
    result_metric(f->r, "c0.miss_ns_p50", 30);
    result_metric(f->r, "c1.miss_ns_p50", 20);
    result_metric(f->r, "c1.dclb_max", 8);
    result_metric(f->r, "sqlite.rows", 8);
    for (int i = 0; i < 2; i++) { /* twice: the same */
        result_sum_metrics(f->r);
        assert_int_equal(value_of(f->r, "misses"), 7);
        assert_int_equal(value_of(f->r, "miss_ns_p50"), 30);
        assert_int_equal(value_of(f->r, "dclb_max"), 8);
    }
    for (size_t i = 0; i < f->r->metric_count; i++)
        assert_string_not_equal(f->r->metrics[i].name, "rows");
}

static void tables_are_bounded(void **state)
{
    struct fixture *f = *state;
    char name[16];

    for (int i = 0; i < RESULT_METRICS_MAX + 10; i++) {
        snprintf(name, sizeof(name), "m%d", i);
        result_metric(f->r, name, i);
    }
    assert_int_equal(f->r->metric_count, RESULT_METRICS_MAX);
    for (int i = 0; i < PLAN_CHECKS_MAX + 2; i++) {
        snprintf(name, sizeof(name), "X%d", i);
        struct result_check *c = result_check(f->r, name, "u");
        assert_int_equal(c == NULL,
                         f->r->check_count == PLAN_CHECKS_MAX && i >= PLAN_CHECKS_MAX - 2);
    }
}

static void the_worse_of_two(void **state)
{
    (void)state;
    assert_int_equal(emu_exit_worse(EMU_HELD, EMU_HELD), EMU_HELD);
    assert_int_equal(emu_exit_worse(EMU_HELD, EMU_SKIPPED), EMU_SKIPPED);
    assert_int_equal(emu_exit_worse(EMU_UNDECIDED, EMU_NO_PROGRESS), EMU_NO_PROGRESS);
    assert_int_equal(emu_exit_worse(EMU_NO_PROGRESS, EMU_VIOLATED), EMU_VIOLATED);
    assert_int_equal(emu_exit_worse(EMU_USAGE, EMU_UNDECIDED), EMU_UNDECIDED);
    assert_int_equal(emu_exit_worse(EMU_USAGE, EMU_SKIPPED), EMU_USAGE);
}

static void moved_figures_are_found(void **state)
{
    struct result *r = result_new(), *copy = result_new();

    (void)state;
    result_metric(r, "b", 2);
    result_metric(r, "a", 1);
    memcpy(copy->metrics, r->metrics, 2 * sizeof(*r->metrics));
    copy->metric_count = 2;
    result_metrics_moved(copy);
    result_free(&r);
    result_metric(copy, "a", 5);
    result_metric(copy, "c", 3);
    assert_int_equal(copy->metric_count, 3);
    assert_true(copy->metrics[1].value > 4);
    result_free(&copy);
}

static void the_fault_before_a_moment(void **state)
{
    struct result *r = result_new();
    struct result_first f = {.t_ns = 70, .writer_ns = 40};

    (void)state;
    r->fault_count = 3;
    r->faults[0] = (struct result_fault){.kind = "a", .fired = 1, .t_ns = 50};
    r->faults[1] = (struct result_fault){.kind = "b", .fired = 1, .t_ns = 20};
    r->faults[2] = (struct result_fault){.kind = "c", .fired = 0, .t_ns = 60};
    assert_ptr_equal(result_fault_before(r, 70), &r->faults[0]);
    assert_ptr_equal(result_fault_before(r, 50), &r->faults[0]);
    assert_ptr_equal(result_fault_before(r, 49), &r->faults[1]);
    assert_null(result_fault_before(r, 19));
    assert_null(result_fault_before(r, 0)); /* when it was is not known */
    result_first_rebase(&f, 60);
    assert_int_equal(f.t_ns, 10);
    assert_int_equal(f.writer_ns, 1); /* before the start, but known */
    f.t_ns = 0;
    result_first_rebase(&f, 60);
    assert_int_equal(f.t_ns, 0);
    result_free(&r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(all_held),
        T(a_violated_check_is_violated),
        T(a_failed_expectation_is_violated),
        T(a_failed_node_is_violated),
        T(no_progress_goes_before_undecided),
        T(a_check_that_compared_nothing_is_undecided),
        T(a_fault_that_never_fired_is_undecided),
        T(a_late_run_is_undecided),
        T(an_unknown_figure_is_undecided),
        T(a_skipped_run_is_skipped),
        T(what_was_not_asked_for_does_not_count),
        T(every_comparison_compares),
        T(figures_of_nodes_are_summed),
        T(tables_are_bounded),
        cmocka_unit_test(the_worse_of_two),
        cmocka_unit_test(the_fault_before_a_moment),
        cmocka_unit_test(moved_figures_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
