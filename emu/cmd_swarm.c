/* SPDX-License-Identifier: Apache-2.0 */
/* farline swarm: many seeded runs in the simulator, faults drawn from each seed. */
#include <ctype.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/plan_fields.h"
#include "emu/shrink.h"
#include "emu/swarm.h"

enum {
    SEEDS = 100,       /* without --seeds */
    KEPT = 3,          /* failures that are shrunk and written */
    FAILS_MAX = 64,    /* failures that are named */
    TWICE_ONE_IN = 20, /* runs that are done twice */
    RUN_WALL_S = 60,   /* of one run */
    KEEP_WALL_S = 120, /* of shrinking and writing one failure */
    SHRINK_WALL_S = 30,
    SHRINK_RUNS = 400,
    ASKED_ENOUGH = 20, /* a kind asked for so often that never fired decides nothing */
};

static const char help[] =
    "usage: farline swarm SCENARIO.lua... [options]\n"
    "  --seeds A..B      seeds to run, both included (1..100)\n"
    "  --jobs J          worker processes (one per core)\n"
    "  --set PATH=VALUE  change a setting of the scenario\n"
    "  --plant ID        switch on a planted bug (`farline list plants`)\n"
    "  --out DIR         where swarm.json and the first failures go (runs/NAME/swarm)\n"
    "  --json            print one JSON object a scenario instead of the report\n"
    "exit status: the worst of all runs: 1 violated, 3 no progress, 2 undecided, 0 all held\n";

struct args {
    const char *sets[CMD_SETS_MAX];
    int set_count;
    struct fl_plants plants;
    uint64_t first, last;
    unsigned jobs;
    const char *out;
    bool json;
    char *const *files;
    int file_count;
};

struct failure {
    uint64_t seed;
    enum emu_exit verdict;
    char key[NOTE_KEY_MAX];
    char why[400];
    char shrunk[256]; /* what shrinking did */
    bool written;
};

struct swarm {
    const struct args *a;
    const struct plan *base;
    struct plan *p; /* of a worker */
    char dir[PATH_MAX];
    uint64_t done, twice, start_ns, run_ns;
    uint64_t by_verdict[EMU_SKIPPED + 1];
    struct {
        uint64_t asked, fired, survived, violated;
    } kinds[POOL_KINDS];
    struct {
        char id[8];
        uint64_t checked, violated;
    } checks[PLAN_CHECKS_MAX];
    uint16_t check_count;
    struct failure fails[FAILS_MAX]; /* the lowest seeds, in order */
    size_t fail_count;
    enum emu_exit worst;
    char why[400];
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
    case 'h':
        fputs(help, stdout);
        return -1;
    default:
        return cmd_usage("see `farline swarm --help`");
    }
}

static int parse(struct args *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 's'}, {"jobs", required_argument, NULL, 'j'},
        {"set", required_argument, NULL, 'e'},   {"plant", required_argument, NULL, 'p'},
        {"out", required_argument, NULL, 'o'},   {"json", no_argument, NULL, 'J'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
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
    bool drawn = swarm_draw(s->base, seed, s->p);

    swarm_run(s->p, drawn, (seed - s->a->first) % TWICE_ONE_IN == 0, ret);
}

static void add_failure(struct swarm *s, uint64_t seed, const struct pool_note *n)
{
    size_t at = s->fail_count;

    while (at > 0 && s->fails[at - 1].seed > seed)
        at--;
    if (at == FAILS_MAX)
        return;
    size_t move = (s->fail_count < FAILS_MAX ? s->fail_count : FAILS_MAX - 1) - at;
    memmove(&s->fails[at + 1], &s->fails[at], move * sizeof(s->fails[0]));
    s->fail_count += s->fail_count < FAILS_MAX;
    struct failure *f = &s->fails[at];
    memset(f, 0, sizeof(*f));
    f->seed = seed;
    f->verdict = n->verdict;
    snprintf(f->key, sizeof(f->key), "%s", n->key);
    snprintf(f->why, sizeof(f->why), "%s", n->why);
}

