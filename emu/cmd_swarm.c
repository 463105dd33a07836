/* SPDX-License-Identifier: Apache-2.0 */
/* farline swarm: many seeded runs in the simulator, faults drawn from each seed. */
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/cases.h"
#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/plan_fields.h"
#include "emu/shrink.h"
#include "emu/swarm.h"
#include "emu/swarm_sum.h"

enum {
    SEEDS = 100,       /* without --seeds */
    KEPT = 3,          /* failures that are shrunk and written */
    TWICE_ONE_IN = 20, /* runs that are done twice */
    RUN_WALL_S = 60,   /* of one run */
    KEEP_WALL_S = 120, /* of shrinking and writing one failure */
    SHRINK_WALL_S = 30,
    SHRINK_RUNS = 400,
};

static const char help[] =
    "usage: farline swarm SCENARIO.lua... [options]\n"
    "  --seeds A..B      seeds to run, both included (1..100)\n"
    "  --jobs J          worker processes (one per core)\n"
    "  --set PATH=VALUE  change a setting of the scenario\n"
    "  --plant ID        switch on a planted bug (`farline list plants`)\n"
    "  --out DIR         where swarm.json and the first failures go (runs/NAME/swarm)\n"
    "  --until-violated[=ID]  stop at the first run that fails (in which that check does)\n"
    "  --no-keep         failures are only named, not made smaller and written\n"
    "  --lies            also faults that only checksums from end to end would survive\n"
    "  --junit FILE      JUnit: a test case for each seed and check\n"
    "  --tap             TAP instead of the report\n"
    "  --json            print one JSON object a scenario instead of the report\n"
    "exit status: the worst of all runs: 1 violated, 3 no progress, 2 undecided, 0 all held\n";

struct args {
    const char *sets[CMD_SETS_MAX];
    int set_count;
    struct fl_plants plants;
    uint64_t first, last;
    unsigned jobs;
    const char *out, *junit;
    const char *until_id; /* NULL: any failure */
    bool json, tap, until_violated, lies, no_keep;
    char *const *files;
    int file_count;
};

struct swarm {
    const struct args *a;
    struct plan *p;      /* of a worker */
    struct cases *cases; /* NULL: nobody asked for them */
    int cases_rc;
    uint64_t start_ns;
    struct swarm_sum sum;
};

/* --- arguments ------------------------------------------------------------------------------ */

static int parse_seeds(struct args *a, const char *text)
{
    char first[32];
    const char *dots = strstr(text, "..");
    size_t len = dots != NULL ? (size_t)(dots - text) : strlen(text);

    snprintf(first, sizeof(first), "%.*s", (int)(len < 31 ? len : 31), text);
    if (!cmd_number(first, &a->first) || !cmd_number(dots != NULL ? dots + 2 : first, &a->last))
        return cmd_usage("--seeds %s: write two whole numbers, such as 1..200", text);
    if (a->last < a->first)
        return cmd_usage("--seeds %s: the first is larger than the last", text);
    return EMU_HELD;
}

static int take(struct args *a, int opt, const char *arg)
{
    uint64_t n = 0;

    switch (opt) {
    case 's':
        return parse_seeds(a, arg);
    case 'j':
        if (!cmd_number(arg, &n) || n < 1 || n > POOL_JOBS_MAX)
            return cmd_usage("--jobs %s: it must be 1 to %d", arg, POOL_JOBS_MAX);
        a->jobs = (unsigned)n;
        return EMU_HELD;
    case 'e':
        if (a->set_count == CMD_SETS_MAX || strchr(arg, '=') == NULL)
            return cmd_usage("--set %s: write PATH=VALUE, at most %d times", arg, CMD_SETS_MAX);
        a->sets[a->set_count++] = arg;
        return EMU_HELD;
    case 'p':
        return cmd_plant_add(&a->plants, arg);
    case 'o':
        a->out = arg;
        return EMU_HELD;
    case 'J':
        a->json = true;
        return EMU_HELD;
    case 'u':
        a->junit = arg;
        return EMU_HELD;
    case 't':
        a->tap = true;
        return EMU_HELD;
    case 'k':
        a->no_keep = true;
        return EMU_HELD;
    case 'l':
        a->lies = true;
        return EMU_HELD;
    case 'v':
        a->until_violated = true;
        a->until_id = arg;
        return EMU_HELD;
    case 'h':
        fputs(help, stdout);
        return -1;
    default:
        return cmd_usage("see `farline swarm --help`");
    }
}

