/* SPDX-License-Identifier: Apache-2.0 */
/* farline sweep: a fault at each passing of a site in turn, until none is left. */
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/sites.h"
#include "emu/cases.h"
#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/plan_fields.h"
#include "emu/swarm.h"

enum { RUN_WALL_S = 60, RETRIES = 20 };

#define SHORT_NS (3 * FL_NS_PER_MS) /* a fault that heals: shorter than the heartbeat bound */
#define RATE_BPS (10 * UINT64_C(1000000))

static const char help[] =
    "usage: farline sweep SCENARIO.lua --site [NODE.]SITE [options]\n"
    "  counts how often a clean simulated run passes the site, then runs once for each passing,\n"
    "  with a fault there\n"
    "  --fault KIND     kill (default), pause, cut or any other fault of farline-scenario(5), at "
    "a\n"
    "                   peer of the node or on the link to it\n"
    "  --mode MODE      once: what can end lasts 3 ms, what hits operations or messages hits one;\n"
    "                   on: it lasts from there on; both (default) where both have a sense\n"
    "  --jobs J, --seed N, --set PATH=VALUE, --plant ID\n"
    "  --junit FILE     JUnit: a test case for each passing and check; --tap prints TAP instead\n"
    "exit status: the worst of all runs; 2 when the site is never passed\n";

enum mode { ONCE, ON, MODES };

static const char *const mode_names[] = {"once", "on", "both", NULL};

struct sweep {
    const char *sets[CMD_SETS_MAX];
    int set_count;
    char seed_set[40];
    struct fl_plants plants;
    const char *site_name, *junit;
    bool tap;
    unsigned kind; /* of step */
    int modes;     /* mode_names */
    unsigned jobs;
    uint16_t node, site; /* swept now */
    enum mode mode;
    struct plan *base, *p;
    struct cases *cases; /* NULL: nobody asked */
    int cases_rc;
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

/** Deadlines that the fault outlasts, and enough tries to get over it. */
static void shorten_deadlines(struct plan *p)
{
    for (uint16_t i = 0; i < p->region_count; i++)
        p->regions[i].op_deadline_ns = SHORT_NS / 2;
    for (uint16_t i = 0; i < p->node_count; i++)
        if (p->nodes[i].role == PLAN_COMPUTE && p->nodes[i].retry_max < RETRIES)
            p->nodes[i].retry_max = RETRIES;
}

/** The nodes of a fault: operations begin at the compute node; what cuts or carries messages takes
 * the two directions in turn. */
static void set_nodes(const struct sweep *s, const struct plan_step_info *k, uint64_t nth,
                      struct plan_step *ret)
{
    uint16_t peer = peer_of(s->base, s->node, nth), c = s->node, m = peer;

