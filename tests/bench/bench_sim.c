/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator, with all oracles on and all checks of mechanism W asked for. An event is one step
 * of a core. Figures of one core are by processor time of this process, so that others on the
 * machine do not count; what `farline swarm` gains from a second core is wall time by its nature.
 * Baselines are what is required, in the row's own unit, but for the two that compare runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/plan_fields.h"
#include "emu/swarm.h"
#include "tests/bench/fig.h"

enum {
    SEEDS = 400,
    ROUNDS = 5,
    PAGES = 64,
    ACCESSES = 1000,
    LONG_ACCESSES = 200 * 1000,
    TWICE_ONE_IN = 20, /* as `farline swarm` does it */
    MANY_NODES = 1000,
    SWARM_SEEDS = 300,
    SWARM_ROUNDS = 3,
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_sim: %s: %s\n", what, why);
    exit(1);
}

/** Processor time of this process. */
static double cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* --- plans ------------------------------------------------------------------------------------ */

static void add_node(struct plan *p, char letter, enum plan_role role, uint32_t pages)
{
    struct plan_node *n = &p->nodes[p->node_count];

    n->role = role;
    plan_field_defaults(PLAN_OBJ_NODE, n,
                        role == PLAN_COMPUTE ? PLAN_ROLE_COMPUTE : PLAN_ROLE_MEMORY);
    n->memory_bytes = (uint64_t)pages * FL_PAGE_BYTES;
    n->device_memory_bytes = (uint64_t)pages / 4 * FL_PAGE_BYTES;
    snprintf(n->name, sizeof(n->name), "%c%u", letter, p->node_count);
    p->node_count++;
}

/** A region of a compute node over @count memory nodes, and what runs on it. */
static void add_work(struct plan *p, uint16_t on, uint16_t first, uint16_t count, uint32_t pages,
                     uint64_t ops)
{
    struct plan_region *r = &p->regions[p->region_count];
    struct plan_workload *w = &p->workloads[p->workload_count++];

    plan_field_defaults(PLAN_OBJ_REGION, r, PLAN_ROLE_ANY);
    snprintf(r->name, sizeof(r->name), "r%u", p->region_count);
    r->on = on;
    r->size_bytes = (uint64_t)pages * FL_PAGE_BYTES;
    r->chunk_count = count;
    for (uint16_t i = 0; i < count; i++)
        r->chunks[i].node = (uint16_t)(first + i);
    plan_region_split(r);
    plan_field_defaults(PLAN_OBJ_WORKLOAD, w, PLAN_ROLE_ANY);
    snprintf(w->name, sizeof(w->name), "w%u", p->region_count);
    w->region = p->region_count++;
    w->kind = PLAN_RANDOM;
    w->threads = 2;
    w->ops = ops;
}

/** @computes compute nodes, each with a region over as many of the memory nodes as it may have;
 * @pages and @ops are those of each. */
static struct plan *make_plan(uint16_t nodes, uint16_t computes, uint32_t pages, uint64_t ops)
{
    static const char *const checks[] = {"W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"};
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err;
    uint16_t memories = (uint16_t)(nodes - computes), each = (uint16_t)(memories / computes);
    uint16_t chunks = each < PLAN_CHUNKS_MAX ? each : PLAN_CHUNKS_MAX;

    if (p == NULL)
        die("plan", "out of memory");
    plan_init(p);
    snprintf(p->title, sizeof(p->title), "bench");
    snprintf(p->file, sizeof(p->file), "bench");
    for (uint16_t i = 0; i < nodes; i++)
        if (i < computes)
            add_node(p, 'c', PLAN_COMPUTE, pages);
        else
            add_node(p, 'm', PLAN_MEMORY, pages / chunks);
    for (uint16_t i = 0; i < computes; i++)
        add_work(p, i, (uint16_t)(computes + i * each), chunks, pages, ops);
    plan_number_chunks(p);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        snprintf(p->checks[p->check_count++], sizeof(p->checks[0]), "%s", checks[i]);
    if (plan_validate(p, &err) != FL_OK)
        die("plan", err.text);
    return p;
}

/* --- one core ----------------------------------------------------------------------------------- */

/** Whole runs a second of processor time, as a worker of `farline swarm` does them: faults drawn
 * from the seed, one run in twenty twice (which is two), judged. */
static void schedules(void)
{
    struct plan *base = make_plan(2, 1, PAGES, ACCESSES), *p = malloc(sizeof(*p));
    struct fig f = {
        .id = "sim-schedules", .unit = "1/s", .baseline = 500, .target = 1, .at_least = true};
    double rate[ROUNDS];

    if (p == NULL)
        die("plan", "out of memory");
    for (int round = 0; round < ROUNDS; round++) {
        double t = cpu_s();
        unsigned runs = 0;

        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct pool_note note = {.verdict = EMU_HELD};
            bool drawn = swarm_draw(base, seed, false, p);
            swarm_run(p, drawn, seed % TWICE_ONE_IN == 0, &note);
            if (note.verdict != EMU_HELD)
                die("a schedule did not hold", note.why);
            runs += 1 + note.twice;
        }
        rate[round] = runs / (cpu_s() - t);
    }
    f.value = fig_median(rate, ROUNDS);
    f.ratio = f.value / f.baseline;
    f.n = ROUNDS * SEEDS;
    fig_print(&f);
    free(base);
    free(p);
}

