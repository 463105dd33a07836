/* SPDX-License-Identifier: Apache-2.0 */
/* Each planted bug is caught by its oracle within a few seeds, and blinding that oracle changes
 * exactly its id. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/writeback.h"
#include "tests/sim/plans.h"

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
    assert_int_equal(fl_plant_add(&p->plants, plant), FL_OK);
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

static const struct {
    const char *id;
    bool cut;
} PLANTS[] = {
    {"W-close-before-last-ack", false},
    {"W-drop-unacked", false},
    {"W-drop-busy-gate", false},
    {"W-clear-after-snap", false},
    {"W-retire-on-post", false},
    {"W-dclb-drop", false},
    {"W-send-clean", false},
    {"W-neighbour", false},
    {"W-miscount", false},
    {"W-skip-period", false},
    {"W-skip-fence", true},
    {"W-over-capacity", false},
};

static const char *check_of(const char *plant)
{
    for (int i = 0; i < FL_PLANT_COUNT; i++)
        if (strcmp(fl_plant_info((enum fl_plant)i)->id, plant) == 0)
            return fl_plant_info((enum fl_plant)i)->check;
    fail_msg("no plant %s", plant);
    return "";
}

/** The first seed at which @plant is caught by its own check; its result. */
static struct result *first_catch(const char *plant, bool with_cut, uint64_t *ret_seed)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct plan *p = plan_of(seed, plant);
        if (with_cut)
            cut(p);
        struct result *r = sim_run(p, "actor");
        free(p);
        if (sim_violated(r, check_of(plant)) > 0) {
            *ret_seed = seed;
            return r;
        }
        result_free(&r);
    }
    fail_msg("%s was not caught by %s within %d seeds", plant, check_of(plant), SEEDS);
    return NULL;
}

static void every_planted_bug_is_caught_and_only_its_oracle_goes_blind(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof PLANTS / sizeof *PLANTS; i++) {
        uint64_t seed = 0;
        char blind[32];
        const char *id = check_of(PLANTS[i].id);
        struct result *r = first_catch(PLANTS[i].id, PLANTS[i].cut, &seed);
        struct plan *p = plan_of(seed, PLANTS[i].id);
        if (PLANTS[i].cut)
            cut(p);
        snprintf(blind, sizeof blind, "blind-%s", id);
        assert_int_equal(fl_plant_add(&p->plants, blind), FL_OK);
        struct result *b = sim_run(p, "actor");
        print_message("%s: caught by %s at seed %d\n", PLANTS[i].id, id, (int)seed);
        assert_true(b->trace_hash == r->trace_hash); /* oracles only watch */
        assert_int_equal(b->check_count, r->check_count);
        for (size_t k = 0; k < r->check_count; k++) {
            bool own = strcmp(r->checks[k].id, id) == 0;
            assert_int_equal(b->checks[k].violated, own ? 0 : r->checks[k].violated);
            assert_int_equal(b->checks[k].checked, own ? 0 : r->checks[k].checked);
        }
        result_free(&r);
        result_free(&b);
        free(p);
    }
}

/* W9 compares images of several runs: with the plant the image depends on T. */
static void threshold_plant_changes_the_image(void **state)
{
    (void)state;
    uint64_t image[2];
    for (int planted = 0; planted < 2; planted++) {
        struct plan *p = plan_of(1, planted ? "W-threshold-lines" : "blind-W9");
        p->regions[0].threshold_lines = 2;
        struct result *r = sim_run(p, "actor");
        image[planted] = r->image_digest;
        result_free(&r);
        free(p);
    }
    assert_true(image[0] != image[1]);
}

/* The same plans without a plant: what is caught is the plant. */
static void nothing_is_caught_where_nothing_is_planted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (int with_cut = 0; with_cut < 2; with_cut++) {
            struct plan *p = plan_of(seed, "blind-W9");
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
        cmocka_unit_test(threshold_plant_changes_the_image),
        cmocka_unit_test(nothing_is_caught_where_nothing_is_planted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
