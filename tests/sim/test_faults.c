/* SPDX-License-Identifier: Apache-2.0 */
/* Mechanism W under faults: typed errors in bounded time, nothing lost that was acknowledged, and
 * everything as it should be once the fault is over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/rng.h"
#include "emu/mech/writeback.h"
#include "tests/sim/plans.h"

enum { SEEDS = 150 };

/** FARLINE_SEEDS=N looks at more of them than every build can. */
static uint64_t seeds(void)
{
    const char *s = getenv("FARLINE_SEEDS");
    uint64_t n = s ? strtoull(s, NULL, 10) : SEEDS;
    return n > SEEDS ? n : SEEDS;
}

static struct plan *plan_of(uint64_t seed)
{
    struct plan *p = sim_plan(seed, 2, 32, PLAN_RANDOM, 3, 900);
    p->workloads[0].len_bytes = 300;
    p->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
    p->nodes[0].device_memory_bytes = (12 + seed % 3 * 8) * FL_PAGE_BYTES;
    return p;
}

/** No check is violated, whatever the errors were, and the run ended by itself. */
static void assert_sound(const struct plan *p, const struct result *r)
{
    if (r->timed_out || r->no_progress)
        fail_msg("seed %llu: %s", (unsigned long long)p->seed, r->why);
    for (size_t i = 0; i < r->check_count; i++)
        if (r->checks[i].violated)
            fail_msg("seed %llu: %s: %s", (unsigned long long)p->seed, r->checks[i].id,
                     r->checks[i].first);
}

static struct result *run(const struct plan *p)
{
    struct result *r = sim_run(p, p->seed % 3 ? "actor" : "actor-sampled");
    assert_sound(p, r);
    return r;
}

static const enum fl_site SITES[] = {FL_SITE_FETCH_POST, FL_SITE_PAGE_FETCHED, FL_SITE_FLUSH_GATE,
                                     FL_SITE_SNAP,       FL_SITE_FLUSH_POST,   FL_SITE_FLUSH_ACK,
                                     FL_SITE_EVICT,      FL_SITE_PAGE_DROP,    FL_SITE_PERIOD,
                                     FL_SITE_MISS};
enum { SITE_COUNT = sizeof SITES / sizeof *SITES };

/** A step at a site of c0 that depends on the seed. */
static struct plan_step *step_at_site(struct plan *p, enum plan_action a, const char *target)
{
    return sim_step(p, a, target, SITES[p->seed % SITE_COUNT], 1 + p->seed / SITE_COUNT % 12);
}

/* W-f1: m0 dies at any point of the protocol. Accesses and close fail with the peer's death, well
 * before their deadlines; pages on m1 are right. */
static void memory_node_dies(void **state)
{
    (void)state;
    size_t fired = 0, close_failed = 0, access_failed = 0;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct plan *p = plan_of(seed);
        step_at_site(p, PLAN_KILL, "m0");
        struct result *r = run(p);
        const char *close = sim_text(r, "close.heap"), *access = sim_text(r, "access.heap");
        fired += r->faults[0].fired;
        if (r->faults[0].fired) {
            assert_true(strcmp(close, "FL_OK") == 0 || strcmp(close, "FL_EPEERDEAD") == 0);
            /* Lost lines keep their place in device memory until close: it can be full of them. */
            assert_true(strcmp(access, "FL_OK") == 0 || strcmp(access, "FL_EPEERDEAD") == 0 ||
                        strcmp(access, "FL_ENOSPC") == 0);
            close_failed += strcmp(close, "FL_OK") != 0;
            access_failed += strcmp(access, "FL_OK") != 0;
            /* Bounded: the death is seen within a millisecond or so, not at a deadline. */
            assert_true(r->duration_ns < 300 * FL_NS_PER_MS);
        } else {
            assert_string_equal(close, "FL_OK");
        }
        result_free(&r);
        free(p);
    }
    assert_true(2 * fired > SEEDS && close_failed > 10 && access_failed > SEEDS / 4);
}

/* A stopped peer shows nothing: shorter than the heartbeat bound it only delays. */
static void memory_node_pauses_and_goes_on(void **state)
{
    (void)state;
    size_t fired = 0;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct plan *p = plan_of(seed);
        struct plan_step *s = step_at_site(p, PLAN_PAUSE, seed % 2 ? "m0" : "c0");
        s->for_ns = (1 + seed % 300) * FL_NS_PER_MS;
        struct result *r = run(p);
        fired += r->faults[0].fired;
        assert_string_equal(sim_text(r, "close.heap"), "FL_OK");
        assert_string_equal(sim_text(r, "access.heap"), "FL_OK");
        result_free(&r);
        free(p);
    }
    assert_true(2 * fired > SEEDS);
}

/* W-f2, W-f3, W-f8: a cut shorter than the heartbeat bound, operations with deadlines below it:
 * timeouts, fences, writes stuck in old connections, and in the end the right image. */
