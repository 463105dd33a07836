/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that really load, store and trap, as coroutines in virtual time: programs, and generated
 * workloads through the same traps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "emu/swarm.h"
#include "tests/sim/plans.h"

enum { PAGES_32M = 8192, REPEATS = 20 };

/** @kind's program with a cache of @cached pages. */
static struct plan *program(uint64_t seed, enum plan_work_kind kind, uint64_t ops, uint32_t cached)
{
    struct plan *p = sim_plan(seed, 2, PAGES_32M, kind, 1, ops);
    p->nodes[0].device_memory_bytes = (uint64_t)cached * FL_PAGE_BYTES;
    p->regions[0].period_ns = 500 * FL_NS_PER_US;
    p->heartbeat_ns = 5 * FL_NS_PER_MS;
    p->heartbeat_miss_ns = 50 * FL_NS_PER_MS;
    for (int i = 1; i <= 2; i++)
        p->nodes[i].memory_bytes = 64 << 20;
    snprintf(p->workloads[0].source, sizeof p->workloads[0].source, "%s",
             kind == PLAN_LUA ? "tables.lua" : "/usr/share/common-licenses/GPL-3");
    return p;
}

static struct plan *sqlite(uint64_t seed)
{
    struct plan *p = program(seed, PLAN_SQLITE, 400, 48);
    p->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
    return p;
}

static struct plan *lua(uint64_t seed)
{
    struct plan *p = program(seed, PLAN_LUA, 4, 64);
    p->regions[0].path = seed % 2 ? WB_LOG : WB_DIRECT;
    return p;
}

static void repeats(struct plan *(*make)(uint64_t seed), unsigned times)
{
    struct plan *p = make(1);
    struct result *first = sim_run_held(p, "actor");
    assert_string_equal(first->tracker, "coroutine"); /* whatever was asked for by default */
    assert_true(sim_metric(first, "local_dirty") > 50);
    assert_true(sim_metric(first, "evictions") > 50);
    assert_true(sim_metric(first, "refetched") > 50);
    assert_true(sim_metric(first, "periods") > 2);
    for (unsigned i = 0; i < times; i++) {
        struct result *r = sim_run_held(p, "coroutine");
        assert_true(r->trace_hash == first->trace_hash);
        assert_true(r->image_digest == first->image_digest);
        assert_true(r->duration_ns == first->duration_ns);
        result_free(&r);
    }
    free(p);
    p = make(3);
    struct result *other = sim_run_held(p, "actor");
    assert_true(other->trace_hash != first->trace_hash);
    result_free(&other);
    result_free(&first);
    free(p);
}

/** Addresses outside of the region are others in each of these processes. */
static void sqlite_gives_one_trace_for_one_seed(void **state)
{
    (void)state;
    repeats(sqlite, REPEATS);
}

static void lua_gives_one_trace_for_one_seed(void **state)
{
    (void)state;
    repeats(lua, REPEATS);
}

static void programs_find_their_rows(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct plan *p = sqlite(seed);
        struct result *r = sim_run_held(p, "actor");
        assert_int_equal((int)sim_metric(r, "sqlite.match"), 1);
        assert_int_equal((int)sim_metric(r, "mix.match"), 1);
        assert_true(sim_metric(r, "sqlite.rows") > 300);
        assert_true(sim_metric(r, "sqlite.heap_bytes") > 100000);
        assert_int_equal(strlen(sim_text(r, "sqlite.checksum")), 16);
        assert_string_equal(sim_text(r, "error.mix"), "FL_OK");
        assert_string_equal(sim_text(r, "close.heap"), "FL_OK");
        result_free(&r);
        free(p);
        p = lua(seed);
        r = sim_run_held(p, "actor");
        assert_int_equal((int)sim_metric(r, "lua.match"), 1);
        assert_int_equal((int)sim_metric(r, "lua.rows"), 4);
        result_free(&r);
        free(p);
    }
}

/* --- faults --------------------------------------------------------------------------------------- */