static int parse(struct args *a, int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"set", required_argument, NULL, 'e'},
                                            {"plant", required_argument, NULL, 'p'},
                                            {"out", required_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'J'},
                                            {"junit", required_argument, NULL, 'u'},
                                            {"tap", no_argument, NULL, 't'},
                                            {"lies", no_argument, NULL, 'l'},
                                            {"no-keep", no_argument, NULL, 'k'},
                                            {"until-violated", optional_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt, rc;

    memset(a, 0, sizeof(*a));
    a->first = 1;
    a->last = SEEDS;
    a->jobs = pool_cores();
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((rc = take(a, opt, optarg)) != EMU_HELD)
            return rc;
    a->files = argv + optind;
    a->file_count = argc - optind;
    if (a->file_count == 0)
        return cmd_usage("swarm: name a scenario, such as scenarios/writeback/basic.lua");
    if (a->file_count > CMD_FILES_MAX)
        return cmd_usage("more than %d scenarios", CMD_FILES_MAX);
    return EMU_HELD;
}

/* --- runs ----------------------------------------------------------------------------------- */

static void work(void *arg, uint64_t seed, struct pool_note *ret)
{
    struct swarm *s = arg;
    bool drawn = swarm_draw(s->sum.base, seed, s->a->lies, s->p);

    if (!drawn && s->sum.base->same_image && s->sum.base->variant_count > 1)
        swarm_run_variants(s->sum.base, seed, s->p, ret);
    else
        swarm_run(s->p, drawn, (seed - s->a->first) % TWICE_ONE_IN == 0, ret);
}

static void got(void *arg, uint64_t seed, const struct pool_note *n)
{
    struct swarm *s = arg;

    swarm_sum_add(&s->sum, seed, n);
    if (s->cases != NULL && s->cases_rc == FL_OK)
        s->cases_rc = cases_add(s->cases, seed, n);
}

static bool enough(const struct swarm *s)
{
    if (s->a->until_id == NULL)
        return s->sum.fail_count > 0;
    for (uint16_t k = 0; k < s->sum.check_count; k++)
        if (strcmp(s->sum.checks[k].id, s->a->until_id) == 0)
            return s->sum.checks[k].violated > 0;
    return false;
}

/** A world that lacks something for one seed lacks it for all. */
static bool over(void *arg)
{
    const struct swarm *s = arg;

    return s->sum.by_verdict[EMU_SKIPPED] > 0 || s->cases_rc != FL_OK ||
           (s->a->until_violated && enough(s));
}

static void tick(void *arg)
{
    const struct swarm *w = arg;
    const struct swarm_sum *s = &w->sum;
    double sec = (double)(fl_clock_ns() - w->start_ns) / 1e9;

    fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " runs, %" PRIu64 " failed, %.0f/s ", s->done,
            s->last - s->first + 1, s->done - s->by_verdict[EMU_HELD],
            sec > 0 ? (double)s->done / sec : 0.0);
    fflush(stderr);
}

/* --- failures ------------------------------------------------------------------------------- */

/** A run that ends its worker leaves no result: its plan is written, with what is known. */
static int write_plan_only(const struct swarm *s, const struct swarm_failure *f, const char *dir,
                           struct fl_errmsg *err)
{
    struct out_run o = {.p = s->p, .r = result_new(), .verdict = f->verdict, .variants = 1};
    struct result *r = (struct result *)o.r;
    struct out_dir d;