    if (s->base->nodes[c].role != PLAN_COMPUTE) {
        c = peer;
        m = s->node;
    }
    ret->target = ret->action == PLAN_SLOW || ret->action == PLAN_SLOTS_FULL ||
                          (!k->pair && ret->action == PLAN_FAULT)
                      ? c
                      : peer;
    if (!k->pair)
        return;
    bool back = swarm_either_way(s->kind) && nth % 2 == 0;
    ret->target = back ? m : c;
    ret->target2 = back ? c : m;
}

/** Before a memory node comes back it has to die: at the site, which may be its own. Then it comes
 * back when its loss was noticed, for the dead pass no sites. */
static void add_death(const struct sweep *s, struct plan *p, uint64_t nth, struct plan_step *back)
{
    bool own = p->nodes[s->node].role == PLAN_MEMORY;
    struct plan_step dies = *back;

    dies.action = PLAN_KILL;
    dies.target = back->target = own ? s->node : back->target;
    p->steps[p->step_count++] = dies;
    if (!own)
        return;
    back->node = peer_of(p, s->node, nth);
    back->site = FL_SITE_PEER_LOST;
    back->nth = 1;
}

static void add_fault(const struct sweep *s, struct plan *p, uint64_t nth)
{
    const struct plan_step_info *k = plan_step_info(s->kind);
    struct plan_step step = {
        .when = PLAN_AT_SITE, .node = s->node, .site = s->site, .nth = nth, .for_ns = FL_NEVER};

    plan_step_set_kind(&step, s->kind);
    set_nodes(s, k, nth, &step);
    if (s->kind == PLAN_RESTART)
        add_death(s, p, nth, &step);
    if ((k->options & PLAN_OPT_COUNT) != 0)
        step.count = s->mode == ONCE;
    else if ((k->options & PLAN_OPT_FOR) != 0 && s->mode == ONCE)
        step.for_ns = SHORT_NS;
    if ((k->options & (PLAN_OPT_BY | PLAN_OPT_AFTER)) != 0)
        step.by_ns = s->kind == PLAN_SLOW ? FL_NS_PER_US : SHORT_NS;
    if ((k->options & PLAN_OPT_BPS) != 0)
        step.rate_bps = RATE_BPS;
    p->steps[p->step_count++] = step;
    bool cut_both = s->kind == PLAN_CUT && (nth % 3 == 0 || s->mode == ON);
    if (cut_both) {
        step.target = p->steps[p->step_count - 1].target2;
        step.target2 = p->steps[p->step_count - 1].target;
        p->steps[p->step_count++] = step;
    }
    if (s->kind != PLAN_KILL && !(s->kind == PLAN_CUT && s->mode == ON))
        shorten_deadlines(p);
}

static void work(void *arg, uint64_t nth, struct pool_note *ret)
{
    struct sweep *s = arg;
    struct fl_errmsg err;

    *s->p = *s->base;
    s->p->expect_count = 0;
    memset(s->p->expects, 0, sizeof(s->p->expects));
    swarm_drop_check(s->p, "W6"); /* a bound of time, not meant under faults */
    add_fault(s, s->p, nth);
    if (plan_validate(s->p, &err) == FL_OK) {
        swarm_run(s->p, true, false, ret);
        return;
    }
    ret->verdict = EMU_USAGE;
    snprintf(ret->key, sizeof(ret->key), "setup");
    snprintf(ret->why, sizeof(ret->why), "%.399s", err.text);
}

static void got(void *arg, uint64_t nth, const struct pool_note *n)
{
    struct sweep *s = arg;
    bool fired = n->fired[s->kind] > 0;
    enum emu_exit e = n->verdict;

    s->done++;
    s->fired += fired;
    s->survived += e == EMU_HELD && fired;
    s->violated += e != EMU_HELD;
    s->worst = emu_exit_worse(s->worst, e);
    if (s->cases != NULL && s->cases_rc == FL_OK)
        s->cases_rc = cases_add(s->cases, nth, n);
    if (e != EMU_HELD && (s->first_bad == 0 || nth < s->first_bad)) {
        s->first_bad = nth;
        snprintf(s->why, sizeof(s->why), "%s", n->why);
    }
}

/* --- one site ------------------------------------------------------------------------------- */

static int begin_cases(const struct sweep *s, struct fl_errmsg *err)
{
    char name[256], what[96];

    if (s->cases == NULL)
        return FL_OK;
    out_scenario_name(s->base, name, sizeof(name));
    snprintf(what, sizeof(what), "seed %" PRIu64 ", %s (%s) at %.31s.%s#", s->base->seed,
             plan_step_info(s->kind)->name, mode_names[s->mode], s->base->nodes[s->node].name,
             fl_site_info((enum fl_site)s->site)->name);
    int rc = cases_suite(s->cases, name, what);
    return rc == FL_OK ? rc : fl_fail(err, rc, "out of memory");
}

static void print_row(struct sweep *s, uint64_t count)
{
    printf("%-12.31s%-16s%-18s%-6s%8" PRIu64 "%8" PRIu64 "%10" PRIu64 "%10" PRIu64 "\n",
           s->base->nodes[s->node].name, fl_site_info((enum fl_site)s->site)->name,
           plan_step_info(s->kind)->name, mode_names[s->mode], count, s->fired, s->survived,
           s->violated);
    if (s->first_bad > 0)
        printf("  first at passing %" PRIu64 ": %s\n", s->first_bad, s->why);
    if (s->fired < s->done)
        printf("  %" PRIu64 " faults never fired\n", s->done - s->fired);
}

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
    int rc = begin_cases(s, err);
    if (rc == FL_OK)
        rc = pool_run(&p, err);
    if (rc == FL_OK && s->cases_rc != FL_OK)
        rc = fl_fail(err, s->cases_rc, "--junit and --tap keep at most %d test cases", CASES_MAX);
    if (rc != FL_OK)
        return rc;
    if (!s->tap)
        print_row(s, count);
    if (s->fired < s->done)
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
    return FL_OK;
}

