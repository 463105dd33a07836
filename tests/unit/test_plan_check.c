/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan_check.c: each rule refuses with file, line, cause and remedy. */
#include "emu/plan_steps.h"
#include "tests/support/plans.h"

/** A valid plan changed by @change must be refused with @want; @line 0: no line in the message. */
static void refused(const char *extra, void (*change)(struct plan *p), int line, const char *want)
{
    struct plan *p = plans_new(extra);
    struct fl_errmsg err = {""};
    char at[32];

    change(p);
    assert_int_equal(plan_validate(p, &err), FL_EINVAL);
    plans_contains(err.text, want);
    snprintf(at, sizeof(at), line > 0 ? "t.lua:%d: " : "t.lua: ", line);
    if (strncmp(err.text, at, strlen(at)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err.text, at);
    free(p);
}

#define CHANGE(name, ...)                                                                          \
    static void name(struct plan *p)                                                               \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }

CHANGE(no_node, p->node_count = 0)
CHANGE(no_region, p->region_count = 0; p->workload_count = 0)
CHANGE(too_many, p->step_count = PLAN_STEPS_MAX + 1)
CHANGE(other_version, p->version = 9)
CHANGE(short_miss, p->heartbeat_miss_ns = p->heartbeat_ns)
CHANGE(long_deadline, p->run_deadline_ns = FL_NEVER)
CHANGE(bad_node_name, strcpy(p->nodes[0].name, "../c"))
CHANGE(reserved_name, strcpy(p->nodes[1].name, "close"))
CHANGE(twin_node, strcpy(p->nodes[2].name, "m0"))
CHANGE(bad_role, p->nodes[1].role = (enum plan_role)5)
CHANGE(no_pool, p->nodes[1].memory_bytes = 0)
CHANGE(odd_pool, p->nodes[1].memory_bytes = 4097)
CHANGE(no_dclb, p->nodes[0].dclb_lines = 0)
CHANGE(bad_evict, p->nodes[0].evict = 9)
CHANGE(small_pool, p->nodes[1].memory_bytes = 256 << 10)
CHANGE(link_nowhere, p->links[0].b = 77)
CHANGE(link_self, p->links[0].b = p->links[0].a)
CHANGE(link_twice, p->links[1] = p->links[0]; p->link_count = 2)
CHANGE(link_slow, p->links[0].rate_bps = 0)
CHANGE(region_nowhere, p->regions[0].on = 99)
CHANGE(region_on_memory, p->regions[0].on = 1)
CHANGE(region_odd, p->regions[0].size_bytes = 5000)
CHANGE(region_zero, p->regions[0].size_bytes = 0)
CHANGE(region_name, strcpy(p->regions[0].name, ""))
CHANGE(no_chunk, p->regions[0].chunk_count = 0)
CHANGE(chunk_nowhere, p->regions[0].chunks[0].node = 99)
CHANGE(chunk_on_compute, p->regions[0].chunks[0].node = 0)
CHANGE(chunk_empty, p->regions[0].chunks[0].page_count = 0)
CHANGE(chunks_short, p->regions[0].chunks[0].page_count--)
CHANGE(chunk_same_id, p->regions[0].chunks[1].node = 1)
CHANGE(chunk_big_id, p->regions[0].chunks[1].chunk = 64)
CHANGE(bad_threshold, p->regions[0].threshold_lines = 65)
CHANGE(endless_op, p->regions[0].op_deadline_ns = FL_NEVER)
CHANGE(work_nowhere, p->workloads[0].region = 9)
CHANGE(work_twice, p->workloads[1] = p->workloads[0]; p->workload_count = 2)
CHANGE(work_kind, p->workloads[0].kind = (enum plan_work_kind)50)
CHANGE(work_len, p->workloads[0].len_bytes = 5000)
CHANGE(work_no_len, p->workloads[0].len_bytes = 0)
CHANGE(work_ops, p->workloads[0].ops = 0)
CHANGE(work_percent, p->workloads[0].write_percent = 101)
CHANGE(work_theta, p->workloads[0].zipf_theta = 1.5)
CHANGE(work_span, p->workloads[0].span_bytes = 2 << 20)
CHANGE(work_tiny, p->workloads[0].span_bytes = 512)
CHANGE(work_source, strcpy(p->workloads[0].source, "x"))
CHANGE(work_threads, p->workloads[0].threads = 64; p->nodes[0].device_memory_bytes = 255 * 4096)
CHANGE(native_threads, p->workloads[0].kind = PLAN_SQLITE)
CHANGE(native_small, p->workloads[0].kind = PLAN_LUA; p->workloads[0].threads = 1)
CHANGE(cramped, p->nodes[0].device_memory_bytes = 7 * 4096)
CHANGE(step_node, p->steps[0].node = 9)
CHANGE(step_site, p->steps[0].site = 999)
CHANGE(step_nth, p->steps[0].nth = 0)
CHANGE(step_target, p->steps[0].target = 9)
CHANGE(step_undo, p->steps[0].for_ns = 5)
CHANGE(step_for_nothing, p->steps[0].for_ns = 0)
CHANGE(step_late, p->steps[0].when = PLAN_AT_TIME; p->steps[0].at_ns = 60 * FL_NS_PER_S)
CHANGE(step_range, p->steps[0].draw = 1; p->steps[0].to = p->steps[0].nth)
CHANGE(step_range_late, p->steps[0].when = PLAN_AT_TIME; p->steps[0].at_ns = 1;
       p->steps[0].draw = 1; p->steps[0].to = 60 * FL_NS_PER_S)
