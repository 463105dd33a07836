/* SPDX-License-Identifier: Apache-2.0 */
/* emu/swarm.c, emu/shrink.c: faults drawn from seeds hold, and what fails shrinks to less that fails
 * in the same way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "emu/shrink.h"
#include "emu/swarm.h"
#include "tests/sim/plans.h"

enum { SEEDS = 200 };

static struct plan *base_of(const char *plant)
{
    struct plan *p = sim_plan(1, 2, 32, PLAN_RANDOM, 2, 400);

    p->workloads[0].len_bytes = 100;
    if (plant != NULL)
        assert_int_equal(fl_plant_add(&p->plants, plant), FL_OK);
    return p;
}

static bool lies(unsigned kind)
{
    return kind == PLAN_FAULT + TP_FAULT_DONE_EARLY || kind == PLAN_FAULT + TP_FAULT_SHORT_READ ||
           kind == PLAN_FAULT + TP_FAULT_STALE_READ || kind == PLAN_FAULT + TP_FAULT_BIT_FLIP;
}

/* Only on demand, and then they are caught. */
static void lies_are_drawn_on_demand(void **state)
{
    struct plan *base = base_of(NULL), *p = malloc(sizeof(*p));
    uint32_t kinds[POOL_KINDS] = {0}, violated = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct pool_note n = {.verdict = EMU_HELD};
        bool drawn = swarm_draw(base, seed, true, p);

        for (uint16_t i = 0; i < p->step_count; i++)
            kinds[plan_step_kind(&p->steps[i])]++;
        if (drawn && seed < 40)
            swarm_run(p, drawn, false, &n);
        violated += n.verdict == EMU_VIOLATED;
    }
    for (unsigned k = 0; k < POOL_KINDS; k++)
        if (lies(k))
            assert_true(kinds[k] > 10);
    assert_true(violated > 3);
    free(base);
    free(p);
}

/* What is about one-sided writes is left out where there are none. */
static void kinds_that_have_nothing_to_hit_are_not_drawn(void **state)
{
    struct plan *base = base_of(NULL), *p = malloc(sizeof(*p));

    (void)state;
    base->regions[0].path = WB_LOG;
    for (uint64_t seed = 0; seed < 300; seed++) {
        (void)swarm_draw(base, seed, true, p);
        for (uint16_t i = 0; i < p->step_count; i++)
            assert_true(plan_step_kind(&p->steps[i]) != PLAN_FAULT + TP_FAULT_STUCK &&
                        plan_step_kind(&p->steps[i]) != PLAN_FAULT + TP_FAULT_DONE_EARLY);
    }
    free(base);
    free(p);
}

static void drawn_faults_depend_on_the_seed_alone_and_make_valid_plans(void **state)
{
    struct plan *base = base_of(NULL), *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
    uint32_t kinds[POOL_KINDS] = {0}, quiet = 0, at_site = 0;
    struct fl_errmsg err;

    (void)state;
    for (uint64_t seed = 0; seed < 900; seed++) {
        memset(a, 1, sizeof(*a));
        bool drawn = swarm_draw(base, seed, false, a);
        assert_true(swarm_draw(base, seed, false, b) == drawn);
        assert_memory_equal(a, b, sizeof(*a));
        if (plan_validate(a, &err) != FL_OK)
            fail_msg("seed %d: %s", (int)seed, err.text);
        assert_int_equal(a->seed, seed);
        assert_true(drawn == (a->step_count > 0));
        quiet += !drawn;
        for (uint16_t i = 0; i < a->step_count; i++) {
            kinds[plan_step_kind(&a->steps[i])]++;
            at_site += a->steps[i].when == PLAN_AT_SITE;
        }
    }
    assert_true(quiet > 90 && quiet < 300 && at_site > 300);
    for (unsigned k = 0; k < POOL_KINDS; k++)
        if (plan_step_info(k) != NULL && (lies(k) || k == PLAN_FAULT + TP_FAULT_REG_FAIL))
            assert_int_equal(kinds[k], 0);
        else if (plan_step_info(k) != NULL && kinds[k] < 10)
            fail_msg("%s was drawn %d times", plan_step_info(k)->name, (int)kinds[k]);
    free(base);
    free(a);
    free(b);
}