/** Both where they differ: a kill is for ever, a restart ends. */
static bool has_mode(const struct sweep *s, enum mode m)
{
    unsigned options = plan_step_info(s->kind)->options;

    if ((options & (PLAN_OPT_COUNT | PLAN_OPT_FOR)) == 0)
        return m == ONCE;
    return s->modes == MODES || s->modes == (int)m;
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

    if (rc == FL_OK && !s->tap)
        printf("%-12s%-16s%-18s%-6s%8s%8s%10s%10s\n", "node", "site", "fault", "mode", "passed",
               "fired", "survived", "violated");
    for (uint16_t i = 0; rc == FL_OK && i < s->base->node_count && !emu_interrupted; i++) {
        uint64_t n = counts[i * FL_SITE_COUNT + s->site];

        if (n == 0 || (only >= 0 && only != i))
            continue;
        passed += n;
        for (s->mode = ONCE; s->mode < MODES && rc == FL_OK && !emu_interrupted; s->mode++)
            if (has_mode(s, s->mode))
                rc = sweep_node(s, i, n, err);
    }
    free(counts);
    if (rc == FL_ECANCELED)
        return FL_OK;
    if (rc == FL_OK && (passed == 0 || emu_interrupted))
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
    if (rc == FL_OK && !s->tap) {
        print_verdict(s->worst);
        printf("%s\n", emu_interrupted ? ": interrupted"
                       : passed == 0   ? ": a clean run never passes the site"
                                       : "");
    }
    return rc;
}

/* --- arguments ------------------------------------------------------------------------------ */

static int take_fault(struct sweep *s, const char *name)
{
    const char *names[PLAN_STEP_KINDS];
    size_t n = 0;

    if (strcmp(name, "cut-for-good") == 0) {
        s->kind = PLAN_CUT;
        s->modes = ON;
        return EMU_HELD;
    }
    s->kind = plan_step_find(name);
    if (s->kind != PLAN_STEP_KINDS && s->kind != PLAN_RESUME && s->kind != PLAN_HEAL)
        return EMU_HELD;
    for (unsigned k = 0; k < PLAN_STEP_KINDS; k++)
        if (plan_step_info(k) != NULL)
            names[n++] = plan_step_info(k)->name;
    const char *near = plan_nearest(name, names, n);
    return cmd_usage("--fault %s: use one of kill, pause, cut and the other faults of "
                     "farline-scenario(5)%s%s%s",
                     name, near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                     near != NULL ? "?" : "");
}

static int take(struct sweep *s, int opt, const char *arg)
{
    uint64_t n = 0;

    switch (opt) {
    case 's':
        s->site_name = arg;
        return EMU_HELD;
    case 'f':
        return take_fault(s, arg);
    case 'm':
        s->modes = plan_name_index(mode_names, arg);
        return s->modes >= 0 ? EMU_HELD : cmd_usage("--mode %s: use once, on or both", arg);
    case 'u':
        s->junit = arg;
        return EMU_HELD;
    case 't':
        s->tap = true;
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
    static const struct option options[] = {{"site", required_argument, NULL, 's'},
                                            {"fault", required_argument, NULL, 'f'},
                                            {"mode", required_argument, NULL, 'm'},
                                            {"junit", required_argument, NULL, 'u'},
                                            {"tap", no_argument, NULL, 't'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"seed", required_argument, NULL, 'n'},
                                            {"set", required_argument, NULL, 'e'},
                                            {"plant", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt, rc;

    memset(s, 0, sizeof(*s));
    s->kind = PLAN_KILL;
    s->modes = MODES;
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
    if (rc == EMU_HELD && (s.tap || s.junit != NULL) && (s.cases = cases_new()) == NULL)
        rc = cmd_usage("out of memory");
    if (rc == EMU_HELD) {
        cmd_watch_signals();
        rc = sweep_all(&s, node, &err);
        if (rc == FL_OK && s.cases != NULL)
            rc = cases_write(s.cases, s.junit, s.tap, &err);
        if (rc == FL_EUNSUPPORTED) {
            fprintf(stderr, "farline: skipped: %s\n", err.text);
            rc = EMU_SKIPPED;
        } else {
            rc = rc == FL_OK ? (int)s.worst : cmd_usage("sweep: %s", err.text);
        }
    }
    cases_free(&s.cases);
    free(s.base);
    free(s.p);
    return rc;
}
