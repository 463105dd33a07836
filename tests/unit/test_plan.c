/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan.c: look-ups, settings by path, even chunks, variants. */
#include "tests/support/plans.h"

static void refused(struct plan *p, const char *setting, const char *want)
{
    struct fl_errmsg err = {""};
    struct plan *before = malloc(sizeof(*before));

    assert_non_null(before);
    *before = *p;
    assert_int_equal(plan_set(p, setting, &err), FL_EINVAL);
    plans_contains(err.text, want);
    assert_memory_equal(before, p, sizeof(*p)); /* a refused setting changes nothing */
    free(before);
}

static void an_empty_plan_has_the_defaults_of_a_run(void **state)
{
    struct plan *p = malloc(sizeof(*p));

    (void)state;
    assert_non_null(p);
    memset(p, 0xee, sizeof(*p));
    plan_init(p);
    assert_int_equal(p->version, PLAN_VERSION);
    assert_int_equal(p->seed, 1);
    assert_int_equal(p->run_deadline_ns, 30 * FL_NS_PER_S);
    assert_int_equal(p->node_count, 0);
    free(p);
}

static void names_find_their_objects(void **state)
{
    struct plan *p = plans_new("");

    (void)state;
    assert_int_equal(plan_node_find(p, "c0"), 0);
    assert_int_equal(plan_node_find(p, "m1"), 2);
    assert_int_equal(plan_node_find(p, "m2"), -1);
    assert_int_equal(plan_region_find(p, "heap"), 0);
    assert_int_equal(plan_region_find(p, "c0"), -1);
    free(p);
}

static void settings_reach_every_kind_of_object(void **state)
{
    struct plan *p = plans_new("");

    (void)state;
    assert_int_equal(plan_set(p, "seed=7", NULL), FL_OK);
    assert_int_equal(plan_set(p, "deadline=2s", NULL), FL_OK);
    assert_int_equal(plan_set(p, "node.c0.device_memory=64K", NULL), FL_OK);
    assert_int_equal(plan_set(p, "node.m1.memory=2M", NULL), FL_OK);
    assert_int_equal(plan_set(p, "link.m0-c0.delay=1ms", NULL), FL_OK);
    assert_int_equal(plan_set(p, "region.heap.threshold=8", NULL), FL_OK);
    assert_int_equal(plan_set(p, "region.heap.path=log", NULL), FL_OK);
    assert_int_equal(plan_set(p, "region.heap.period=never", NULL), FL_OK);
    assert_int_equal(plan_set(p, "workload.w.theta=0.5", NULL), FL_OK);
    assert_int_equal(p->seed, 7);
    assert_int_equal(p->run_deadline_ns, 2 * FL_NS_PER_S);
    assert_int_equal(p->nodes[0].device_memory_bytes, 65536);
    assert_int_equal(p->nodes[2].memory_bytes, 2 << 20);
    assert_int_equal(p->links[0].delay_ns, FL_NS_PER_MS);
    assert_int_equal(p->regions[0].threshold_lines, 8);
    assert_int_equal(p->regions[0].path, 1);
    assert_true(p->regions[0].period_ns == FL_NEVER);
    assert_true(p->workloads[0].zipf_theta > 0.49 && p->workloads[0].zipf_theta < 0.51);
    free(p);
}

static void wrong_settings_name_cause_and_remedy(void **state)
{
    struct plan *p = plans_new("");

    (void)state;
    refused(p, "seed", "path=value");
    refused(p, "=3", "path=value");
    refused(p, "seed=", "path=value");
    refused(p, "region.heap=3", "three parts");
    refused(p, "regon.heap.threshold=3", "did you mean \"region\"");
    refused(p, "region.hep.threshold=3", "no region \"hep\"");
    refused(p, "region.heap.treshold=3", "did you mean \"threshold\"");
    refused(p, "region.heap.zzzzzzzz=3", "list settings");
    refused(p, "region.heap.threshold=65", "0 to 64");
    refused(p, "region.heap.threshold=x", "whole number");
    refused(p, "region.heap.period=5", "unit");
    refused(p, "region.heap.path=both", "\"direct\" or \"log\"");
    refused(p, "node.c0.memory=1M", "compute node");
    refused(p, "node.m0.device_memory=1M", "memory node");
    refused(p, "workload.w.theta=1", "between 0 and 1");
    refused(p, "link.c0-m1.delay=1us", "no link");
    free(p);
}

static void a_new_size_is_split_evenly_again(void **state)
{
    struct plan *p = plans_new("");

    (void)state;
    assert_int_equal(plan_set(p, "region.heap.size=36K", NULL), FL_OK);
    assert_int_equal(p->regions[0].chunks[0].page_count, 5);
    assert_int_equal(p->regions[0].chunks[1].page_count, 4);
    p->regions[0].chunks[0].page_count = 6; /* given one by one */
    p->regions[0].chunks[1].page_count = 3;
    refused(p, "region.heap.size=1M", "one by one");
    free(p);
}

static void chunks_are_numbered_on_each_node(void **state)
{
    struct plan *p = plans_new("region \"r2\" { on = \"c0\", size = \"64K\", backed_by = { \"m1\", "
                               "\"m0\", \"m1\" } }");

    (void)state;
    assert_int_equal(p->regions[0].chunks[1].chunk, 0); /* m1 */
    assert_int_equal(p->regions[1].chunks[0].chunk, 1); /* m1 */
    assert_int_equal(p->regions[1].chunks[1].chunk, 1); /* m0 */
    assert_int_equal(p->regions[1].chunks[2].chunk, 2); /* m1 */
    free(p);
}

static void a_variant_is_the_plan_with_its_settings(void **state)
{
    struct plan *p =
        plans_new("variant \"A\" { [\"region.heap.threshold\"] = 3, seed = 9 } variant "
                  "\"B\" {} same_image () check { \"W9\" }");
    struct plan *v = malloc(sizeof(*v));
    struct fl_errmsg err = {""};

    (void)state;
    assert_non_null(v);
    assert_int_equal(plan_variant_apply(p, 0, v, &err), FL_OK);
    assert_int_equal(v->regions[0].threshold_lines, 3);
    assert_int_equal(v->seed, 9);
    assert_int_equal(v->variant_count, 0);
    assert_false(v->same_image);
    assert_int_equal(v->check_count, 2); /* W9 is judged over all variants */
    assert_int_equal(plan_variant_apply(p, 1, v, &err), FL_OK);
    assert_int_equal(v->regions[0].threshold_lines, p->regions[0].threshold_lines);
    assert_int_equal(plan_variant_apply(p, 2, v, &err), FL_EINVAL);
    free(v);
    free(p);
}

static void invariants_are_known_by_their_oracles(void **state)
{
    (void)state;
    assert_true(plan_check_known("W1"));
    assert_true(plan_check_known("W9"));
    assert_false(plan_check_known("W0"));
    assert_false(plan_check_known("W"));
    assert_false(plan_check_known(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_plan_has_the_defaults_of_a_run),
        cmocka_unit_test(names_find_their_objects),
        cmocka_unit_test(settings_reach_every_kind_of_object),
        cmocka_unit_test(wrong_settings_name_cause_and_remedy),
        cmocka_unit_test(a_new_size_is_split_evenly_again),
        cmocka_unit_test(chunks_are_numbered_on_each_node),
        cmocka_unit_test(a_variant_is_the_plan_with_its_settings),
        cmocka_unit_test(invariants_are_known_by_their_oracles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
