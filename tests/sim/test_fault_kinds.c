/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of fault in the simulator: it really hits, what is honest is survived, what lies is
 * caught; a node comes back; a crash costs no acknowledged line; what hangs after healing shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "emu/plan_steps.h"
#include "tests/sim/plans.h"

enum { SEEDS = 12 };

static struct plan *plan_of(uint64_t seed, bool log)
{
    struct plan *p = sim_plan(seed, 2, 32, PLAN_RANDOM, 2, 800);

    p->workloads[0].len_bytes = 100;
    p->regions[0].path = log ? WB_LOG : WB_DIRECT;
    p->nodes[0].device_memory_bytes = 12 * FL_PAGE_BYTES;
    p->nodes[0].retry_max = 20;
    p->regions[0].op_deadline_ns = 3 * FL_NS_PER_MS;
    return p;
}

/** A filter between c0 and m0 (or at c0) from the n-th passing of a site on. */
static struct plan_step *fault(struct plan *p, enum tp_fault_kind kind, enum fl_site site,
                               uint64_t nth)
{
    struct plan_step *s = sim_step(p, PLAN_FAULT, "c0", site, nth);

    s->fault = (uint8_t)kind;
    s->target2 = 1;
    return s;
}

static void nothing_violated(const struct plan *p, const struct result *r, const char *what)
{
    for (size_t k = 0; k < r->check_count; k++)
        if (r->checks[k].violated)
            fail_msg("%s, seed %d: %s: %s", what, (int)p->seed, r->checks[k].id,
                     r->checks[k].first);
    if (r->timed_out || r->no_progress || r->node_failed)
        fail_msg("%s, seed %d: %s", what, (int)p->seed, r->why);
}

/* --- filters ------------------------------------------------------------------------------------ */

/* On which paths a kind finds something to hit, whether it is a lie that oracles must see, and
 * whether accesses and close may fail (a connection that breaks is a node that is gone). */
static const struct {
    enum tp_fault_kind kind;
    bool direct, log, lie, breaks;
} KINDS[] = {
    {TP_FAULT_DELAY, true, true, false, false},
    {TP_FAULT_RATE, true, true, false, false},
    {TP_FAULT_CLOG, true, true, false, false},
    {TP_FAULT_DUPLICATE, false, true, false, false},
    {TP_FAULT_REORDER, false, true, false, true},
    {TP_FAULT_DROP, false, true, false, true},
    {TP_FAULT_TRUNCATE, false, true, false, true},
    {TP_FAULT_CORRUPT, false, true, false, true},
    {TP_FAULT_DONE_LOST, true, true, false, false},
    {TP_FAULT_DONE_LATE, true, true, false, false},
    {TP_FAULT_DONE_ERROR, true, true, false, false},
    {TP_FAULT_DONE_EARLY, true, false, true, false},
    {TP_FAULT_STUCK, true, false, false, false},
    {TP_FAULT_SHORT_READ, true, true, true, false},
    {TP_FAULT_STALE_READ, true, true, true, false},
    {TP_FAULT_BIT_FLIP, true, true, true, false},
};

static struct result *run_kind(uint64_t seed, size_t k, bool log, struct plan **ret_p)
{
    struct plan *p = plan_of(seed, log);
    struct plan_step *s = fault(p, KINDS[k].kind, FL_SITE_FLUSH_POST, 5 + seed);
    const struct plan_step_info *info = plan_step_info(plan_step_kind(s));

    if (info->options & PLAN_OPT_COUNT)
        s->count = KINDS[k].lie ? 8 : 2;
    else
        s->for_ns = 2 * FL_NS_PER_MS;
    s->by_ns = info->options & PLAN_OPT_BY ? FL_NS_PER_MS : 0;
    s->rate_bps = info->options & PLAN_OPT_BPS ? 50 * 1000 * 1000 : 0;
    *ret_p = p;
    return sim_run(p, "actor");
}

static void each_kind_hits_and_only_lies_show(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        for (int log = 0; log < 2; log++) {
            unsigned fired = 0, seen = 0;

            if (!(log ? KINDS[k].log : KINDS[k].direct))
                continue;
            for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                struct plan *p;
                struct result *r = run_kind(seed, k, log, &p);
                const char *kind = r->faults[0].kind;

                fired += r->faults[0].fired > 0;
                seen += sim_violated(r, "W3") > 0;
                if (!KINDS[k].lie)
                    nothing_violated(p, r, kind);
                if (!KINDS[k].lie && !KINDS[k].breaks)
                    assert_string_equal(sim_text(r, "close.heap"), "FL_OK");
                result_free(&r);
                free(p);
            }
            if (2 * fired < SEEDS || (KINDS[k].lie && seen == 0))
                fail_msg("kind %d, %s path: fired %u times, seen %u times", (int)KINDS[k].kind,
                         log ? "log" : "direct", fired, seen);
        }
}