static void a_lost_node_ends_the_program_with_its_cause(void **state)
{
    (void)state;
    static const enum plan_work_kind kinds[] = {PLAN_SQLITE, PLAN_LUA};
    for (uint64_t i = 0; i < 10; i++) {
        struct plan *p = kinds[i % 2] == PLAN_SQLITE ? sqlite(1) : lua(2);
        sim_step(p, PLAN_KILL, "m0", FL_SITE_FLUSH_ACK, 20 + 30 * i);
        p->check_count = 0; /* W1 and W5 speak of runs that close */
        struct result *r = sim_run(p, "actor");
        assert_int_equal(r->faults[0].fired, 1);
        assert_false(r->timed_out || r->no_progress || r->node_failed);
        assert_string_equal(sim_text(r, "error.mix"), "FL_EPEERDEAD");
        assert_string_equal(sim_text(r, "access.heap"), "FL_EPEERDEAD");
        assert_string_equal(sim_text(r, "close.heap"), "FL_EPEERDEAD");
        assert_int_equal((int)sim_metric(r, "access_errors"), 1);
        assert_int_equal((int)sim_metric(r, "mix.match"), 0);
        static const char *const ids[] = {"W2", "W3", "W4", "W7", "W8"};
        for (size_t k = 0; k < sizeof ids / sizeof *ids; k++)
            assert_int_equal(sim_violated(r, ids[k]), 0);
        result_free(&r);
        free(p);
    }
}

static void a_killed_program_is_gone(void **state)
{
    (void)state;
    struct plan *p = sqlite(5);
    sim_step(p, PLAN_KILL, "c0", FL_SITE_MISS, 100);
    p->check_count = 0;
    struct result *r = sim_run(p, "actor");
    assert_int_equal(r->faults[0].fired, 1);
    assert_false(r->timed_out || r->no_progress || r->node_failed);
    assert_string_equal(sim_text(r, "error.mix"), "FL_OK"); /* nobody was told anything */
    result_free(&r);
    free(p);
}

static void pauses_and_cuts_are_survived(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct plan *p = seed % 2 ? sqlite(seed) : lua(seed);
        struct plan_step *s = sim_step(p, PLAN_PAUSE, seed % 3 ? "m1" : "c0", FL_SITE_MISS, 40);
        s->for_ns = 3 * FL_NS_PER_MS;
        s = sim_step(p, PLAN_CUT, "c0", FL_SITE_FLUSH_POST, 60);
        s->target2 = 1;
        s->for_ns = 5 * FL_NS_PER_MS;
        p->nodes[0].retry_max = 20;
        struct result *r = sim_run_held(p, "actor");
        assert_int_equal(r->faults[0].fired + r->faults[1].fired, 2);
        assert_int_equal((int)sim_metric(r, "mix.match"), 1);
        result_free(&r);
        free(p);
    }
}

/* --- planted mistakes --------------------------------------------------------------------------- */

static const char *const ids[] = {"W1", "W2", "W3", "W4", "W5", "W7", "W8"};
/* How many seeds it takes depends on the build: on the order in which memcpy stores. */
enum { IDS = sizeof ids / sizeof *ids, SEEDS = 150 };

static struct result *planted(uint64_t seed, const char *plant, const char *blind)
{
    struct plan *p = sqlite(seed);
    sim_plant(p, plant);
    sim_plant(p, blind);
    struct result *r = sim_run(p, "actor");
    free(p);
    return r;
}

/** Whatever a broken device does to its heap: the run ends, is judged, and blinding the oracle
 * changes exactly its id. */
