/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of mechanism W over seeds: what the application wrote is what the pool holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "tests/sim/plans.h"

enum { FIRST_SEED = 1, SEEDS = 600 };

/** FARLINE_SEEDS=N looks at more of them than every build can. */
static uint64_t seeds(void)
{
    const char *s = getenv("FARLINE_SEEDS");
    return s ? strtoull(s, NULL, 10) : SEEDS;
}

/* A check that compared nothing fails here, too. */
static void random_plans_hold_with_both_sights(void **state)
{
    (void)state;
    double evictions = 0, coarsened = 0, overflows = 0, batches = 0, periods = 0;
    uint64_t last = FIRST_SEED + seeds() - 1;
    print_message("seeds %d..%llu\n", FIRST_SEED, (unsigned long long)last);
    for (uint64_t seed = FIRST_SEED; seed <= last; seed++) {
        struct plan *p = sim_plan_random(seed);
        struct result *r = sim_run_held(p, seed % 2 ? "actor" : "actor-sampled");
        evictions += sim_metric(r, "evictions");
        coarsened += sim_metric(r, "coarsened");
        overflows += sim_metric(r, "dclb_overflows");
        batches += sim_metric(r, "log_batches");
        periods += sim_metric(r, "periods");
        result_free(&r);
        free(p);
    }
    /* The plans reach what they are for. */
    assert_true(evictions > 100 && coarsened > 100 && overflows > 100 && batches > 100 &&
                periods > 100);
}

static void same_seed_same_trace_other_seed_another(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct plan *p = sim_plan_random(seed);
        struct result *a = sim_run(p, "actor"), *b = sim_run(p, "actor");
        assert_true(a->trace_hash == b->trace_hash && a->image_digest == b->image_digest);
        assert_true(a->trace_hash != before && a->trace_hash != 0);
        before = a->trace_hash;
        if (seed <= 5)
            print_message("trace_hash writeback-%d %016llx\n", (int)seed,
                          (unsigned long long)a->trace_hash);
        result_free(&a);
        result_free(&b);
        free(p);
    }
}

/* W9, and the other path: thresholds, paths, capacities, eviction and sight change what travels,
 * not what is there at the end. */
static void image_does_not_depend_on_how_it_was_written_back(void **state)
{
    (void)state;
    static const uint32_t thresholds[] = {0, 1, 63, 64};
    static const uint64_t capacities[] = {16, 40, 64};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t image = 0;
        double least = 1e18, most = 0;
        for (int t = 0; t < 4; t++)
            for (int path = WB_DIRECT; path <= WB_LOG; path++)
                for (int c = 0; c < 3; c++) {
                    struct plan *p = sim_plan(seed, 2, 64, PLAN_RANDOM, 4, 600);
                    p->workloads[0].len_bytes = 300;
                    p->regions[0].threshold_lines = thresholds[t];
                    p->regions[0].path = (uint8_t)path;
                    p->nodes[0].device_memory_bytes = capacities[c] * FL_PAGE_BYTES;
                    p->nodes[0].evict = c % 2 ? WB_CLOCK : WB_LRU;
                    struct result *r = sim_run_held(p, c ? "actor" : "actor-sampled");
                    assert_true(image == 0 || r->image_digest == image);
                    image = r->image_digest;
                    double sent = sim_metric(r, "bytes_posted");
                    least = sent < least ? sent : least;
                    most = sent > most ? sent : most;
                    result_free(&r);
                    free(p);
                }
        assert_true(most > 2 * least); /* they did differ in how */
    }
}

/* From the least that threads may have to everything. */
static void any_capacity_serves_any_access(void **state)
{
    (void)state;
    for (uint64_t pages = 4; pages <= 32; pages += 4)
        for (int kind = PLAN_SEQUENTIAL; kind <= PLAN_HAMMER; kind++) {
            struct plan *p = sim_plan(pages, 1, 32, (enum plan_work_kind)kind, 1, 400);
            p->workloads[0].len_bytes = 4096;
            p->nodes[0].device_memory_bytes = pages * FL_PAGE_BYTES;
            struct result *r = sim_run_held(p, "actor");
            assert_true(sim_metric(r, "cached_max") <= (double)pages);
            result_free(&r);
            free(p);
        }
}

/* W6 needs a period and stores that wait for it. */
static void staleness_is_bounded_by_the_period(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct plan *p = sim_plan(seed, 2, 32, PLAN_ZIPF, 2, 2000);
        snprintf(p->checks[p->check_count++], sizeof p->checks[0], "W6");
        p->nodes[0].device_memory_bytes = 32 * FL_PAGE_BYTES;
        p->regions[0].period_ns = 50 * FL_NS_PER_US;
        p->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
        struct result *r = sim_run_held(p, "actor-sampled");
        assert_true(sim_metric(r, "periods") >= 3);
        result_free(&r);
        free(p);
    }
}

static void other_trackers_are_refused_with_the_way_out(void **state)
{
    (void)state;
    struct plan *p = sim_plan(1, 1, 32, PLAN_RANDOM, 1, 10);
    struct run_opts o = {.fabric = "sim", .tracker = "mprotect"};
    struct fl_errmsg err = {{0}};
    struct result *r = result_new();
    assert_int_equal(emu_run_sim(p, &o, r, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "actor"));
    result_free(&r);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_hold_with_both_sights),
        cmocka_unit_test(same_seed_same_trace_other_seed_another),
        cmocka_unit_test(image_does_not_depend_on_how_it_was_written_back),
        cmocka_unit_test(any_capacity_serves_any_access),
        cmocka_unit_test(staleness_is_bounded_by_the_period),
        cmocka_unit_test(other_trackers_are_refused_with_the_way_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
