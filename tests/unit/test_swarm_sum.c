/* SPDX-License-Identifier: Apache-2.0 */
/* emu/swarm_sum.c: what many runs found together. */
#include <jansson.h>

#include "emu/swarm_sum.h"
#include "tests/support/markup.h"

static struct swarm_sum *sum_new(struct plan *p)
{
    struct swarm_sum *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    strcpy(p->file, "a<b.lua");
    s->base = p;
    s->first = 1;
    s->last = 40;
    s->jobs = 2;
    snprintf(s->dir, sizeof(s->dir), "runs/x");
    return s;
}

static struct pool_note held(uint64_t checked)
{
    struct pool_note n = {.verdict = EMU_HELD, .check_count = 1};

    strcpy(n.checks[0].id, "W3");
    n.checks[0].checked = checked;
    return n;
}

static struct pool_note violated(const char *why)
{
    struct pool_note n = held(4);

    n.verdict = EMU_VIOLATED;
    n.checks[0].violated = 1;
    strcpy(n.key, "W3");
    snprintf(n.why, sizeof(n.why), "%s", why);
    return n;
}

static void kinds_are_counted_by_run(void **state)
{
    struct plan *p = plans_new("");
    struct swarm_sum *s = sum_new(p);
    struct pool_note n = held(10);

    (void)state;
    n.asked[PLAN_KILL] = 3;
    n.fired[PLAN_KILL] = 2;
    n.asked[PLAN_CUT] = 1;
    swarm_sum_add(s, 1, &n);
    n = violated("bad");
    n.asked[PLAN_KILL] = n.fired[PLAN_KILL] = 1;
    swarm_sum_add(s, 2, &n);
    swarm_sum_judge(s, false);
    assert_int_equal(s->kinds[PLAN_KILL].asked, 4);
    assert_int_equal(s->kinds[PLAN_KILL].fired, 3);
    assert_int_equal(s->kinds[PLAN_KILL].survived, 1);
    assert_int_equal(s->kinds[PLAN_KILL].violated, 1);
    assert_int_equal(s->kinds[PLAN_CUT].survived, 0);
    assert_int_equal(s->checks[0].checked, 14);
    assert_int_equal(s->checks[0].violated, 1);
    assert_int_equal(s->worst, EMU_VIOLATED);
    assert_string_equal(s->why, "seed 2: bad");
    free(s);
    free(p);
}

static void the_lowest_seeds_are_named(void **state)
{
    struct plan *p = plans_new("");
    struct swarm_sum *s = sum_new(p);

    (void)state;
    for (uint64_t seed = 200; seed > 0; seed--) {
        struct pool_note n = violated("bad");
        swarm_sum_add(s, seed, &n);
    }
    assert_int_equal(s->fail_count, SWARM_FAILS_MAX);
    for (uint64_t i = 0; i < SWARM_FAILS_MAX; i++)
        assert_int_equal(s->fails[i].seed, i + 1);
    free(s);
    free(p);
}

/** The verdict over @runs runs of @n. */
static enum emu_exit judged(const struct pool_note *n, unsigned runs, bool interrupted,
                            const char *why)
{
    struct plan *p = plans_new("");
    struct swarm_sum *s = sum_new(p);

    for (unsigned i = 0; i < runs; i++)
        swarm_sum_add(s, i, n);
    swarm_sum_judge(s, interrupted);
    plans_contains(s->why, why);
    enum emu_exit e = s->worst;
    free(s);
    free(p);
    return e;
}

static void what_never_happened_decides_nothing(void **state)
{
    struct pool_note n = held(1);

    (void)state;
    assert_int_equal(judged(&n, 10, false, "every run held"), EMU_HELD);
    assert_int_equal(judged(&n, 10, true, "interrupted"), EMU_UNDECIDED);
    n.asked[PLAN_PAUSE] = 1;
    assert_int_equal(judged(&n, SWARM_ASKED_ENOUGH - 1, false, "every run held"), EMU_HELD);
    assert_int_equal(judged(&n, SWARM_ASKED_ENOUGH, false, "pause was asked for 20 times"),
                     EMU_UNDECIDED);
    n = held(0);
    assert_int_equal(judged(&n, 10, false, "W3 compared nothing"), EMU_UNDECIDED);
}

static void it_is_told_in_three_forms(void **state)
{
    struct plan *p = plans_new("");
    struct swarm_sum *s = sum_new(p);
    struct pool_note n = violated("expected <1>");
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    n.asked[PLAN_CUT] = n.fired[PLAN_CUT] = 1;
    swarm_sum_add(s, 7, &n);
    swarm_sum_add(s, 9, &n);
    s->fails[0].written = true;
    strcpy(s->fails[0].shrunk, "3 steps to 1");
    swarm_sum_judge(s, false);
    swarm_sum_print(f, s);
    assert_int_equal(fclose(f), 0);
    plans_contains(text, "seeds 1..40: 2 runs");
    plans_contains(text, "shrunk: 3 steps to 1");
    plans_contains(text, "farline replay runs/x/seed-7/run.json");
    plans_contains(text, "verdict   VIOLATED: seed 7: expected <1>");
    free(text);
    char *html = swarm_sum_html(s);
    markup_is_sound(html);
    plans_contains(html, "a&lt;b.lua");
    plans_contains(html, "expected &lt;1&gt;");
    plans_contains(html, "<a href=\"seed-7/report.html\">");
    plans_contains(html, "farline swarm a&lt;b.lua --seeds 9..9");
    plans_contains(html, "<td>cut</td>");
    free(html);
    text = swarm_sum_json(s, JSON_COMPACT);
    json_t *j = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "exit")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "failures")), 2);
    json_decref(j);
    free(text);
    free(s);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_counted_by_run),
        cmocka_unit_test(the_lowest_seeds_are_named),
        cmocka_unit_test(what_never_happened_decides_nothing),
        cmocka_unit_test(it_is_told_in_three_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