static void add_checks(struct swarm *s, const struct pool_note *n)
{
    for (uint16_t i = 0; i < n->check_count; i++) {
        uint16_t k = 0;

        while (k < s->check_count && strcmp(s->checks[k].id, n->checks[i].id) != 0)
            k++;
        if (k == PLAN_CHECKS_MAX)
            continue;
        if (k == s->check_count)
            memcpy(s->checks[s->check_count++].id, n->checks[i].id, sizeof(s->checks[0].id));
        s->checks[k].checked += n->checks[i].checked;
        s->checks[k].violated += n->checks[i].violated;
    }
}

static void got(void *arg, uint64_t seed, const struct pool_note *n)
{
    struct swarm *s = arg;
    bool bad = n->verdict != EMU_HELD;

    s->done++;
    s->twice += n->twice;
    s->by_verdict[n->verdict]++;
    s->worst = emu_exit_worse(s->worst, n->verdict);
    for (int k = 0; k < POOL_KINDS; k++) {
        s->kinds[k].asked += n->asked[k];
        s->kinds[k].fired += n->fired[k];
        s->kinds[k].survived += n->fired[k] > 0 && !bad;
        s->kinds[k].violated += n->fired[k] > 0 && bad;
    }
    add_checks(s, n);
    if (bad)
        add_failure(s, seed, n);
}

static void tick(void *arg)
{
    const struct swarm *s = arg;
    double sec = (double)(fl_clock_ns() - s->start_ns) / 1e9;

    fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " runs, %" PRIu64 " failed, %.0f/s ", s->done,
            s->a->last - s->a->first + 1, s->done - s->by_verdict[EMU_HELD],
            sec > 0 ? (double)s->done / sec : 0.0);
    fflush(stderr);
}

/* --- failures ------------------------------------------------------------------------------- */