/** Steps of cores in one run; the processor time it took in @ret_s. */
static double steps_of(const struct plan *p, double *ret_s)
{
    const struct run_opts o = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct result *r = result_new();
    struct fl_errmsg err = {"out of memory"};
    double t = cpu_s(), steps = 0;

    if (r == NULL || emu_run_sim(p, &o, r, &err) != FL_OK)
        die("run", err.text);
    *ret_s = cpu_s() - t;
    result_sum_metrics(r);
    if (result_judge(p, r, &err) != EMU_HELD)
        die("a run did not hold", err.text);
    for (size_t i = 0; i < r->metric_count; i++)
        if (strcmp(r->metrics[i].name, "core_steps") == 0)
            steps = r->metrics[i].value;
    if (steps < 1000)
        die("run", "no core was stepped");
    result_free(&r);
    return steps;
}

/** Nanoseconds a step in @ret_ns; the median of steps a second. */
static double events(struct plan *p, double ret_ns[ROUNDS])
{
    double rate[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        double s, steps;

        p->seed = (uint64_t)i + 1;
        steps = steps_of(p, &s);
        rate[i] = steps / s;
        ret_ns[i] = s / steps * 1e9;
    }
    return fig_median(rate, ROUNDS);
}

static void one_core(void)
{
    struct plan *p = make_plan(2, 1, PAGES, LONG_ACCESSES);
    struct fig f = {.id = "sim-events",
                    .unit = "1/s",
                    .baseline = 1e6,
                    .target = 1,
                    .at_least = true,
                    .n = ROUNDS};
    double ns[ROUNDS];

    f.value = events(p, ns);
    f.ratio = f.value / f.baseline;
    fig_print(&f);
    free(p);
}

/** Nodes alone: the same pages, device memory and accesses in all, for 2 nodes or for 1,000. */
static void many_nodes(void)
{
    struct plan *few = make_plan(2, 1, PAGES * PLAN_REGIONS_MAX, 2 * LONG_ACCESSES);
    struct plan *many =
        make_plan(MANY_NODES, PLAN_REGIONS_MAX, PAGES, 2 * LONG_ACCESSES / PLAN_REGIONS_MAX);
    struct fig f = {.id = "sim-event-1000-nodes", .unit = "ns", .target = 1.5, .n = ROUNDS};
    double few_ns[ROUNDS], many_ns[ROUNDS];

    events(few, few_ns);
    events(many, many_ns);
    f.value = fig_median(many_ns, ROUNDS);
    f.baseline = fig_median(few_ns, ROUNDS);
    f.ratio = f.value / f.baseline;
    fig_print(&f);
    free(few);
    free(many);
}

/** Wall time of `farline swarm` over SWARM_SEEDS seeds of a scenario. */
static double swarm_s(const char *farline, const char *dir, int jobs)
{
    char cmd[1024];
    double t = (double)fl_clock_ns();

    snprintf(
        cmd, sizeof(cmd),
        "'%s' swarm scenarios/writeback/basic.lua --seeds 1..%d --jobs %d --out '%s/%d' >'%s/log' "
        "2>&1 </dev/null",
        farline, SWARM_SEEDS, jobs, dir, jobs, dir);
    int rc = system(cmd);
    if (!WIFEXITED(rc) || (WEXITSTATUS(rc) != EMU_HELD && WEXITSTATUS(rc) != EMU_UNDECIDED))
        die("farline swarm did not hold; what it printed is in the directory", dir);
    return ((double)fl_clock_ns() - t) / 1e9;
}

/** How many times faster two workers are than one. */
static void swarm_jobs(void)
{
    const char *farline = getenv("FARLINE");
    char dir[] = "/tmp/bench-swarm-XXXXXX", cmd[64];
    struct fig f = {
        .id = "swarm-2-cores", .unit = "s", .target = 1.8, .at_least = true, .n = SWARM_ROUNDS};
    double one[SWARM_ROUNDS], two[SWARM_ROUNDS], ratio[SWARM_ROUNDS];

    if (mkdtemp(dir) == NULL)
        die("a directory for the swarm", "cannot be made");
    for (int i = 0; i < SWARM_ROUNDS; i++) {
        one[i] = swarm_s(farline ? farline : "build/farline", dir, 1);
        two[i] = swarm_s(farline ? farline : "build/farline", dir, 2);
        ratio[i] = one[i] / two[i];
    }
    f.value = fig_median(two, SWARM_ROUNDS);
    f.baseline = fig_median(one, SWARM_ROUNDS);
    f.ratio = fig_median(ratio, SWARM_ROUNDS);
    fig_print(&f);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    if (system(cmd) != 0)
        die(dir, "cannot be removed");
}

int main(void)
{
    schedules();
    one_core();
    many_nodes();
    swarm_jobs();
    return 0;
}