    if (r == NULL)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    snprintf(r->fabric, sizeof(r->fabric), "sim");
    snprintf(r->tracker, sizeof(r->tracker), "actor");
    snprintf(o.why, sizeof(o.why), "%s", f->why);
    int rc = out_dir_begin(&d, dir, err);
    if (rc == FL_OK)
        rc = out_write(&o, d.tmp, err);
    if (rc == FL_OK)
        rc = out_dir_commit(&d, err);
    result_free(&r);
    return rc;
}

/** Only the faults that fired stay, then the run itself is made smaller. */
static int shrink_failure(struct swarm *s, const struct swarm_failure *f, struct pool_note *ret,
                          struct fl_errmsg *err)
{
    const struct run_opts ro = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct result *r = result_new();
    struct plan *whole = malloc(sizeof(*whole));
    int rc = r == NULL || whole == NULL ? fl_fail(err, FL_ENOMEM, "out of memory")
                                        : emu_run_sim(s->p, &ro, r, err);

    if (rc == FL_OK && s->p->expect_count == 0)
        swarm_drop_unfired(s->p, r);
    if (rc == FL_OK && swarm_failed(s->p, r, f->key)) {
        struct shrink k = {.key = f->key,
                           .tracker = "actor",
                           .runs_max = SHRINK_RUNS,
                           .wall_ns = SHRINK_WALL_S * FL_NS_PER_S};
        struct fl_errmsg no;

        *whole = *s->p;
        if (shrink_plan(s->p, &k, &no) == FL_OK) {
            shrink_describe(whole, s->p, ret->why, sizeof(ret->why));
            snprintf(ret->why + strlen(ret->why), sizeof(ret->why) - strlen(ret->why),
                     " (%" PRIu32 " runs)", k.runs);
        }
    }
    result_free(&r);
    free(whole);
    return rc;
}

/** In a worker: writes failure number @i, shrunk when that can be done. */
static void keep(void *arg, uint64_t i, struct pool_note *ret)
{
    struct swarm *s = arg;
    const struct swarm_failure *f = &s->sum.fails[i];
    const struct run_opts ro = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct fl_errmsg err;
    struct out_run o = {.r = NULL};
    char dir[PATH_MAX + 64];
    bool no_result = strcmp(f->key, "crash") == 0 || strcmp(f->key, "hung") == 0;

    if (strcmp(f->key, "W9") == 0) { /* no single run shows it */
        ret->verdict = EMU_VIOLATED;
        snprintf(ret->why, sizeof(ret->why),
                 "repeat all variants: farline run %.255s --fabric sim --seed %" PRIu64,
                 s->sum.base->file, f->seed);
        return;
    }

    swarm_draw(s->sum.base, f->seed, s->a->lies, s->p);
    snprintf(dir, sizeof(dir), "%s/seed-%" PRIu64, s->sum.dir, f->seed);
    int rc = no_result ? write_plan_only(s, f, dir, &err) : shrink_failure(s, f, ret, &err);
    if (rc == FL_OK && !no_result)
        rc = cmd_run_into(s->p, &ro, NULL, dir, &o, &err);
    struct result *r = (struct result *)o.r;
    result_free(&r);
    ret->verdict = rc == FL_OK ? EMU_HELD : EMU_USAGE;
    if (rc != FL_OK)
        snprintf(ret->why, sizeof(ret->why), "%.399s", err.text);
}

static void kept(void *arg, uint64_t i, const struct pool_note *n)
{
    struct swarm *s = arg;

    s->sum.fails[i].written = n->verdict == EMU_HELD;
    snprintf(s->sum.fails[i].shrunk, sizeof(s->sum.fails[i].shrunk), "%.255s", n->why);
}