/** A run that ends its worker leaves no result: its plan is written, with what is known. */
static int write_plan_only(const struct swarm *s, const struct failure *f, const char *dir,
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
static int shrink_failure(struct swarm *s, const struct failure *f, struct pool_note *ret,
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
    const struct failure *f = &s->fails[i];
    const struct run_opts ro = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct fl_errmsg err;
    struct out_run o = {.r = NULL};
    char dir[PATH_MAX + 64];
    bool no_result = strcmp(f->key, "crash") == 0 || strcmp(f->key, "hung") == 0;

    swarm_draw(s->base, f->seed, s->p);
    snprintf(dir, sizeof(dir), "%s/seed-%" PRIu64, s->dir, f->seed);
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

    s->fails[i].written = n->verdict == EMU_HELD;
    snprintf(s->fails[i].shrunk, sizeof(s->fails[i].shrunk), "%.255s", n->why);
}

/** What workers that were ended left half written. */
static void remove_halves(const struct swarm *s)
{
    char pattern[PATH_MAX + 32];
    glob_t g;

    snprintf(pattern, sizeof(pattern), "%s/.seed-*.tmp*", s->dir);
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
    size_t n = s->fail_count < KEPT ? s->fail_count : KEPT;
    struct pool p = {.jobs = s->a->jobs < n ? s->a->jobs : (unsigned)n,
                     .first = 0,
                     .last = n - 1,
                     .wall_ns = KEEP_WALL_S * FL_NS_PER_S,
                     .arg = s,
                     .work = keep,
                     .got = kept};

    if (n == 0 || emu_interrupted)
        return FL_OK;
    int rc = pool_run(&p, err);
    remove_halves(s);
    return rc;
}

/* --- the report ----------------------------------------------------------------------------- */

/** A kind of fault that never fired, a check that compared nothing: "sometimes" did not happen. */
static void judge(struct swarm *s)
{
    char why[400] = "";

    if (s->fail_count > 0)
        snprintf(why, sizeof(why), "seed %" PRIu64 ": %.360s", s->fails[0].seed, s->fails[0].why);
    for (size_t i = 0; i < s->fail_count; i++)
        if (s->fails[i].verdict == s->worst) {
            snprintf(why, sizeof(why), "seed %" PRIu64 ": %.360s", s->fails[i].seed,
                     s->fails[i].why);
            break;
        }
    for (int k = 0; k < POOL_KINDS && s->worst == EMU_HELD; k++)
        if (s->kinds[k].asked >= ASKED_ENOUGH && s->kinds[k].fired == 0) {
            s->worst = EMU_UNDECIDED;
            snprintf(why, sizeof(why), "%s was asked for %" PRIu64 " times and never fired",
                     plan_step_info((unsigned)k)->name, s->kinds[k].asked);
        }
    for (uint16_t k = 0; k < s->check_count && s->worst == EMU_HELD; k++)
        if (s->checks[k].checked == 0) {
            s->worst = EMU_UNDECIDED;
            snprintf(why, sizeof(why), "%s compared nothing in any run", s->checks[k].id);
        }
    if (emu_interrupted) {
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
        if (why[0] == '\0')
            snprintf(why, sizeof(why), "interrupted");
    }
    if (why[0] == '\0')
        snprintf(why, sizeof(why), "every run held");
    snprintf(s->why, sizeof(s->why), "%s", why);
}

static void print_failures(const struct swarm *s)
{
    for (size_t i = 0; i < s->fail_count; i++) {
        const struct failure *f = &s->fails[i];

        if (i == 10) {
            printf("failed    and %" PRIu64 " more\n", s->done - s->by_verdict[EMU_HELD] - i);
            break;
        }
        printf("failed    seed %" PRIu64 ": %.300s\n", f->seed, f->why);
        if (f->shrunk[0] != '\0')
            printf("          %s%s\n", f->written ? "shrunk: " : "", f->shrunk);
        if (f->written)
            printf("          farline replay %s/seed-%" PRIu64 "/run.json\n", s->dir, f->seed);
    }
}

static void print_text(const struct swarm *s)
{
    double sec = (double)s->run_ns / 1e9;

    printf("swarm     %s, seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " runs in %.2f s, %.0f/s, "
           "%u jobs; %" PRIu64 " done twice\n",
           s->base->file, s->a->first, s->a->last, s->done, sec,
           sec > 0 ? (double)s->done / sec : 0.0, s->a->jobs, s->twice);
    printf("%-10s%10s%10s%10s%10s\n", "fault", "asked", "fired", "survived", "violated");
    for (int k = 0; k < POOL_KINDS; k++)
        if (s->kinds[k].asked > 0)
            printf("%-10s%10" PRIu64 "%10" PRIu64 "%10" PRIu64 "%10" PRIu64 "\n",
                   plan_step_info((unsigned)k)->name, s->kinds[k].asked, s->kinds[k].fired,
                   s->kinds[k].survived, s->kinds[k].violated);
    printf("%-10s%20s%20s\n", "check", "compared", "violated");
    for (uint16_t k = 0; k < s->check_count; k++)
        printf("%-10s%20" PRIu64 "%20" PRIu64 "\n", s->checks[k].id, s->checks[k].checked,
               s->checks[k].violated);
    print_failures(s);
    printf("verdict   ");
    for (const char *c = out_verdict_name(s->worst); *c != '\0'; c++)
        putchar(toupper((unsigned char)*c));
    printf(": %s\n", s->why);
}

static json_t *failures_json(const struct swarm *s)
{
    json_t *list = json_array();
    char path[PATH_MAX + 64];

    for (size_t i = 0; i < s->fail_count; i++) {
        const struct failure *f = &s->fails[i];

        snprintf(path, sizeof(path), "%s/seed-%" PRIu64 "/run.json", s->dir, f->seed);
        json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:s, s:o}", "seed",
                                              (json_int_t)f->seed, "verdict",
                                              out_verdict_name(f->verdict), "id", f->key, "why",
                                              f->why, "shrunk", f->shrunk, "run",
                                              f->written ? json_string(path) : json_null()));
    }
    return list;
}

