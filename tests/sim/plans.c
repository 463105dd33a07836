/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/plans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/rng.h"
#include "emu/mech/writeback.h"
#include "emu/plan_fields.h"

static uint16_t add_node(struct plan *p, const char *name, int number, enum plan_role role)
{
    struct plan_node *n = &p->nodes[p->node_count];
    n->role = role;
    plan_field_defaults(PLAN_OBJ_NODE, n,
                        role == PLAN_COMPUTE ? PLAN_ROLE_COMPUTE : PLAN_ROLE_MEMORY);
    snprintf(n->name, sizeof n->name, "%s%d", name, number);
    return p->node_count++;
}

/** A region over the memory nodes @first .. @first + @count - 1. */
static struct plan_region *add_region(struct plan *p, const char *name, uint16_t on, uint32_t pages,
                                      uint16_t first, uint16_t count)
{
    struct plan_region *r = &p->regions[p->region_count++];
    plan_field_defaults(PLAN_OBJ_REGION, r, PLAN_ROLE_ANY);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->on = on;
    r->size_bytes = (uint64_t)pages * FL_PAGE_BYTES;
    r->chunk_count = count;
    for (uint16_t i = 0; i < count; i++)
        r->chunks[i].node = (uint16_t)(first + i);
    plan_region_split(r);
    plan_number_chunks(p);
    return r;
}

static struct plan_workload *add_workload(struct plan *p, const char *name, uint16_t region,
                                          enum plan_work_kind kind, uint32_t threads, uint64_t ops)
{
    struct plan_workload *w = &p->workloads[p->workload_count++];
    plan_field_defaults(PLAN_OBJ_WORKLOAD, w, PLAN_ROLE_ANY);
    snprintf(w->name, sizeof w->name, "%s", name);
    w->region = region;
    w->kind = kind;
    w->threads = threads;
    w->ops = ops;
    return w;
}

static void check(struct plan *p, const char *id)
{
    snprintf(p->checks[p->check_count++], sizeof p->checks[0], "%s", id);
}