CHANGE(step_pair, p->steps[0].action = PLAN_CUT; p->steps[0].target2 = 1)
CHANGE(step_no_by, p->steps[0] = (struct plan_step){
                       .action = PLAN_FAULT, .target2 = 1, .for_ns = FL_NEVER, .line = 9})
CHANGE(step_no_bps, step_no_by(p); p->steps[0].fault = TP_FAULT_RATE)
CHANGE(step_class, step_no_by(p); p->steps[0].by_ns = 1; p->steps[0].classes = 8)
CHANGE(step_long_by, step_no_by(p); p->steps[0].by_ns = 60 * FL_NS_PER_S)
CHANGE(step_fill, p->steps[0].action = PLAN_SLOTS_FULL)
CHANGE(restart_alone, p->steps[0].action = PLAN_RESTART)
CHANGE(step_long_after, p->steps[0].action = PLAN_RESTART; p->steps[0].by_ns = 60 * FL_NS_PER_S)
CHANGE(restart_compute, p->steps[0].action = PLAN_RESTART; p->steps[0].target = 0)
CHANGE(restart_itself, p->steps[0].action = PLAN_RESTART; p->steps[0].node = 1)
CHANGE(restart_start, p->steps[0].action = PLAN_RESTART; p->steps[0].when = PLAN_AT_START)
CHANGE(restart_early, p->steps[1].at_ns = 2 * FL_NS_PER_MS)
CHANGE(step_strange, p->steps[0].action = (enum plan_action)99)
CHANGE(expect_metric, strcpy(p->expects[0].metric, "a..b"))
CHANGE(expect_blank, strcpy(p->expects[0].metric, "a b"))
CHANGE(expect_dot, strcpy(p->expects[0].metric, "a."))
CHANGE(expect_word, p->expects[0].cmp = PLAN_GT)
CHANGE(expect_cmp, p->expects[0].cmp = (enum plan_cmp)9)
CHANGE(check_unknown, strcpy(p->checks[0], "W77"))
CHANGE(check_twice, strcpy(p->checks[1], "W1"))
CHANGE(check_w9, strcpy(p->checks[1], "W9"))
CHANGE(same_alone, p->same_image = true)
CHANGE(variant_name, strcpy(p->variants[0].name, "a/b"))
CHANGE(variant_twin, strcpy(p->variants[1].name, "A"))
CHANGE(variant_setting, strcpy(p->variants[0].set[0], "region.heap.nothing=1"))
CHANGE(variant_plan, strcpy(p->variants[0].set[0], "node.c0.device_memory=16K"))

static const char step[] = "at (event (\"c0.flush_ack\", 3)) : kill (\"m0\")";
static const char twice[] = "at \"1ms\" : restart (\"m0\") at \"1ms\" : kill (\"m0\")";
static const char word[] = "expect (\"close.heap\") : is (\"FL_OK\")";
static const char two[] = "variant \"A\" {} variant \"B\" {}";

static void rules_of_the_run(void **state)
{
    (void)state;
    refused("", no_node, 0, "no node");
    refused("", no_region, 0, "no region");
    refused("", too_many, 0, "more objects");
    refused("", other_version, 0, "version 9");
    refused("", short_miss, 0, "heartbeat_miss");
    refused("", long_deadline, 0, "deadline");
}

static void rules_of_nodes_and_links(void **state)
{
    (void)state;
    refused("", bad_node_name, 2, "name of a node");
    refused("", reserved_name, 3, "another name");
    refused("", twin_node, 4, "defined twice");
    refused("", bad_role, 3, "role");
    refused("", no_pool, 3, "memory is 0");
    refused("", odd_pool, 3, "whole pages");
    refused("", no_dclb, 2, "dclb is 0");
    refused("", bad_evict, 2, "evict");
    refused("", small_pool, 3,
            "node \"m0\" has 256 KiB but its chunks need 512 KiB: raise memory or move chunks");
    refused("", link_nowhere, 5, "no such node");
    refused("", link_self, 5, "different nodes");
    refused("", link_twice, 5, "defined twice");
    refused("", link_slow, 5, "rate");
}

