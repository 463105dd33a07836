/* SPDX-License-Identifier: Apache-2.0 */
/* farline sweep: a fault at each passing of a site in turn, until none is left. */
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/sites.h"
#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/plan_fields.h"
#include "emu/swarm.h"

enum { RUN_WALL_S = 60, RETRIES = 20 };

#define SHORT_NS (3 * FL_NS_PER_MS) /* a fault that heals: shorter than the heartbeat bound */

static const char help[] =
    "usage: farline sweep SCENARIO.lua --site [NODE.]SITE [options]\n"
    "  counts how often a clean simulated run passes the site, then runs once for each passing,\n"
    "  with a fault there\n"
    "  --fault kill|pause|cut|cut-for-good   what happens to the node's peer (kill); pause and\n"
    "                                        cut last 3 ms\n"
    "  --jobs J, --seed N, --set PATH=VALUE, --plant ID\n"
    "exit status: the worst of all runs; 2 when the site is never passed\n";

static const char *const fault_names[] = {"kill", "pause", "cut", "cut-for-good", NULL};
enum fault { KILL, PAUSE, CUT, CUT_FOR_GOOD };

struct sweep {
    const char *sets[CMD_SETS_MAX];
    int set_count;
    char seed_set[40];
    struct fl_plants plants;
    const char *site_name;
    enum fault fault;
    unsigned jobs;
    uint16_t node, site; /* swept now */
    struct plan *base, *p;
    uint64_t done, fired, survived, violated;
    uint64_t first_bad;
    char why[400];
    enum emu_exit worst;
};

/* --- runs ----------------------------------------------------------------------------------- */

/** Nodes that work for one region with @node: the faults take them in turn. */
static uint16_t peer_of(const struct plan *p, uint16_t node, uint64_t nth)
{
    uint16_t peers[PLAN_REGIONS_MAX * PLAN_CHUNKS_MAX], count = 0;

    for (uint16_t r = 0; r < p->region_count; r++)
        for (uint16_t c = 0; c < p->regions[r].chunk_count; c++) {
            uint16_t on = p->regions[r].on, at = p->regions[r].chunks[c].node;

            if (on == node || at == node)
                peers[count++] = on == node ? at : on;
        }
    return count > 0 ? peers[nth % count] : node;
}

static void add_fault(const struct sweep *s, struct plan *p, uint64_t nth)
{
    uint16_t peer = peer_of(p, s->node, nth);
    struct plan_step step = {.when = PLAN_AT_SITE,
                             .node = s->node,
                             .site = s->site,
                             .nth = nth,
                             .target = peer,
                             .for_ns = s->fault == PAUSE || s->fault == CUT ? SHORT_NS : FL_NEVER};

    step.action = s->fault == KILL ? PLAN_KILL : s->fault == PAUSE ? PLAN_PAUSE : PLAN_CUT;
    bool both = step.action == PLAN_CUT && nth % 3 == 0;
    if (step.action == PLAN_CUT) {
        step.target = nth % 2 == 0 ? peer : s->node;
        step.target2 = nth % 2 == 0 ? s->node : peer;
    }
    p->steps[p->step_count++] = step;
    if (both || s->fault == CUT_FOR_GOOD) {
        step.target2 = step.target;
        step.target = p->steps[p->step_count - 1].target2;
        p->steps[p->step_count++] = step;
    }
    if (step.for_ns == FL_NEVER)
        return;
    /* Deadlines that the fault outlasts, and enough tries to get over it. */
    for (uint16_t i = 0; i < p->region_count; i++)
        p->regions[i].op_deadline_ns = SHORT_NS / 2;
    for (uint16_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].role == PLAN_COMPUTE && p->nodes[i].retry_max < RETRIES)
            p->nodes[i].retry_max = RETRIES;
}

static void work(void *arg, uint64_t nth, struct pool_note *ret)
{
    struct sweep *s = arg;

    *s->p = *s->base;
    s->p->expect_count = 0;
    memset(s->p->expects, 0, sizeof(s->p->expects));
    for (uint16_t i = 0; i < s->p->check_count; i++) /* a bound of time, not meant under faults */
        if (strcmp(s->p->checks[i], "W6") == 0) {
            s->p->check_count--;
            memmove(s->p->checks[i], s->p->checks[i + 1],
                    (size_t)(s->p->check_count - i) * sizeof(s->p->checks[0]));
            break;
        }
    add_fault(s, s->p, nth);
    swarm_run(s->p, true, false, ret);
}