/** What workers that were ended left half written. */
static void remove_halves(const struct swarm *s)
{
    char pattern[PATH_MAX + 32];
    glob_t g;

    snprintf(pattern, sizeof(pattern), "%s/.seed-*.tmp*", s->sum.dir);
    if (glob(pattern, GLOB_NOSORT, NULL, &g) != 0)
        return;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        struct out_dir d = {.open = true};
        snprintf(d.tmp, sizeof(d.tmp), "%s", g.gl_pathv[i]);
        out_dir_abandon(&d);
    }
    globfree(&g);
}

static int keep_failures(struct swarm *s, struct fl_errmsg *err)
{
    size_t n = s->sum.fail_count < KEPT ? s->sum.fail_count : KEPT;
    struct pool p = {.jobs = s->a->jobs < n ? s->a->jobs : (unsigned)n,
                     .first = 0,
                     .last = n - 1,
                     .wall_ns = KEEP_WALL_S * FL_NS_PER_S,
                     .arg = s,
                     .work = keep,
                     .got = kept};

    if (n == 0 || emu_interrupted || s->a->no_keep)
        return FL_OK;
    int rc = pool_run(&p, err);
    remove_halves(s);
    return rc;
}

/* --- what is left and told ------------------------------------------------------------------ */

/** Writes and frees @text. */
static int put(const struct swarm *s, const char *name, char *text, struct fl_errmsg *err)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof(path), "%s/%s", s->sum.dir, name);
    int rc = text == NULL ? fl_fail(err, FL_ENOMEM, "out of memory") : out_parents(path, err);
    if (rc == FL_OK)
        rc = out_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

/** Each whole or not at all; DIR only exists when there is something to keep. */
static int write_summary(const struct swarm *s, struct fl_errmsg *err)
{
    if ((s->sum.fail_count == 0 || s->a->no_keep) && s->a->out == NULL)
        return FL_OK;
    int rc = put(s, "swarm.json", swarm_sum_json(&s->sum, JSON_INDENT(1)), err);
    return rc != FL_OK ? rc : put(s, "report.html", swarm_sum_html(&s->sum), err);
}

static int report(const struct swarm *s, struct fl_errmsg *err)
{
    if (s->a->json) {
        char *text = swarm_sum_json(&s->sum, JSON_COMPACT);

        puts(text != NULL ? text : "{}");
        free(text);
    } else if (!s->a->tap) {
        swarm_sum_print(stdout, &s->sum);
    }
    return fflush(stdout) == 0 ? FL_OK : fl_fail(err, FL_EIO, "cannot write the report");
}

/* --- one scenario --------------------------------------------------------------------------- */

static void choose_dir(struct swarm *s)
{
    char name[256];

    if (s->a->out == NULL) {
        cmd_default_dir(s->sum.base, "swarm", s->sum.dir, sizeof(s->sum.dir));
    } else if (s->a->file_count == 1) {
        snprintf(s->sum.dir, sizeof(s->sum.dir), "%.*s", PATH_MAX - 400, s->a->out);
    } else {
        out_scenario_name(s->sum.base, name, sizeof(name));
        snprintf(s->sum.dir, sizeof(s->sum.dir), "%.*s/%s", PATH_MAX - 400, s->a->out, name);
    }
}

static int begin_cases(struct swarm *s, struct fl_errmsg *err)
{
    char name[256];

    if (s->cases == NULL)
        return FL_OK;
    out_scenario_name(s->sum.base, name, sizeof(name));
    int rc = cases_suite(s->cases, name, "seed");
    return rc == FL_OK ? rc : fl_fail(err, rc, "out of memory");
}