static void random_faults_violate_nothing(void **state)
{
    struct plan *base = base_of(NULL), *p = malloc(sizeof(*p));
    uint32_t fired = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        base->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
        struct pool_note n = {.verdict = EMU_USAGE};
        bool drawn = swarm_draw(base, seed, false, p);

        swarm_run(p, drawn, seed % 10 == 0, &n);
        if (n.verdict != EMU_HELD)
            fail_msg("seed %d: %s: %s", (int)seed, n.key, n.why);
        assert_true(n.trace_hash != 0 && n.check_count > 0);
        for (int k = 0; k < POOL_KINDS; k++)
            fired += n.fired[k];
    }
    assert_true(fired > SEEDS / 2);
    free(base);
    free(p);
}

/** The first seed under which the plant fails with faults drawn. */
static uint64_t first_catch(const struct plan *base, struct plan *p, struct pool_note *n)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        memset(n, 0, sizeof(*n));
        bool drawn = swarm_draw(base, seed, false, p);
        swarm_run(p, drawn, false, n);
        if (drawn && n->verdict == EMU_VIOLATED)
            return seed;
    }
    fail_msg("nothing was caught within 200 seeds");
    return 0;
}

static void a_planted_bug_is_caught_and_shrinks_to_less_that_fails_alike(void **state)
{
    struct plan *base = base_of("W-drop-unacked"), *p = malloc(sizeof(*p));
    struct plan *small = malloc(sizeof(*small));
    struct pool_note n, again = {.verdict = EMU_HELD};
    struct fl_errmsg err;
    char text[256];

    (void)state;
    uint64_t seed = first_catch(base, p, &n);
    struct shrink s = {
        .key = n.key, .tracker = "actor", .runs_max = 300, .wall_ns = 60 * FL_NS_PER_S};
    *small = *p;
    assert_int_equal(shrink_plan(small, &s, &err), FL_OK);
    shrink_describe(p, small, text, sizeof(text));
    print_message("seed %d, %s: %s; %d runs\n", (int)seed, n.key, text, (int)s.runs);
    assert_true(s.runs > 1 && s.runs <= 300);
    assert_true(small->workloads[0].ops < p->workloads[0].ops);
    assert_true(small->step_count <= p->step_count && small->node_count <= p->node_count);
    assert_int_equal(plan_validate(small, &err), FL_OK);
    swarm_run(small, true, false, &again);
    assert_int_equal(again.verdict, EMU_VIOLATED);
    assert_string_equal(again.key, n.key);
    free(base);
    free(p);
    free(small);
}

static void what_does_not_fail_is_not_shrunk(void **state)
{
    struct plan *p = base_of(NULL), *before = malloc(sizeof(*before));
    struct shrink s = {.key = "W3", .tracker = "actor", .runs_max = 9, .wall_ns = FL_NS_PER_S};
    struct fl_errmsg err;

    (void)state;
    *before = *p;
    assert_int_equal(shrink_plan(p, &s, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "W3"));
    assert_memory_equal(p, before, sizeof(*p));
    assert_int_equal(s.runs, 1);
    free(p);
    free(before);
}

/* Only what happened counts: steps that did not fire go, the others keep their order. */
static void steps_that_did_not_fire_are_dropped(void **state)
{
    struct plan *p = base_of(NULL);
    struct result *r = result_new();

    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        sim_step(p, PLAN_KILL, "m0", FL_SITE_MISS, i + 1);
    r->fault_count = 4;
    r->faults[1].fired = r->faults[3].fired = 1;
    swarm_drop_unfired(p, r);
    assert_int_equal(p->step_count, 2);
    assert_int_equal(p->steps[0].nth, 2);
    assert_int_equal(p->steps[1].nth, 4);
    result_free(&r);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_faults_depend_on_the_seed_alone_and_make_valid_plans),
        cmocka_unit_test(lies_are_drawn_on_demand),
        cmocka_unit_test(kinds_that_have_nothing_to_hit_are_not_drawn),
        cmocka_unit_test(random_faults_violate_nothing),
        cmocka_unit_test(a_planted_bug_is_caught_and_shrinks_to_less_that_fails_alike),
        cmocka_unit_test(what_does_not_fail_is_not_shrunk),
        cmocka_unit_test(steps_that_did_not_fire_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