static void got(void *arg, uint64_t nth, const struct pool_note *n)
{
    struct sweep *s = arg;
    bool fired = n->fired[PLAN_KILL] + n->fired[PLAN_PAUSE] + n->fired[PLAN_CUT] > 0;
    enum emu_exit e = n->verdict;

    s->done++;
    s->fired += fired;
    s->survived += e == EMU_HELD && fired;
    s->violated += e != EMU_HELD;
    s->worst = emu_exit_worse(s->worst, e);
    if (e != EMU_HELD && (s->first_bad == 0 || nth < s->first_bad)) {
        s->first_bad = nth;
        snprintf(s->why, sizeof(s->why), "%s", n->why);
    }
}

/* --- one site ------------------------------------------------------------------------------- */

static int sweep_node(struct sweep *s, uint16_t node, uint64_t count, struct fl_errmsg *err)
{
    struct pool p = {.jobs = s->jobs,
                     .first = 1,
                     .last = count,
                     .wall_ns = RUN_WALL_S * FL_NS_PER_S,
                     .arg = s,
                     .work = work,
                     .got = got};

    s->node = node;
    s->done = s->fired = s->survived = s->violated = s->first_bad = 0;
    s->why[0] = '\0';
    int rc = pool_run(&p, err);
    if (rc != FL_OK)
        return rc;
    printf("%-12.31s%-16s%-14s%8" PRIu64 "%8" PRIu64 "%10" PRIu64 "%10" PRIu64 "\n",
           s->base->nodes[node].name, fl_site_info((enum fl_site)s->site)->name,
           fault_names[s->fault], count, s->fired, s->survived, s->violated);
    if (s->first_bad > 0)
        printf("  first at passing %" PRIu64 ": %s\n", s->first_bad, s->why);
    if (s->fired < s->done) {
        printf("  %" PRIu64 " faults never fired\n", s->done - s->fired);
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
    }
    return FL_OK;
}

static void print_verdict(enum emu_exit e)
{
    printf("verdict   ");
    for (const char *c = out_verdict_name(e); *c != '\0'; c++)
        putchar(toupper((unsigned char)*c));
}

/** A run without faults: it has to hold, and its passings are counted. */
static int count_sites(struct sweep *s, uint64_t *counts, struct fl_errmsg *err)
{
    const struct run_opts o = {
        .fabric = "sim", .tracker = "actor", .quiet = true, .site_counts = counts};
    struct result *r = result_new();
    struct fl_errmsg why;
    int rc =
        r == NULL ? fl_fail(err, FL_ENOMEM, "out of memory") : emu_run_sim(s->base, &o, r, err);

    if (rc == FL_OK) {
        result_sum_metrics(r);
        enum emu_exit e = result_judge(s->base, r, &why);
        if (e == EMU_VIOLATED || e == EMU_NO_PROGRESS || r->timed_out) {
            print_verdict(e);
            printf(": already without a fault: %s\n", why.text);
            s->worst = emu_exit_worse(s->worst, e);
            rc = FL_ECANCELED;
        }
    }
    result_free(&r);
    return rc;
}

static int sweep_all(struct sweep *s, int only, struct fl_errmsg *err)
{
    uint64_t *counts = calloc(((size_t)s->base->node_count + 1) * FL_SITE_COUNT, sizeof(*counts));
    uint64_t passed = 0;
    int rc =
        counts == NULL ? fl_fail(err, FL_ENOMEM, "out of memory") : count_sites(s, counts, err);

    if (rc == FL_OK)
        printf("%-12s%-16s%-14s%8s%8s%10s%10s\n", "node", "site", "fault", "passed", "fired",
               "survived", "violated");
    for (uint16_t i = 0; rc == FL_OK && i < s->base->node_count && !emu_interrupted; i++) {
        uint64_t n = counts[i * FL_SITE_COUNT + s->site];

        if (n == 0 || (only >= 0 && only != i))
            continue;
        passed += n;
        rc = sweep_node(s, i, n, err);
    }
    free(counts);
    if (rc == FL_ECANCELED)
        return FL_OK;
    if (rc == FL_OK && (passed == 0 || emu_interrupted))
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
    if (rc == FL_OK) {
        print_verdict(s->worst);
        printf("%s\n", emu_interrupted ? ": interrupted"
                       : passed == 0   ? ": a clean run never passes the site"
                                       : "");
    }
    return rc;
}

/* --- arguments ------------------------------------------------------------------------------ */