static void rules_of_regions(void **state)
{
    (void)state;
    refused("", region_nowhere, 6, "on no node");
    refused("", region_on_memory, 6, "memory node");
    refused("", region_odd, 6, "whole pages");
    refused("", region_zero, 6, "size is 0");
    refused("", region_name, 6, "name of a region");
    refused("", no_chunk, 6, "backed_by");
    refused("", chunk_nowhere, 6, "on no node");
    refused("", chunk_on_compute, 6, "not a memory node");
    refused("", chunk_empty, 6, "no page");
    refused("", chunks_short, 6, "make them equal");
    refused("", chunk_same_id, 3, "same id");
    refused("", chunk_big_id, 4, "more than 64 chunks");
    refused("", bad_threshold, 6, "threshold is 65");
    refused("", endless_op, 6, "op_deadline must end");
}

static void rules_of_workloads(void **state)
{
    (void)state;
    refused("", work_nowhere, 7, "in no region");
    refused("", work_twice, 7, "defined twice");
    refused("", work_kind, 7, "no such kind");
    refused("", work_len, 7, "len is 5000");
    refused("", work_no_len, 7, "len is 0");
    refused("", work_ops, 7, "ops is 0");
    refused("", work_percent, 7, "write_percent");
    refused("", work_theta, 7, "theta");
    refused("", work_span, 7, "has only 1 MiB");
    refused("", work_tiny, 7, "raise span");
    refused("", work_source, 7, "takes no source");
    refused("", work_threads, 2, "64 threads need at least 256");
    refused("", native_threads, 7, "one thread");
    refused("", native_small, 7, "at least 32 MiB");
    refused("", cramped, 2, "device_memory for 7 pages, but 2 threads need at least 8");
}

static void rules_of_steps(void **state)
{
    (void)state;
    refused(step, step_node, 9, "no such node");
    refused(step, step_site, 9, "no such site");
    refused(step, step_nth, 9, "number 1");
    refused(step, step_target, 9, "no such node");
    refused(step, step_undo, 9, "cannot be undone");
    refused(step, step_for_nothing, 9, "nothing would happen");
    refused(step, step_late, 9, "never happen");
    refused(step, step_range, 9, "end does not lie after");
    refused(step, step_range_late, 9, "shorten the range");
    refused(step, step_pair, 9, "two different nodes");
    refused(step, step_strange, 9, "unknown");
    refused(step, step_no_by, 9, "delay needs by");
    refused(step, step_no_bps, 9, "rate needs bps");
    refused(step, step_class, 9, "no such class");
    refused(step, step_long_by, 9, "by is longer");
    refused(step, step_long_after, 9, "after is longer");
    refused(step, step_fill, 9, "name a compute node");
}

static void rules_of_restarts(void **state)
{
    (void)state;
    refused(step, restart_alone, 9, "nothing kills \"m0\"");
    refused(step, restart_compute, 9, "only memory nodes come back");
    refused(step, restart_itself, 9, "a dead node passes no site");
    refused(step, restart_start, 9, "it is the start");
    refused(twice, restart_early, 9, "killed only after");
    free(plans_new("at \"1ms\" : kill (\"m0\") at \"1ms\" : restart (\"m0\")"));
    free(plans_new("at (event (\"c0.miss\", 3)) : kill (\"m0\") at \"1ms\" : restart (\"m0\")"));
}

static void rules_of_judgement(void **state)
{
    (void)state;
    refused(word, expect_metric, 9, "not the name of a figure");
    refused(word, expect_blank, 9, "not the name of a figure");
    refused(word, expect_dot, 9, "not the name of a figure");
    refused(word, expect_word, 9, "equal or not");
    refused(word, expect_cmp, 9, "unknown comparison");
    refused("", check_unknown, 0, "W77");
    refused("", check_twice, 0, "listed twice");
    refused("", check_w9, 0, "same_image");
}

static void rules_of_variants(void **state)
{
    (void)state;
    refused("", same_alone, 0, "there is none");
    refused(two, variant_name, 0, "name of a variant");
    refused(two, variant_twin, 0, "defined twice");
    refused(two, variant_setting, 0, "no setting \"nothing\"");
    refused(two, variant_plan, 2, "in variant \"A\"");
}

static void what_is_allowed_stays_allowed(void **state)
{
    (void)state;
    /* two generators divide a region; a region may be left alone; the smallest cache that works */
    free(plans_new("workload \"w2\" { region = \"heap\", kind = \"hammer\" }"));
    free(plans_new("region \"idle\" { on = \"c0\", size = \"4K\", backed_by = { \"m0\" } }"));
    free(
        plans_new("node \"c1\" { role = \"compute\", device_memory = \"16K\" } region \"r\" { on = "
                  "\"c1\", size = \"8K\", backed_by = { \"m0\" } } workload \"v\" { region = "
                  "\"r\", kind = \"stamp\" }"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_of_the_run),
        cmocka_unit_test(rules_of_nodes_and_links),
        cmocka_unit_test(rules_of_regions),
        cmocka_unit_test(rules_of_workloads),
        cmocka_unit_test(rules_of_steps),
        cmocka_unit_test(rules_of_restarts),
        cmocka_unit_test(rules_of_judgement),
        cmocka_unit_test(rules_of_variants),
        cmocka_unit_test(what_is_allowed_stays_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