static void a_fault_that_hits_nothing_never_fired(void **state)
{
    struct fl_errmsg why = {""};
    struct plan *p = plan_of(1, false);

    (void)state;
    /* A memory node posts nothing to its compute node. */
    struct plan_step *s = fault(p, TP_FAULT_DONE_LOST, FL_SITE_FLUSH_POST, 5);
    s->target = 1;
    s->target2 = 0;
    struct result *r = sim_run(p, "actor");
    assert_int_equal(r->faults[0].fired, 0);
    assert_int_equal(result_judge(p, r, &why), EMU_UNDECIDED);
    assert_non_null(strstr(why.text, "lose_completion m0,c0"));
    assert_non_null(strstr(why.text, "c0.flush_post#5"));
    result_free(&r);
    free(p);
}

/* --- the device ----------------------------------------------------------------------------------- */

static void a_slow_device_and_full_slots_only_delay(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (int full = 0; full < 2; full++) {
            struct plan *p = plan_of(seed, seed % 2);
            struct plan_step *s =
                sim_step(p, full ? PLAN_SLOTS_FULL : PLAN_SLOW, "c0", FL_SITE_MISS, 20 + seed);

            s->for_ns = 2 * FL_NS_PER_MS;
            s->by_ns = full ? 0 : 20 * FL_NS_PER_US;
            struct result *r = sim_run(p, "actor");
            nothing_violated(p, r, full ? "fill_slots" : "slow");
            assert_true(r->faults[0].fired > 0);
            assert_string_equal(sim_text(r, "close.heap"), "FL_OK");
            assert_true(!full || sim_metric(r, "slots_refused") > 0);
            result_free(&r);
            free(p);
        }
}

/* --- restart ---------------------------------------------------------------------------------------- */

/** m0 dies between two pages of a batch, or between two writes, and comes back. */
static struct plan *with_restart(uint64_t seed, bool log, bool blank)
{
    struct plan *p = plan_of(seed, log);

    if (log)
        sim_step(p, PLAN_KILL, "m0", FL_SITE_LOG_APPLY, 10 + seed)->node = 1;
    else
        sim_step(p, PLAN_KILL, "m0", FL_SITE_FLUSH_POST, 10 + seed);
    struct plan_step *s = sim_step(p, PLAN_RESTART, "m0", FL_SITE_PEER_LOST, 1);
    s->by_ns = seed * FL_NS_PER_MS;
    s->blank = blank;
    return p;
}

static void a_memory_node_comes_back(void **state)
{
    double completed = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++)
        for (int blank = 0; blank < 2; blank++) {
            struct plan *p = with_restart(seed, seed % 3 != 0, blank);
            struct result *r = sim_run(p, "actor");

            nothing_violated(p, r, "restart");
            assert_int_equal(r->faults[0].fired, 1);
            assert_int_equal(r->faults[1].fired, 1);
            /* What failed stays failed: its lines are lost, and zeros are never served as data. */
            assert_string_equal(sim_text(r, "close.heap"), "FL_EPEERDEAD");
            completed += sim_metric(r, "m0.batches_completed");
            assert_true(!blank || sim_metric(r, "m0.batches_completed") < 1);
            result_free(&r);
            free(p);
        }
    assert_true(2 * completed > SEEDS);
}

static void a_node_that_dies_again_while_it_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct plan *p = with_restart(seed, true, false);

        sim_step(p, PLAN_KILL, "m0", FL_SITE_RESTART, 1)->node = 1;
        struct result *r = sim_run(p, "actor");
        nothing_violated(p, r, "crash during recovery");
        assert_int_equal(r->faults[2].fired, 1);
        assert_string_equal(sim_text(r, "close.heap"), "FL_EPEERDEAD");
        result_free(&r);
        free(p);
    }
}

/* It cannot pin its memory: it stays dead, and nobody else suffers. */
static void a_node_that_cannot_come_back(void **state)
{
    struct plan *p = with_restart(4, false, false);
    struct plan_step *s = fault(p, TP_FAULT_REG_FAIL, FL_SITE_PEER_LOST, 1);

    (void)state;
    s->target = 1;
    s->target2 = 0;
    s->count = 1;
    struct result *r = sim_run(p, "actor");
    nothing_violated(p, r, "fail_registration");
    assert_int_equal(r->faults[2].fired, 1);
    assert_string_equal(sim_text(r, "close.heap"), "FL_EPEERDEAD");
    result_free(&r);
    free(p);
}

/* At the start it is an error of setting up. */
static void memory_that_cannot_be_registered_at_the_start(void **state)
{
    struct plan *p = plan_of(1, false);
    struct plan_step *s = fault(p, TP_FAULT_REG_FAIL, FL_SITE_NONE, 0);
    struct run_opts o = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct result *r = result_new();
    struct fl_errmsg err = {""};

    (void)state;
    s->when = PLAN_AT_START;
    s->target2 = 0;
    assert_int_not_equal(emu_run_sim(p, &o, r, &err), FL_OK);
    assert_non_null(strstr(err.text, "ulimit -l"));
    result_free(&r);
    free(p);
}