static void link_is_cut_and_heals(void **state)
{
    (void)state;
    size_t fired = 0;
    double fences = 0, timeouts = 0;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct plan *p = plan_of(seed);
        struct plan_step *s = step_at_site(p, PLAN_CUT, seed / 2 % 2 ? "c0" : "m0");
        s->target2 = (uint16_t)(s->target ? 0 : 1);
        s->for_ns = (1 + seed % 40) * FL_NS_PER_MS;
        p->nodes[0].retry_max = 20;
        p->regions[0].op_deadline_ns = (2 + seed % 5) * FL_NS_PER_MS;
        struct result *r = run(p);
        fired += r->faults[0].fired;
        fences += sim_metric(r, "fences");
        timeouts += sim_metric(r, "op_timeouts");
        assert_string_equal(sim_text(r, "close.heap"), "FL_OK");
        assert_string_equal(sim_text(r, "access.heap"), "FL_OK");
        result_free(&r);
        free(p);
    }
    assert_true(2 * fired > SEEDS && fences > 20 && timeouts > 20);
}

/* A cut that never heals is a death after the heartbeat bound: typed errors, a bounded end. */
static void link_is_cut_for_good(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct plan *p = plan_of(seed);
        for (int way = 0; way < 2; way++) {
            struct plan_step *s =
                sim_step(p, PLAN_CUT, way ? "m0" : "c0", FL_SITE_PAGE_FETCHED, 1 + seed % 20);
            s->target2 = (uint16_t)(way ? 0 : 1);
        }
        p->regions[0].op_deadline_ns = 5 * FL_NS_PER_MS;
        struct result *r = run(p);
        assert_true(r->faults[0].fired);
        assert_string_not_equal(sim_text(r, "close.heap"), "FL_OK");
        assert_true(r->duration_ns < 20 * FL_NS_PER_S);
        result_free(&r);
        free(p);
    }
}

/* W-f7: a compute node dies. The others go on, its memory nodes hold only what it wrote. */
static void compute_node_dies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct plan *p = sim_plan_random(seed);
        if (p->nodes[1].role != PLAN_COMPUTE) {
            free(p);
            continue;
        }
        struct plan_step *s = sim_step(p, PLAN_KILL, "c0", FL_SITE_MISS, 1 + seed % 7);
        s->node = 0;
        struct result *r = run(p);
        assert_true(r->faults[0].fired);
        assert_true(sim_metric(r, "c0.misses") < 0); /* the dead report nothing */
        assert_true(sim_metric(r, "c1.misses") > 0 || p->region_count == 1);
        if (p->region_count > 1)
            assert_string_equal(sim_text(r, "close.r1"), "FL_OK");
        result_free(&r);
        free(p);
    }
}

static void a_fault_that_never_fires_decides_nothing(void **state)
{
    (void)state;
    struct plan *p = plan_of(1);
    struct fl_errmsg why;
    sim_step(p, PLAN_KILL, "m0", FL_SITE_MISS, 1000000);
    struct result *r = run(p);
    assert_int_equal(r->faults[0].fired, 0);
    assert_int_equal(result_judge(p, r, &why), EMU_UNDECIDED);
    result_free(&r);
    free(p);
}

static void same_seed_same_faults_same_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct plan *p = plan_of(seed);
        step_at_site(p, PLAN_KILL, "m1");
        struct plan_step *s = sim_step(p, PLAN_PAUSE, "m0", FL_SITE_NONE, 50 * FL_NS_PER_US);
        s->for_ns = FL_NS_PER_MS;
        struct result *a = run(p), *b = run(p);
        assert_true(a->trace_hash == b->trace_hash);
        assert_int_equal(a->faults[0].t_ns, b->faults[0].t_ns);
        if (seed <= 3)
            print_message("trace_hash faults-%d %016llx\n", (int)seed,
                          (unsigned long long)a->trace_hash);
        result_free(&a);
        result_free(&b);
        free(p);
    }
}

/* Steps at times count from the start of the work; the deadline of a run is virtual, too. */
static void a_run_that_takes_too_long_is_cut_short(void **state)
{
    (void)state;
    struct plan *p = plan_of(2);
    p->run_deadline_ns = 2 * FL_NS_PER_MS;
    p->workloads[0].think_ns = FL_NS_PER_MS;
    struct result *r = sim_run(p, "actor");
    assert_true(r->timed_out && !r->no_progress);
    assert_non_null(strstr(r->why, "c0"));
    result_free(&r);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_node_dies),
        cmocka_unit_test(memory_node_pauses_and_goes_on),
        cmocka_unit_test(link_is_cut_and_heals),
        cmocka_unit_test(link_is_cut_for_good),
        cmocka_unit_test(compute_node_dies),
        cmocka_unit_test(a_fault_that_never_fires_decides_nothing),
        cmocka_unit_test(same_seed_same_faults_same_trace),
        cmocka_unit_test(a_run_that_takes_too_long_is_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
