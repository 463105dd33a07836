/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan_steps.c: one table of kinds. */
#include "emu/plan_steps.h"

#include "tests/support/plans.h"

static void every_kind_is_found_by_its_name(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (unsigned k = 0; k < PLAN_STEP_KINDS; k++) {
        const struct plan_step_info *info = plan_step_info(k);
        struct plan_step s = {.by_ns = 7};

        if (info == NULL)
            continue;
        seen++;
        assert_non_null(info->doc);
        assert_int_equal(plan_step_find(info->name), k);
        assert_int_equal(info->needs & ~info->options, 0);
        plan_step_set_kind(&s, k);
        assert_int_equal(plan_step_kind(&s), k);
        assert_int_equal(s.by_ns, 7);
    }
    assert_int_equal(seen, PLAN_STEP_KINDS - 1); /* the filter cut is the action cut */
    assert_int_equal(plan_step_find("cut"), PLAN_CUT);
    assert_int_equal(plan_step_find("delay"), PLAN_FAULT + TP_FAULT_DELAY);
    assert_int_equal(plan_step_find("explode"), PLAN_STEP_KINDS);
}

static void numbers_that_are_no_kind(void **state)
{
    struct plan_step s = {.action = PLAN_FAULT, .fault = TP_FAULT_COUNT};

    (void)state;
    assert_null(plan_step_info(PLAN_STEP_KINDS));
    assert_null(plan_step_info(PLAN_FAULT + TP_FAULT_CUT));
    assert_int_equal(plan_step_kind(&s), PLAN_STEP_KINDS);
    s.fault = TP_FAULT_CUT;
    assert_int_equal(plan_step_kind(&s), PLAN_STEP_KINDS);
    s = (struct plan_step){.action = (enum plan_action)77};
    assert_int_equal(plan_step_kind(&s), PLAN_STEP_KINDS);
}

static void steps_have_texts(void **state)
{
    struct plan *p = plans_new("at (event (\"c0.flush_ack\", 12)) : kill (\"m0\") "
                               "at \"5ms\" : flip_bit (\"c0\", \"m1\") "
                               "at \"start\" : cut (\"c0\", \"m1\", { one_way = true })");
    char text[96];

    (void)state;
    plan_step_text(p, &p->steps[0], text, sizeof(text));
    assert_string_equal(text, "kill m0");
    plan_step_when_text(p, &p->steps[0], text, sizeof(text));
    assert_string_equal(text, "c0.flush_ack#12");
    plan_step_text(p, &p->steps[1], text, sizeof(text));
    assert_string_equal(text, "flip_bit c0,m1");
    plan_step_when_text(p, &p->steps[1], text, sizeof(text));
    assert_string_equal(text, "5000000 ns");
    plan_step_when_text(p, &p->steps[2], text, sizeof(text));
    assert_string_equal(text, "start");
    free(p);
}

static void a_step_becomes_a_filter(void **state)
{
    struct plan *p = plans_new("at \"5ms\" : delay (\"c0\", \"m1\", { by = \"2ms\", every = 4, "
                               "one_way = true }) "
                               "at \"start\" : cut (\"c0\", \"m1\", { one_way = true }) "
                               "at \"start\" : fail_registration (\"c0\", { count = 2 }) "
                               "at \"start\" : kill (\"m0\")");
    struct tp_fault f;

    (void)state;
    plan_step_fault(&p->steps[0], &f);
    assert_true(plan_step_filters(&p->steps[0]));
    assert_int_equal(f.kind, TP_FAULT_DELAY);
    assert_int_equal(f.from, 0);
    assert_int_equal(f.to, 2);
    assert_int_equal(f.by_ns, 2 * FL_NS_PER_MS);
    assert_int_equal(f.every, 4);
    plan_step_fault(&p->steps[1], &f);
    assert_true(plan_step_filters(&p->steps[1]));
    assert_int_equal(f.kind, TP_FAULT_CUT);
    plan_step_fault(&p->steps[2], &f);
    assert_int_equal(f.kind, TP_FAULT_REG_FAIL);
    assert_int_equal(f.from, f.to);
    assert_int_equal(f.count, 2);
    assert_false(plan_step_filters(&p->steps[3]));
    assert_true(plan_step_counts_hits(&p->steps[0]));
    assert_false(plan_step_counts_hits(&p->steps[1]));
    assert_false(plan_step_counts_hits(&p->steps[3]));
    free(p);
}

/* The seed decides, and after that nothing does: steps of one at (...) stay together. */
static void moments_are_drawn_from_the_seed(void **state)
{
    struct plan *p =
        plans_new("at (event (\"c0.flush_ack\", { from = 10, to = 19 })) : cut (\"c0\", "
                  "\"m0\") at { between = { \"1ms\", \"1003us\" } } : kill (\"m1\")");
    struct plan *one = malloc(sizeof(*one)), *again = malloc(sizeof(*again));
    bool seen[10] = {false};
    char text[64];

    (void)state;
    assert_int_equal(p->step_count, 3);
    plan_step_when_text(p, &p->steps[0], text, sizeof(text));
    assert_string_equal(text, "c0.flush_ack#10..19");
    plan_step_when_text(p, &p->steps[2], text, sizeof(text));
    assert_string_equal(text, "1000000..1003000 ns");
    for (uint64_t seed = 1; seed <= 200; seed++) {
        *one = *p;
        one->seed = seed;
        plan_steps_draw(one);
        assert_true(one->steps[0].nth >= 10 && one->steps[0].nth <= 19);
        assert_int_equal(one->steps[0].nth, one->steps[1].nth);
        assert_true(one->steps[2].at_ns >= 1000000 && one->steps[2].at_ns <= 1003000);
        seen[one->steps[0].nth - 10] = true;
        *again = *one;
        plan_steps_draw(again);
        assert_memory_equal(again, one, sizeof(*one));
        assert_int_equal(one->steps[0].draw, 0);
    }
    for (int i = 0; i < 10; i++)
        assert_true(seen[i]);
    free(p);
    free(one);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_found_by_its_name),
        cmocka_unit_test(numbers_that_are_no_kind),
        cmocka_unit_test(steps_have_texts),
        cmocka_unit_test(moments_are_drawn_from_the_seed),
        cmocka_unit_test(a_step_becomes_a_filter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