static void planted_mistakes_are_caught_and_survived(void **state)
{
    (void)state;
    static const struct {
        const char *plant, *id;
    } cases[] = {{"W-close-before-last-ack", "W1"},
                 {"W-drop-unacked", "W2"},
                 {"W-clear-after-snap", "W3"},
                 {"W-retire-on-post", "W3"},
                 {"W-send-clean", "W4"},
                 {"W-neighbour", "W4"},
                 {"W-miscount", "W5"},
                 {"W-over-capacity", "W8"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char blind[16];
        uint64_t seed = 1;
        struct result *r = planted(seed, cases[k].plant, NULL);
        for (; sim_violated(r, cases[k].id) == 0 && seed < SEEDS; seed++) {
            result_free(&r);
            r = planted(seed + 1, cases[k].plant, NULL);
        }
        if (sim_violated(r, cases[k].id) == 0)
            fail_msg("%s: %s saw nothing in %d seeds", cases[k].plant, cases[k].id, SEEDS);
        snprintf(blind, sizeof blind, "blind-%s", cases[k].id);
        struct result *b = planted(seed, cases[k].plant, blind);
        assert_true(b->trace_hash == r->trace_hash);
        for (size_t i = 0; i < IDS; i++)
            assert_int_equal(sim_violated(b, ids[i]),
                             strcmp(ids[i], cases[k].id) == 0 ? 0 : sim_violated(r, ids[i]));
        result_free(&b);
        result_free(&r);
    }
}

/** The program's own data tell, too, not only the device's doings. */
static void a_program_that_was_deceived_says_so(void **state)
{
    (void)state;
    bool seen = false;
    for (uint64_t seed = 1; seed <= SEEDS && !seen; seed++) {
        struct result *r = planted(seed, "W-clear-after-snap", "blind-W2");
        struct result *held = planted(seed, NULL, NULL);
        assert_int_equal(sim_violated(held, "W3"), 0);
        seen = sim_violated(r, "W3") > 0 && sim_metric(r, "mix.match") < 0.5;
        result_free(&r);
        result_free(&held);
    }
    assert_true(seen);
}

/* --- generated workloads through the same traps ---------------------------------------------------- */

static void random_plans_hold_with_real_traps(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct plan *p = sim_plan_random(seed);
        struct result *a = sim_run_held(p, "coroutine"), *b = sim_run_held(p, "coroutine");
        assert_true(a->trace_hash == b->trace_hash);
        assert_true(a->image_digest == b->image_digest);
        assert_true(sim_metric(a, "accesses") > 0);
        result_free(&a);
        result_free(&b);
        free(p);
    }
}

static void image_is_that_of_the_other_trackers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct plan *p = sim_plan(seed, 2, 64, PLAN_ZIPF, 3, 1000);
        struct result *a = sim_run_held(p, "actor"), *b = sim_run_held(p, "coroutine");
        assert_true(a->image_digest == b->image_digest);
        assert_int_equal((int)sim_metric(a, "accesses"), (int)sim_metric(b, "accesses"));
        result_free(&a);
        result_free(&b);
        free(p);
    }
}

/* --- the rest --------------------------------------------------------------------------------- */

static void swarms_draw_faults_for_programs(void **state)
{
    (void)state;
    struct plan *base = sqlite(1), *p = malloc(sizeof *p);
    assert_non_null(p);
    unsigned fired = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct pool_note n = {.verdict = EMU_HELD};
        bool drawn = swarm_draw(base, seed, false, p);
        swarm_run(p, drawn, seed % 4 == 0, &n);
        if (n.verdict != EMU_HELD)
            fail_msg("seed %d: %s: %s", (int)seed, n.key, n.why);
        for (size_t i = 0; i < sizeof n.fired / sizeof *n.fired; i++)
            fired += n.fired[i];
    }
    assert_true(fired > 3);
    free(base);
    free(p);
}

static void what_cannot_run_is_refused_with_the_way_out(void **state)
{
    (void)state;
    struct plan *p = sqlite(1);
    struct run_opts o = {.fabric = "sim", .tracker = "actor-sampled"};
    struct fl_errmsg err = {{0}};
    struct result *r = result_new();
    assert_int_equal(emu_run_sim(p, &o, r, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "use coroutine"));
    o.tracker = "actor";
    snprintf(p->workloads[0].source, sizeof p->workloads[0].source, "/nonexistent/text");
    assert_int_equal(emu_run_sim(p, &o, r, &err), FL_OK);
    assert_true(r->node_failed);
    assert_non_null(strstr(r->why, "/nonexistent/text"));
    result_free(&r);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite_gives_one_trace_for_one_seed),
        cmocka_unit_test(lua_gives_one_trace_for_one_seed),
        cmocka_unit_test(programs_find_their_rows),
        cmocka_unit_test(a_lost_node_ends_the_program_with_its_cause),
        cmocka_unit_test(a_killed_program_is_gone),
        cmocka_unit_test(pauses_and_cuts_are_survived),
        cmocka_unit_test(planted_mistakes_are_caught_and_survived),
        cmocka_unit_test(a_program_that_was_deceived_says_so),
        cmocka_unit_test(random_plans_hold_with_real_traps),
        cmocka_unit_test(image_is_that_of_the_other_trackers),
        cmocka_unit_test(swarms_draw_faults_for_programs),
        cmocka_unit_test(what_cannot_run_is_refused_with_the_way_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