static void only_the_dead_come_back(void **state)
{
    struct fl_errmsg why = {""};
    struct plan *p = plan_of(3, false);

    (void)state;
    sim_step(p, PLAN_RESTART, "m0", FL_SITE_MISS, 5);
    sim_step(p, PLAN_KILL, "m0", FL_SITE_MISS, 1000000);
    struct result *r = sim_run(p, "actor");
    assert_int_equal(r->faults[0].fired, 0);
    assert_int_equal(result_judge(p, r, &why), EMU_UNDECIDED);
    assert_non_null(strstr(why.text, "restart m0"));
    result_free(&r);
    free(p);
}

/* --- W-f7 ---------------------------------------------------------------------------------------------- */

static struct result *crash(uint64_t seed, bool lie)
{
    struct plan *p = plan_of(seed, seed % 2 && !lie);

    if (lie) {
        struct plan_step *s = fault(p, TP_FAULT_DONE_EARLY, FL_SITE_FLUSH_POST, 10 + seed);
        s->by_ns = FL_NS_PER_MS;
    }
    sim_step(p, PLAN_KILL, "c0", seed % 3 ? FL_SITE_FLUSH_POST : FL_SITE_FLUSH_ACK, 20 + seed);
    struct result *r = sim_run(p, "actor");
    assert_true(r->faults[lie].fired > 0);
    if (!lie)
        nothing_violated(p, r, "crash of the compute node");
    free(p);
    return r;
}

static void a_compute_node_loses_only_what_was_not_acknowledged(void **state)
{
    unsigned lossy = 0, caught = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        struct result *r = crash(seed, false);

        assert_true(sim_metric(r, "c0.lost_lines") >= 0);
        lossy += sim_metric(r, "lost_lines") > 0;
        assert_true(sim_metric(r, "lost_bytes") / FL_LINE_BYTES < 12 * FL_PAGE_LINES);
        result_free(&r);
        /* Completions that lie: acknowledged lines go down with the node. */
        r = crash(seed, true);
        caught += sim_violated(r, "W3") > 0;
        result_free(&r);
    }
    assert_true(lossy > SEEDS);
    assert_true(caught > 0);
}

/* --- progress -------------------------------------------------------------------------------------------- */

static enum emu_exit after_healing(const char *plant, struct fl_errmsg *why)
{
    struct plan *p = plan_of(2, false);

    sim_plant(p, plant);
    fault(p, TP_FAULT_DONE_ERROR, FL_SITE_FLUSH_POST, 9)->count = 2;
    p->regions[0].close_deadline_ns = 60 * FL_NS_PER_S; /* the run ends before */
    p->run_deadline_ns = 2 * FL_NS_PER_S;
    struct result *r = sim_run(p, "actor");
    assert_int_equal(r->faults[0].fired, 2);
    enum emu_exit e = result_judge(p, r, why);
    result_free(&r);
    free(p);
    return e;
}

static void what_is_never_sent_again_is_no_progress(void **state)
{
    struct fl_errmsg why = {""};

    (void)state;
    assert_int_equal(after_healing(NULL, &why), EMU_HELD);
    assert_int_equal(after_healing("W-never-retry", &why), EMU_NO_PROGRESS);
    assert_non_null(strstr(why.text, "c0"));
}

/* A fault that nothing has ended explains what hangs: that decides nothing. */
static void what_hangs_under_a_lasting_fault_is_undecided(void **state)
{
    struct fl_errmsg why = {""};
    struct plan *p = plan_of(2, false);

    (void)state;
    fault(p, TP_FAULT_CLOG, FL_SITE_FLUSH_POST, 9);
    p->regions[0].op_deadline_ns = p->regions[0].close_deadline_ns = 60 * FL_NS_PER_S;
    p->heartbeat_miss_ns = 60 * FL_NS_PER_S;
    p->run_deadline_ns = 2 * FL_NS_PER_S;
    struct result *r = sim_run(p, "actor");
    assert_int_equal(result_judge(p, r, &why), EMU_UNDECIDED);
    assert_true(r->timed_out && !r->no_progress);
    result_free(&r);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_hits_and_only_lies_show),
        cmocka_unit_test(a_fault_that_hits_nothing_never_fired),
        cmocka_unit_test(a_slow_device_and_full_slots_only_delay),
        cmocka_unit_test(a_memory_node_comes_back),
        cmocka_unit_test(a_node_that_dies_again_while_it_comes_back),
        cmocka_unit_test(a_node_that_cannot_come_back),
        cmocka_unit_test(memory_that_cannot_be_registered_at_the_start),
        cmocka_unit_test(only_the_dead_come_back),
        cmocka_unit_test(a_compute_node_loses_only_what_was_not_acknowledged),
        cmocka_unit_test(what_is_never_sent_again_is_no_progress),
        cmocka_unit_test(what_hangs_under_a_lasting_fault_is_undecided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