static void check_all(struct plan *p)
{
    static const char *const ids[] = {"W1", "W2", "W3", "W4", "W5", "W7", "W8"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        check(p, ids[i]);
}

static struct plan *empty(uint64_t seed)
{
    struct plan *p = calloc(1, sizeof *p);
    assert_non_null(p);
    plan_init(p);
    p->seed = seed;
    snprintf(p->title, sizeof p->title, "property test");
    snprintf(p->file, sizeof p->file, "seed-%llu", (unsigned long long)seed);
    check_all(p);
    return p;
}

struct plan *sim_plan(uint64_t seed, uint16_t memory_nodes, uint32_t pages,
                      enum plan_work_kind kind, uint32_t threads, uint64_t ops)
{
    struct plan *p = empty(seed);
    uint16_t c0 = add_node(p, "c", 0, PLAN_COMPUTE);
    for (uint16_t i = 0; i < memory_nodes; i++)
        add_node(p, "m", i, PLAN_MEMORY);
    p->nodes[c0].device_memory_bytes = (uint64_t)pages / 4 * FL_PAGE_BYTES;
    struct plan_region *r = add_region(p, "heap", c0, pages, 1, memory_nodes);
    r->period_ns = 200 * FL_NS_PER_US;
    r->sample_ns = 50 * FL_NS_PER_US;
    add_workload(p, "mix", 0, kind, threads, ops);
    return p;
}

static uint64_t pick(struct fl_rng *g, uint64_t lo, uint64_t hi)
{
    return lo + fl_rng_below(g, hi - lo + 1);
}

static void random_region(struct plan *p, struct fl_rng *g, uint16_t i, uint16_t on,
                          uint16_t first_mem, uint16_t mems)
{
    static const uint32_t thresholds[] = {0, 1, 2, 16, 63, 64};
    static const uint32_t lens[] = {1, 8, 60, 64, 200, 300, 1000, 4096};
    char name[8];
    uint32_t threads = (uint32_t)pick(g, 1, 4), pages = (uint32_t)pick(g, 16, 64);
    uint16_t chunks = (uint16_t)pick(g, 1, mems);
    snprintf(name, sizeof name, "r%u", i);
    struct plan_region *r = add_region(p, name, on, pages, first_mem, chunks);
    r->period_ns = fl_rng_chance(g, 1, 4) ? FL_NEVER : pick(g, 20, 2000) * FL_NS_PER_US;
    r->sample_ns = fl_rng_chance(g, 1, 4) ? FL_NEVER : pick(g, 10, 300) * FL_NS_PER_US;
    r->threshold_lines = thresholds[fl_rng_below(g, 6)];
    r->path = fl_rng_chance(g, 1, 2) ? WB_LOG : WB_DIRECT;
    snprintf(name, sizeof name, "w%u", i);
    uint64_t ops = pick(g, 50, 500), kind = fl_rng_below(g, 5); /* arguments have no order */
    struct plan_workload *w = add_workload(p, name, i, (enum plan_work_kind)kind, threads, ops);
    w->len_bytes = lens[fl_rng_below(g, 8)];
    w->write_percent = (uint32_t)pick(g, 10, 100);
    w->think_ns = pick(g, 0, 3) * 500;
    p->nodes[on].device_memory_bytes += (uint64_t)threads * WB_PINS_PER_THREAD * FL_PAGE_BYTES;
}

struct plan *sim_plan_random(uint64_t seed)
{
    struct fl_rng g;
    struct plan *p = empty(seed);
    fl_rng_init(&g, seed, 0xfeed, FL_RNG_WORK, 0);
    uint16_t computes = (uint16_t)pick(&g, 1, 2), mems = (uint16_t)pick(&g, 1, 3);
    uint16_t regions = (uint16_t)pick(&g, 1, 3);
    for (uint16_t i = 0; i < computes; i++) {
        struct plan_node *n = &p->nodes[add_node(p, "c", i, PLAN_COMPUTE)];
        n->device_memory_bytes = pick(&g, 0, 16) * FL_PAGE_BYTES;
        n->dclb_lines = (uint32_t)(fl_rng_chance(&g, 1, 2) ? pick(&g, 1, 20) : 4096);
        n->buf_pages = (uint32_t)(fl_rng_chance(&g, 1, 2) ? pick(&g, 4, 8) : 64);
        n->log_batch_pages = (uint32_t)pick(&g, 1, 16);
        n->merge_bytes = fl_rng_chance(&g, 1, 2) ? 0 : 65536;
        n->evict = fl_rng_chance(&g, 1, 2) ? WB_CLOCK : WB_LRU;
    }
    for (uint16_t i = 0; i < mems; i++)
        add_node(p, "m", i, PLAN_MEMORY);
    for (uint16_t i = 0; i < regions; i++)
        random_region(p, &g, i, (uint16_t)(i % computes), computes, mems);
    for (uint16_t i = 0; i < computes; i++)
        if (p->nodes[i].device_memory_bytes < 4 * FL_PAGE_BYTES)
            p->nodes[i].device_memory_bytes = 4 * FL_PAGE_BYTES;
    return p;
}

struct plan_step *sim_step(struct plan *p, enum plan_action action, const char *target,
                           enum fl_site site, uint64_t nth_or_ns)
{
    struct plan_step *s = &p->steps[p->step_count++];
    s->action = action;
    s->target = (uint16_t)plan_node_find(p, target);
    s->for_ns = FL_NEVER;
    s->when = site == FL_SITE_NONE ? PLAN_AT_TIME : PLAN_AT_SITE;
    s->site = (uint16_t)site;
    s->nth = nth_or_ns;
    s->at_ns = nth_or_ns;
    return s;
}

void sim_plant(struct plan *p, const char *plant)
{
    if (plant)
        assert_int_equal(fl_plant_add(&p->plants, plant), FL_OK);
}

struct result *sim_run(const struct plan *p, const char *tracker)
{
    struct fl_errmsg err = {{0}};
    struct run_opts o = {.fabric = "sim", .tracker = tracker, .quiet = true};
    if (plan_validate(p, &err) != FL_OK)
        fail_msg("seed %llu: %s", (unsigned long long)p->seed, err.text);
    struct result *r = result_new();
    assert_non_null(r);
    if (emu_run_sim(p, &o, r, &err) != FL_OK)
        fail_msg("seed %llu: %s", (unsigned long long)p->seed, err.text);
    result_sum_metrics(r);
    return r;
}

struct result *sim_run_held(const struct plan *p, const char *tracker)
{
    struct fl_errmsg why = {{0}};
    struct result *r = sim_run(p, tracker);
    enum emu_exit v = result_judge(p, r, &why);
    if (v != EMU_HELD)
        fail_msg("seed %llu, tracker %s: exit %d: %s", (unsigned long long)p->seed, tracker, (int)v,
                 why.text);
    return r;
}

static const struct result_metric *find(const struct result *r, const char *name)
{
    for (size_t i = 0; i < r->metric_count; i++)
        if (strcmp(r->metrics[i].name, name) == 0)
            return &r->metrics[i];
    return NULL;
}

double sim_metric(const struct result *r, const char *name)
{
    const struct result_metric *m = find(r, name);
    return m ? m->value : -1;
}

const char *sim_text(const struct result *r, const char *name)
{
    const struct result_metric *m = find(r, name);
    return m ? m->text : "";
}

uint64_t sim_violated(const struct result *r, const char *id)
{
    for (size_t i = 0; i < r->check_count; i++)
        if (strcmp(r->checks[i].id, id) == 0)
            return r->checks[i].violated;
    return 0;
}