static int take(struct sweep *s, int opt, const char *arg)
{
    uint64_t n = 0;

    switch (opt) {
    case 's':
        s->site_name = arg;
        return EMU_HELD;
    case 'f':
        if (plan_name_index(fault_names, arg) < 0)
            return cmd_usage("--fault %s: use one of kill, pause, cut, cut-for-good", arg);
        s->fault = (enum fault)plan_name_index(fault_names, arg);
        return EMU_HELD;
    case 'j':
        if (!cmd_number(arg, &n) || n < 1 || n > POOL_JOBS_MAX)
            return cmd_usage("--jobs %s: it must be 1 to %d", arg, POOL_JOBS_MAX);
        s->jobs = (unsigned)n;
        return EMU_HELD;
    case 'n':
        if (!cmd_number(arg, &n))
            return cmd_usage("--seed %s: it must be a whole number from 0 to 2^63-1", arg);
        snprintf(s->seed_set, sizeof(s->seed_set), "seed=%" PRIu64, n);
        return EMU_HELD;
    case 'e':
        if (s->set_count == CMD_SETS_MAX - 1 || strchr(arg, '=') == NULL)
            return cmd_usage("--set %s: write PATH=VALUE", arg);
        s->sets[s->set_count++] = arg;
        return EMU_HELD;
    case 'p':
        return cmd_plant_add(&s->plants, arg);
    case 'h':
        fputs(help, stdout);
        return -1;
    default:
        return cmd_usage("see `farline sweep --help`");
    }
}

static int parse(struct sweep *s, int argc, char **argv, const char **ret_file)
{
    static const struct option options[] = {
        {"site", required_argument, NULL, 's'}, {"fault", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'}, {"seed", required_argument, NULL, 'n'},
        {"set", required_argument, NULL, 'e'},  {"plant", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    int opt, rc;

    memset(s, 0, sizeof(*s));
    s->jobs = pool_cores();
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((rc = take(s, opt, optarg)) != EMU_HELD)
            return rc;
    if (argc - optind != 1)
        return cmd_usage("sweep: name one scenario, such as scenarios/writeback/basic.lua");
    if (s->site_name == NULL)
        return cmd_usage("sweep: name a site, such as --site c0.page_fetched; "
                         "`farline list sites`");
    if (s->seed_set[0] != '\0')
        s->sets[s->set_count++] = s->seed_set;
    *ret_file = argv[optind];
    return EMU_HELD;
}

/** "c0.miss" or "miss"; the node goes to @ret_node, -1 for all. */
static int find_site(struct sweep *s, int *ret_node)
{
    const char *dot = strchr(s->site_name, '.');
    const char *site = dot != NULL ? dot + 1 : s->site_name;
    char node[PLAN_NAME_MAX] = "";

    *ret_node = -1;
    if (dot != NULL) {
        snprintf(node, sizeof(node), "%.*s", (int)(dot - s->site_name), s->site_name);
        *ret_node = plan_node_find(s->base, node);
        if (*ret_node < 0)
            return cmd_usage("--site %s: the scenario has no node \"%s\"", s->site_name, node);
    }
    s->site = (uint16_t)fl_site_find(site);
    if (s->site == FL_SITE_NONE)
        return cmd_usage("--site %s: there is no such site; `farline list sites`", s->site_name);
    return EMU_HELD;
}

static int load(struct sweep *s, const char *file, int *ret_node)
{
    struct fl_errmsg err;

    s->base = calloc(1, sizeof(*s->base));
    s->p = calloc(1, sizeof(*s->p));
    if (s->base == NULL || s->p == NULL)
        return cmd_usage("out of memory");
    if (plan_load(file, s->sets, s->set_count, s->p, &err) != FL_OK)
        return cmd_usage("%s", err.text);
    *s->base = *s->p;
    if (s->p->variant_count > 0 && plan_variant_apply(s->p, 0, s->base, &err) != FL_OK)
        return cmd_usage("%s", err.text);
    s->base->plants = s->plants;
    plan_steps_draw(s->base);
    if (s->base->step_count > PLAN_STEPS_MAX - 2)
        return cmd_usage("sweep: the scenario has %u steps; two more do not fit",
                         s->base->step_count);
    return find_site(s, ret_node);
}

int cmd_sweep(int argc, char **argv)
{
    struct sweep s;
    struct fl_errmsg err;
    const char *file = NULL;
    int node = -1, rc = parse(&s, argc, argv, &file);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    rc = load(&s, file, &node);
    if (rc == EMU_HELD) {
        cmd_watch_signals();
        rc = sweep_all(&s, node, &err);
        if (rc == FL_EUNSUPPORTED) {
            fprintf(stderr, "farline: skipped: %s\n", err.text);
            rc = EMU_SKIPPED;
        } else {
            rc = rc == FL_OK ? (int)s.worst : cmd_usage("sweep: %s", err.text);
        }
    }
    free(s.base);
    free(s.p);
    return rc;
}
