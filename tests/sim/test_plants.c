/* SPDX-License-Identifier: Apache-2.0 */
/* Each planted bug of the table is caught by its own oracle within a few seeds, and blinding that
 * oracle changes exactly its id. Where a bug needs more than a plain run: CASES. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "tests/sim/plans.h"
#include "tests/sim/special.h"
#include "tests/support/runs.h"

enum { SEEDS = 100 };

static struct plan *plan_of(uint64_t seed, const char *plant)
{
    struct plan *p = sim_plan(seed, 2, 32, PLAN_RANDOM, 3, 600);
    p->workloads[0].len_bytes = 100;
    p->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
    p->regions[0].sample_ns = FL_NEVER;
    p->nodes[0].device_memory_bytes = (12 + seed % 3 * 6) * FL_PAGE_BYTES;
    p->nodes[0].dclb_lines = seed % 4 ? 4096 : 8;
    snprintf(p->checks[p->check_count++], sizeof p->checks[0], "W6");
    sim_plant(p, plant);
    return p;
}

/** Answers or requests are lost for a while, so that writes are sent again. */
static void cut(struct plan *p)
{
    struct plan_step *s =
        sim_step(p, PLAN_CUT, p->seed % 3 ? "c0" : "m0",
                 p->seed % 2 ? FL_SITE_FLUSH_POST : FL_SITE_FLUSH_ACK, 1 + p->seed % 9);
    s->target2 = (uint16_t)(s->target ? 0 : 1);
    s->for_ns = (1 + p->seed % 10) * FL_NS_PER_MS;
    p->regions[0].op_deadline_ns = 2 * FL_NS_PER_MS;
    p->nodes[0].retry_max = 20;
    p->check_count--; /* W6 bounds what waits for a period, not for a link that is cut */
}

/* --- the table ---------------------------------------------------------------------------------- */

static struct result *simulated(uint64_t seed, const char *plant, const char *blind, bool with_cut)
{
    struct plan *p = plan_of(seed, plant);
    if (with_cut)
        cut(p);
    sim_plant(p, blind);
    struct result *r = sim_run(p, "actor");
    free(p);
    return r;
}

static struct result *plain(uint64_t seed, const char *plant, const char *blind)
{
    return simulated(seed, plant, blind, false);
}

static struct result *with_a_cut(uint64_t seed, const char *plant, const char *blind)
{
    return simulated(seed, plant, blind, true);
}

/** A memory node dies between two pages of a batch and comes back with its image. */
static struct result *with_a_restart(uint64_t seed, const char *plant, const char *blind)
{
    struct plan *p = plan_of(seed, plant);
    p->regions[0].path = WB_LOG;
    sim_step(p, PLAN_KILL, "m0", FL_SITE_LOG_APPLY, 20 + seed)->node = 1;
    sim_step(p, PLAN_RESTART, "m0", FL_SITE_PEER_LOST, 1)->node = 0;
    p->check_count--; /* W6: see cut() */
    sim_plant(p, blind);
    struct result *r = sim_run(p, "actor");
    free(p);
    return r;
}

typedef struct result *run_fn(uint64_t seed, const char *plant, const char *blind);

/* Where a bug shows; a plain run for those that are not named. */
static const struct {
    enum fl_plant plant;
    run_fn *run;
} CASES[] = {
    {FL_PLANT_SKIP_FENCE, with_a_cut},
    {FL_PLANT_STALE_SEQ, sim_old_numbers},
    {FL_PLANT_COARSE_LINES, sim_thresholds},
    {FL_PLANT_NO_RECORD, with_a_restart},
};

static run_fn *run_of(enum fl_plant x)
{
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        if (CASES[i].plant == x)
            return CASES[i].run;
    return plain;
}

/* The first seed at which @x is caught by its own check; its result. */
static struct result *first_catch(enum fl_plant x, uint64_t *ret_seed)
{
    const struct fl_plant_info *info = fl_plant_info(x);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct result *r = run_of(x)(seed, info->id, NULL);
        if (sim_violated(r, info->check) > 0) {
            *ret_seed = seed;
            return r;
        }
        result_free(&r);
    }
    fail_msg("%s was not caught by %s within %d seeds", info->id, info->check, SEEDS);
    return NULL;
}

static const struct result_check *check_in(const struct result *r, const char *id)
{
    for (size_t k = 0; k < r->check_count; k++)
        if (strcmp(r->checks[k].id, id) == 0)
            return &r->checks[k];
    fail_msg("no check %s", id);
    return NULL;
}

/* The run without the plant holds, the same oracle having looked. */
static void holds_without(enum fl_plant x, uint64_t seed)
{
    struct result *r = run_of(x)(seed, NULL, NULL);
    for (size_t k = 0; k < r->check_count; k++)
        assert_int_equal(r->checks[k].violated, 0);
    assert_true(check_in(r, fl_plant_info(x)->check)->checked > 0);
    result_free(&r);
}

static void blinding_changes_only(enum fl_plant x, uint64_t seed, const struct result *r)
{
    const struct fl_plant_info *info = fl_plant_info(x);
    char blind[32];
    snprintf(blind, sizeof blind, "blind-%s", info->check);
    struct result *b = run_of(x)(seed, info->id, blind);
    assert_true(b->trace_hash == r->trace_hash); /* oracles only watch */
    assert_int_equal(b->check_count, r->check_count);
    for (size_t k = 0; k < r->check_count; k++) {
        const struct result_check *was = &r->checks[k], *is = check_in(b, was->id);
        bool own = strcmp(was->id, info->check) == 0;
        assert_int_equal(is->violated, own ? 0 : was->violated);
        assert_int_equal(is->checked, own ? 0 : was->checked);
    }
    result_free(&b);
}

static void every_planted_bug_is_caught_and_only_its_oracle_goes_blind(void **state)
{
    (void)state;
    bool seen[10] = {false};
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const struct fl_plant_info *info = fl_plant_info((enum fl_plant)i);
        uint64_t seed = 0;
        /* What is no invariant's matter: tests/sim/test_fault_kinds.c */
        if (strncmp(info->id, "blind-", 6) == 0 || strchr(info->check, '-') != NULL)
            continue;
        struct result *r = first_catch((enum fl_plant)i, &seed);
        print_message("%s: caught by %s at seed %d\n", info->id, info->check, (int)seed);
        holds_without((enum fl_plant)i, seed);
        blinding_changes_only((enum fl_plant)i, seed, r);
        seen[info->check[1] - '0'] = true;
        result_free(&r);
    }
    for (int w = 1; w <= 9; w++)
        if (!seen[w])
            fail_msg("no planted bug for W%d", w);
}

/* The same plans without a plant: what is caught is the plant. */
static void nothing_is_caught_where_nothing_is_planted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (int with_cut = 0; with_cut < 2; with_cut++) {
            struct plan *p = plan_of(seed, NULL);
            if (with_cut)
                cut(p);
            struct result *r = sim_run(p, "actor");
            for (size_t k = 0; k < r->check_count; k++)
                if (r->checks[k].violated)
                    fail_msg("seed %d: %s: %s", (int)seed, r->checks[k].id, r->checks[k].first);
            result_free(&r);
            free(p);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_planted_bug_is_caught_and_only_its_oracle_goes_blind),
        cmocka_unit_test(nothing_is_caught_where_nothing_is_planted),
    };
    return cmocka_run_group_tests(tests, runs_make_dir, runs_remove_dir);
}