static char *to_json(const struct swarm *s, size_t flags)
{
    json_t *kinds = json_array(), *checks = json_array();

    for (int k = 0; k < POOL_KINDS; k++)
        if (s->kinds[k].asked > 0)
            json_array_append_new(kinds, json_pack("{s:s, s:I, s:I, s:I, s:I}", "kind",
                                                   plan_step_info((unsigned)k)->name, "asked",
                                                   (json_int_t)s->kinds[k].asked, "fired",
                                                   (json_int_t)s->kinds[k].fired, "survived",
                                                   (json_int_t)s->kinds[k].survived, "violated",
                                                   (json_int_t)s->kinds[k].violated));
    for (uint16_t k = 0; k < s->check_count; k++)
        json_array_append_new(checks, json_pack("{s:s, s:I, s:I}", "id", s->checks[k].id, "checked",
                                                (json_int_t)s->checks[k].checked, "violated",
                                                (json_int_t)s->checks[k].violated));
    json_t *j = json_pack("{s:i, s:s, s:[I, I], s:i, s:I, s:I, s:I, s:s, s:i, s:s, s:o, s:o, s:o}",
                          "version", OUT_VERSION, "scenario", s->base->file, "seeds",
                          (json_int_t)s->a->first, (json_int_t)s->a->last, "jobs", (int)s->a->jobs,
                          "runs", (json_int_t)s->done, "twice", (json_int_t)s->twice, "wall_ns",
                          (json_int_t)s->run_ns, "verdict", out_verdict_name(s->worst), "exit",
                          (int)s->worst, "why", s->why, "faults", kinds, "checks", checks,
                          "failures", failures_json(s));
    char *text = j != NULL ? json_dumps(j, flags | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    return text;
}

/** DIR/swarm.json, whole or not at all; DIR only exists when there is something to keep. */
static int write_summary(const struct swarm *s, struct fl_errmsg *err)
{
    char path[PATH_MAX + 32];

    if (s->fail_count == 0 && s->a->out == NULL)
        return FL_OK;
    char *text = to_json(s, JSON_INDENT(1));
    snprintf(path, sizeof(path), "%s/swarm.json", s->dir);
    int rc = text == NULL ? fl_fail(err, FL_ENOMEM, "out of memory") : out_parents(path, err);
    if (rc == FL_OK)
        rc = out_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

static int report(const struct swarm *s, struct fl_errmsg *err)
{
    if (s->a->json) {
        char *text = to_json(s, JSON_COMPACT);

        puts(text != NULL ? text : "{}");
        free(text);
    } else {
        print_text(s);
    }
    return fflush(stdout) == 0 ? FL_OK : fl_fail(err, FL_EIO, "cannot write the report");
}

/* --- one scenario --------------------------------------------------------------------------- */

static void choose_dir(struct swarm *s)
{
    char name[256];

    if (s->a->out == NULL) {
        cmd_default_dir(s->base, "swarm", s->dir, sizeof(s->dir));
    } else if (s->a->file_count == 1) {
        snprintf(s->dir, sizeof(s->dir), "%.*s", PATH_MAX - 400, s->a->out);
    } else {
        out_scenario_name(s->base, name, sizeof(name));
        snprintf(s->dir, sizeof(s->dir), "%.*s/%s", PATH_MAX - 400, s->a->out, name);
    }
}

static int swarm_all(struct swarm *s, struct fl_errmsg *err)
{
    bool show = isatty(STDERR_FILENO) && !s->a->json;
    struct pool p = {.jobs = s->a->jobs,
                     .first = s->a->first,
                     .last = s->a->last,
                     .wall_ns = RUN_WALL_S * FL_NS_PER_S,
                     .arg = s,
                     .work = work,
                     .got = got,
                     .tick = show ? tick : NULL};

    s->start_ns = fl_clock_ns();
    int rc = pool_run(&p, err);
    s->run_ns = fl_clock_ns() - s->start_ns;
    if (show)
        fputs("\r\033[K", stderr);
    if (rc == FL_OK)
        rc = keep_failures(s, err);
    if (rc != FL_OK)
        return rc;
    judge(s);
    struct fl_errmsg late;
    rc = write_summary(s, err);
    int rr = report(s, &late);
    return rc != FL_OK ? rc : rr == FL_OK ? FL_OK : fl_fail(err, rr, "%s", late.text);
}

static enum emu_exit one_scenario(const struct args *a, const struct plan *base)
{
    struct fl_errmsg err;
    struct swarm *s = calloc(1, sizeof(*s));
    int rc = FL_ENOMEM;

    if (s == NULL || (s->p = malloc(sizeof(*s->p))) == NULL) {
        fl_fail(&err, rc, "out of memory");
    } else {
        s->a = a;
        s->base = base;
        choose_dir(s);
        rc = swarm_all(s, &err);
    }
    enum emu_exit e = rc == FL_OK ? s->worst : (enum emu_exit)cmd_usage("swarm: %s", err.text);
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
    cmd_watch_signals();
    for (int i = 0; i < a.file_count && !emu_interrupted; i++)
        worst = emu_exit_worse(worst, one_scenario(&a, plans[i]));
    for (int i = 0; i < a.file_count; i++)
        free(plans[i]);
    free(plans);
    return worst;
}