static int run_all(struct swarm *s, struct fl_errmsg *err)
{
    bool show = isatty(STDERR_FILENO) && !s->a->json && !s->a->tap;
    struct pool p = {.jobs = s->a->jobs,
                     .first = s->a->first,
                     .last = s->a->last,
                     .wall_ns = RUN_WALL_S * FL_NS_PER_S,
                     .arg = s,
                     .work = work,
                     .got = got,
                     .enough = over,
                     .tick = show ? tick : NULL};

    int rc = begin_cases(s, err);
    s->start_ns = fl_clock_ns();
    if (rc == FL_OK)
        rc = pool_run(&p, err);
    s->sum.run_ns = fl_clock_ns() - s->start_ns;
    if (show)
        fputs("\r\033[K", stderr);
    if (rc == FL_OK && s->cases_rc != FL_OK)
        rc = fl_fail(err, s->cases_rc,
                     "--junit and --tap keep at most %d test cases; give them fewer seeds",
                     CASES_MAX);
    return rc;
}

static int swarm_all(struct swarm *s, struct fl_errmsg *err)
{
    int rc = run_all(s, err);

    if (rc == FL_OK)
        rc = keep_failures(s, err);
    if (rc != FL_OK)
        return rc;
    swarm_sum_judge(&s->sum, emu_interrupted);
    struct fl_errmsg late;
    rc = write_summary(s, err);
    int rr = report(s, &late);
    return rc != FL_OK ? rc : rr == FL_OK ? FL_OK : fl_fail(err, rr, "%s", late.text);
}

static enum emu_exit one_scenario(const struct args *a, const struct plan *base,
                                  struct cases *cases)
{
    struct fl_errmsg err;
    struct swarm *s = calloc(1, sizeof(*s));
    int rc = FL_ENOMEM;

    if (s == NULL || (s->p = malloc(sizeof(*s->p))) == NULL) {
        fl_fail(&err, rc, "out of memory");
    } else {
        s->a = a;
        s->cases = cases;
        s->sum.base = base;
        s->sum.first = a->first;
        s->sum.last = a->last;
        s->sum.jobs = a->jobs;
        choose_dir(s);
        rc = swarm_all(s, &err);
    }
    enum emu_exit e = rc == FL_OK ? s->sum.worst : (enum emu_exit)cmd_usage("swarm: %s", err.text);
    if (s != NULL)
        free(s->p);
    free(s);
    return e;
}

/** All are valid before the first one runs; NULL: the message was printed. */
static struct plan **load_all(const struct args *a)
{
    struct plan **plans = calloc((size_t)a->file_count + 1, sizeof(*plans));
    struct fl_errmsg err = {"out of memory"};

    for (int i = 0; plans != NULL && i < a->file_count; i++) {
        plans[i] = malloc(sizeof(*plans[i]));
        if (plans[i] == NULL ||
            plan_load(a->files[i], a->sets, a->set_count, plans[i], &err) != FL_OK) {
            (void)cmd_usage("%s", err.text);
            for (; i >= 0; i--)
                free(plans[i]);
            free(plans);
            return NULL;
        }
        plans[i]->plants = a->plants;
    }
    return plans;
}

int cmd_swarm(int argc, char **argv)
{
    struct args a;
    enum emu_exit worst = EMU_HELD;
    int rc = parse(&a, argc, argv);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    struct plan **plans = load_all(&a);
    if (plans == NULL)
        return EMU_USAGE;
    struct cases *cases = a.junit != NULL || a.tap ? cases_new() : NULL;
    struct fl_errmsg err = {"out of memory"};
    rc = cases == NULL && (a.junit != NULL || a.tap) ? FL_ENOMEM : FL_OK;
    cmd_watch_signals();
    for (int i = 0; i < a.file_count && !emu_interrupted && rc == FL_OK; i++)
        worst = emu_exit_worse(worst, one_scenario(&a, plans[i], cases));
    if (rc == FL_OK && cases != NULL)
        rc = cases_write(cases, a.junit, a.tap, &err);
    if (rc != FL_OK)
        worst = emu_exit_worse(worst, (enum emu_exit)cmd_usage("swarm: %s", err.text));
    cases_free(&cases);
    for (int i = 0; i < a.file_count; i++)
        free(plans[i]);
    free(plans);
    return worst;
}
