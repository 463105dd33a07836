/* SPDX-License-Identifier: Apache-2.0 */
/* farline run: evaluates everything first, then runs scenario by scenario. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/plan_fields.h"
#include "emu/plan_steps.h"

/** Everything that was run, kept for TAP and JUnit. */
struct session {
    const struct cmd_opts *o;
    struct out_run *runs;
    size_t count, room;
    size_t skipped;
    enum emu_exit worst;
    bool setup_failed;
};

static void on_signal(int sig)
{
    (void)sig;
    emu_interrupted = 1;
}

void cmd_watch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* twice: now */

    emu_interrupted = 0;
    sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGTERM, &sa, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* --- one run -------------------------------------------------------------------------------- */

/** Gives back the room that one result does not use: many are kept. */
static void shrink(struct result *r)
{
    void *m = realloc(r->metrics, (r->metric_count + 1) * sizeof(*r->metrics));
    if (m != NULL)
        r->metrics = m;
    result_metrics_moved(r);
    void *n = realloc(r->nodes, (r->node_count + 1) * sizeof(*r->nodes));
    if (n != NULL)
        r->nodes = n;
}

/** A place for one more run in the session; NULL: out of memory. */
static struct out_run *session_add(struct session *s)
{
    if (s->count == s->room) {
        size_t room = s->room == 0 ? 16 : 2 * s->room;
        struct out_run *more = realloc(s->runs, room * sizeof(*more));

        if (more == NULL)
            return NULL;
        s->runs = more;
        s->room = room;
    }
    struct out_run *o = &s->runs[s->count++];
    memset(o, 0, sizeof(*o));
    return o;
}

int cmd_world_run(const struct plan *p, const struct run_opts *ro, struct result *r,
                  struct fl_errmsg *err)
{
    uint64_t start = fl_clock_ns();
    int rc =
        strcmp(ro->fabric, "sim") == 0 ? emu_run_sim(p, ro, r, err) : emu_run_real(p, ro, r, err);

    if (rc == FL_EUNSUPPORTED) {
        r->skipped = true;
        snprintf(r->why, sizeof(r->why), "%s", err->text);
        rc = FL_OK;
    }
    if (emu_interrupted && rc == FL_OK)
        rc = fl_fail(err, FL_ECANCELED, "interrupted");
    if (r->duration_ns == 0)
        r->duration_ns = fl_clock_ns() - start;
    snprintf(r->fabric, sizeof(r->fabric), "%s", ro->fabric);
    if (r->tracker[0] == '\0') /* for programs the simulator chooses */
        snprintf(r->tracker, sizeof(r->tracker), "%s", ro->tracker);
    return rc;
}

/** Runs @p with its files in @dir and adds it to the session. */
static int run_one(struct session *s, const struct plan *p, const char *variant, const char *dir,
                   const char *final_dir, struct fl_errmsg *err)
{
    struct run_opts ro = s->o->run;
    struct result *r = result_new();
    struct plan *own = malloc(sizeof(*own));
    struct fl_errmsg why;

    ro.out_dir = dir;
    ro.quiet = s->o->json || s->o->tap;
    if (r == NULL || own == NULL) {
        result_free(&r);
        free(own);
        return fl_fail(err, FL_ENOMEM, "out of memory");
    }
    *own = *p;
    plan_steps_draw(own);
    int rc = cmd_world_run(own, &ro, r, err);
    struct out_run *o = rc == FL_OK ? session_add(s) : NULL;
    if (o == NULL) {
        result_free(&r);
        free(own);
        return rc != FL_OK ? rc : fl_fail(err, FL_ENOMEM, "out of memory");
    }
    result_sum_metrics(r);
    shrink(r);
    o->p = own;
    o->r = r;
    o->variant = variant;
    o->verdict = result_judge(own, r, &why);
    snprintf(o->why, sizeof(o->why), "%s", why.text);
    snprintf(o->dir, sizeof(o->dir), "%s", final_dir);
    return out_write(o, dir, err);
}

/* --- variants ------------------------------------------------------------------------------- */

static void merge_checks(struct result *whole, const struct out_run *v)
{
    for (size_t i = 0; i < v->r->check_count; i++) {
        const struct result_check *from = &v->r->checks[i];
        struct result_check *c = result_check(whole, from->id, from->unit);

        if (c == NULL)
            continue;
        if (c->violated == 0 && from->violated > 0) {
            snprintf(c->first, sizeof(c->first), "variant %s: %.440s", v->variant, from->first);
            c->what = from->what;
            c->what.t_ns = 0; /* times and faults are those of the variant */
        }
        c->checked += from->checked;
        c->violated += from->violated;
    }
}

static void merge_rest(struct result *whole, const struct out_run *v)
{
    char name[64];

    for (size_t i = 0; i < v->r->fault_count && whole->fault_count < PLAN_STEPS_MAX; i++)
        whole->faults[whole->fault_count++] = v->r->faults[i];
    for (size_t i = 0; i < v->r->metric_count; i++) {
        const struct result_metric *m = &v->r->metrics[i];

        if (strchr(m->name, '.') != NULL || m->text[0] != '\0')
            continue; /* figures of single nodes stay with the variant */
        int n = snprintf(name, sizeof(name), "%s.%s", v->variant, m->name);
        if (n > 0 && (size_t)n < sizeof(name))
            result_metric(whole, name, m->value);
    }
    whole->duration_ns += v->r->duration_ns;
    whole->trace_hash = whole->trace_hash * UINT64_C(0x9e3779b97f4a7c15) + v->r->trace_hash;
}

/** W9: images of all variants are equal. Counts the bytes that stand behind the digests. */
static void compare_images(const struct plan *p, const struct out_run *v, size_t count,
                           struct result *whole)
{
    struct result_check *c = result_check(whole, "W9", "bytes");
    uint64_t bytes = 0;

    if (c == NULL || fl_planted(&p->plants, FL_BLIND_W9))
        return;
    for (int i = 0; i < p->region_count; i++)
        bytes += p->regions[i].size_bytes;
    for (size_t i = 1; i < count; i++) {
        if (v[0].r->image_digest == 0 || v[i].r->image_digest == 0)
            continue;
        c->checked += bytes;
        if (v[i].r->image_digest == v[0].r->image_digest)
            continue;
        if (c->violated++ == 0)
            snprintf(c->first, sizeof(c->first),
                     "variant %s left image %016" PRIx64 ", variant %s left %016" PRIx64,
                     v[0].variant, v[0].r->image_digest, v[i].variant, v[i].r->image_digest);
    }
}

/** Verdict over all variants: the worst, with the first variant that earned it. */
static void judge_whole(struct out_run *o, const struct out_run *v, size_t count)
{
    const struct result_check *w9 = NULL;

    o->verdict = EMU_HELD;
    for (size_t i = 0; i < count; i++)
        o->verdict = emu_exit_worse(o->verdict, v[i].verdict);
    for (size_t i = 0; i < o->r->check_count; i++)
        if (strcmp(o->r->checks[i].id, "W9") == 0)
            w9 = &o->r->checks[i];
    if (w9 != NULL && w9->violated > 0 && o->verdict != EMU_VIOLATED) {
        o->verdict = EMU_VIOLATED;
        snprintf(o->why, sizeof(o->why), "W9 violated, first: %.400s", w9->first);
        return;
    }
    if (w9 != NULL && w9->checked == 0 && o->verdict == EMU_HELD) {
        o->verdict = EMU_UNDECIDED;
        snprintf(o->why, sizeof(o->why), "W9 was asked for, but nothing was compared");
        return;
    }
    snprintf(o->why, sizeof(o->why), "all %zu variants held", count);
    for (size_t i = 0; i < count && o->verdict != EMU_HELD; i++)
        if (v[i].verdict == o->verdict) {
            snprintf(o->why, sizeof(o->why), "variant %s: %.400s", v[i].variant, v[i].why);
            return;
        }
}

static int finish_variants(struct session *s, const struct plan *p, size_t first, const char *dir,
                           const char *final_dir, struct fl_errmsg *err)
{
    struct out_run *o = session_add(s);
    struct result *r = result_new();
    struct plan *own = malloc(sizeof(*own));

    if (o == NULL || r == NULL || own == NULL) {
        if (o != NULL)
            s->count--;
        result_free(&r);
        free(own);
        return fl_fail(err, FL_ENOMEM, "out of memory");
    }
    *own = *p;
    const struct out_run *v = &s->runs[first];
    size_t count = s->count - 1 - first;
    for (size_t i = 0; i < count; i++) {
        merge_checks(r, &v[i]);
        merge_rest(r, &v[i]);
    }
    if (p->same_image)
        compare_images(p, v, count, r);
    memcpy(r->fabric, v[0].r->fabric, sizeof(r->fabric));
    memcpy(r->tracker, v[0].r->tracker, sizeof(r->tracker));
    shrink(r);
    o->p = own;
    o->r = r;
    o->variants = (uint16_t)count;
    judge_whole(o, v, count);
    r->skipped = o->verdict == EMU_SKIPPED;
    snprintf(o->dir, sizeof(o->dir), "%s", final_dir);
    return out_write(o, dir, err);
}

static int run_variants(struct session *s, const struct plan *p, const char *dir,
                        const char *final_dir, struct fl_errmsg *err)
{
    char sub[PATH_MAX + 64], final_sub[PATH_MAX];
    struct plan *vp = malloc(sizeof(*vp));
    size_t first = s->count;
    int rc = vp != NULL ? FL_OK : fl_fail(err, FL_ENOMEM, "out of memory");

    for (int v = 0; v < p->variant_count && rc == FL_OK; v++) {
        const char *name = p->variants[v].name;

        snprintf(sub, sizeof(sub), "%s/%s", dir, name);
        snprintf(final_sub, sizeof(final_sub), "%.*s/%s", PATH_MAX - 40, final_dir, name);
        if (isatty(STDERR_FILENO) && !s->o->json && !s->o->tap)
            fprintf(stderr, "variant %s (%d of %u)\n", name, v + 1, p->variant_count);
        rc = plan_variant_apply(p, v, vp, err);
        if (rc == FL_OK && mkdir(sub, 0755) != 0)
            rc = fl_fail(err, FL_EINVAL, "cannot create %.300s: %s", sub, strerror(errno));
        if (rc == FL_OK)
            rc = run_one(s, vp, name, sub, final_sub, err);
    }
    free(vp);
    return rc == FL_OK ? finish_variants(s, p, first, dir, final_dir, err) : rc;
}

/* --- one scenario --------------------------------------------------------------------------- */

/** The scenario's name as a directory: nothing in it can lead elsewhere. */
static void safe_name(const struct plan *p, char *ret, size_t size)
{
    out_scenario_name(p, ret, size);
    for (char *c = ret; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              *c == '-' || *c == '_' || (*c == '.' && c != ret)))
            *c = '_';
}

void cmd_default_dir(const struct plan *p, const char *last, char *ret, size_t size)
{
    char name[256];

    safe_name(p, name, sizeof(name));
    snprintf(ret, size, "runs/%s/%s", name, last);
}

int cmd_run_into(const struct plan *p, const struct run_opts *ro, const char *variant,
                 const char *dir, struct out_run *ret, struct fl_errmsg *err)
{
    struct run_opts o = *ro;
    struct result *r = result_new();
    struct out_dir d;
    struct fl_errmsg why;

    memset(ret, 0, sizeof(*ret));
    int rc = r == NULL ? fl_fail(err, FL_ENOMEM, "out of memory") : out_dir_begin(&d, dir, err);
    if (rc != FL_OK) {
        result_free(&r);
        return rc;
    }
    o.out_dir = d.tmp;
    rc = cmd_world_run(p, &o, r, err);
    if (rc == FL_OK) {
        result_sum_metrics(r);
        *ret = (struct out_run){.p = p, .r = r, .variant = variant};
        ret->verdict = result_judge(p, r, &why);
        snprintf(ret->why, sizeof(ret->why), "%s", why.text);
        snprintf(ret->dir, sizeof(ret->dir), "%s", d.path);
        rc = out_write(ret, d.tmp, err);
    }
    if (rc == FL_OK)
        rc = out_dir_commit(&d, err);
    if (rc == FL_OK)
        return FL_OK;
    out_dir_keep_logs(&d, err);
    out_dir_abandon(&d);
    result_free(&r);
    ret->r = NULL;
    return rc;
}

static void out_path(const struct session *s, const struct plan *p, char *ret, size_t size)
{
    char name[256];

    safe_name(p, name, sizeof(name));
    if (s->o->out == NULL)
        snprintf(ret, size, "runs/%s/%" PRIu64, name, p->seed);
    else if (s->o->file_count == 1)
        snprintf(ret, size, "%s", s->o->out);
    else
        snprintf(ret, size, "%s/%s", s->o->out, name);
}

static void print_runs(const struct session *s, size_t first)
{
    const struct out_run *last = &s->runs[s->count - 1];

    if (s->o->tap)
        return; /* at the end, when the number of cases is known */
    if (s->o->json) {
        for (size_t i = first; i < s->count; i++) {
            char *text = out_verdict_json(&s->runs[i], false);

            puts(text != NULL ? text : "{}");
            free(text);
        }
        return;
    }
    if (last->variants > 0) {
        for (size_t i = first; i + 1 < s->count; i++)
            if (s->runs[i].verdict != EMU_HELD)
                out_report(stdout, &s->runs[i]);
        out_report_variants(stdout, &s->runs[first], last->variants);
    }
    out_report(stdout, last);
}

/** Adds what was run to the exit status, and prints it when it is complete. */
static void account(struct session *s, const struct plan *p, size_t first)
{
    const struct out_run *last = s->count > first ? &s->runs[s->count - 1] : NULL;

    for (size_t i = first; i < s->count; i++)
        if (s->runs[i].verdict != EMU_SKIPPED)
            s->worst = emu_exit_worse(s->worst, s->runs[i].verdict);
    if (last == NULL || (p->variant_count > 0 && last->variants == 0))
        return;
    print_runs(s, first);
    s->skipped += last->verdict == EMU_SKIPPED;
}

static int run_scenario(struct session *s, const struct plan *p, struct fl_errmsg *err)
{
    struct out_dir d;
    char path[PATH_MAX];
    size_t first = s->count;

    out_path(s, p, path, sizeof(path));
    int rc = out_dir_begin(&d, path, err);
    if (rc != FL_OK)
        return rc;
    if (p->variant_count > 0 && s->o->run.external != NULL)
        rc = fl_fail(err, FL_EINVAL,
                     "external nodes join one run and end with it; %s has variants: run one of "
                     "them with --set",
                     p->file);
    else if (p->variant_count > 0)
        rc = run_variants(s, p, d.tmp, d.path, err);
    else
        rc = run_one(s, p, NULL, d.tmp, d.path, err);
    if (rc == FL_OK)
        rc = out_dir_commit(&d, err);
    if (rc != FL_OK && rc != FL_ECANCELED)
        out_dir_keep_logs(&d, err);
    out_dir_abandon(&d);
    account(s, p, first);
    return rc;
}

/* --- the command ---------------------------------------------------------------------------- */

/** An isolated page can cost a mapping of its own; the tracker then holds stores back. */
static void warn_mappings(const struct plan *p)
{
    unsigned long long max = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");

    if (f == NULL)
        return;
    if (fscanf(f, "%llu", &max) != 1)
        max = 0;
    fclose(f);
    for (int i = 0; i < p->node_count && max > 0; i++)
        if (p->nodes[i].device_memory_bytes / FL_PAGE_BYTES > max / 2)
            fprintf(stderr,
                    "farline: note: node \"%s\" caches more pages than half of vm.max_map_count "
                    "(%llu): scattered pages will wait for mappings; raise it with sysctl\n",
                    p->nodes[i].name, max);
}

static struct plan **load_all(const struct cmd_opts *o)
{
    struct plan **plans = calloc((size_t)o->file_count, sizeof(*plans));
    struct fl_errmsg err = {"out of memory"};

    for (int i = 0; plans != NULL && i < o->file_count; i++) {
        plans[i] = malloc(sizeof(*plans[i]));
        if (plans[i] == NULL ||
            plan_load(o->files[i], o->sets, o->set_count, plans[i], &err) != FL_OK) {
            (void)cmd_usage("%s", err.text);
            for (; i >= 0; i--)
                free(plans[i]);
            free(plans);
            return NULL;
        }
        plans[i]->plants = o->plants;
    }
    return plans;
}

/** Two scenarios of one name would share a directory. */
static int check_names(const struct session *s, struct plan *const *plans)
{
    char a[PATH_MAX], b[PATH_MAX];

    for (int i = 0; i < s->o->file_count; i++)
        for (int j = 0; j < i; j++) {
            out_path(s, plans[i], a, sizeof(a));
            out_path(s, plans[j], b, sizeof(b));
            if (strcmp(a, b) == 0)
                return cmd_usage("%s and %s would both write %s; run them one after the other "
                                 "with different --out",
                                 plans[j]->file, plans[i]->file, a);
        }
    return EMU_HELD;
}

static int write_extras(const struct session *s)
{
    struct fl_errmsg err;
    int rc = FL_OK;

    if (s->o->tap)
        out_tap(stdout, s->runs, s->count);
    if (s->o->junit != NULL) {
        char *text = out_junit(s->runs, s->count);

        rc = text != NULL ? out_file(s->o->junit, text, strlen(text), &err)
                          : fl_fail(&err, FL_ENOMEM, "--junit: out of memory");
        free(text);
        if (rc != FL_OK)
            (void)cmd_usage("--junit: %s", err.text);
    }
    if (s->o->trace != NULL && s->count > 0) {
        const struct out_run *o = &s->runs[0];
        int rt = history_to_trace(o->dir, o->p, s->o->trace, &err);

        if (rt != FL_OK)
            (void)cmd_usage("--trace: %s", err.text);
        rc = rc != FL_OK ? rc : rt;
    }
    if (fflush(stdout) != 0)
        rc = FL_EIO;
    return rc == FL_OK ? EMU_HELD : EMU_USAGE;
}

static int session_exit(const struct session *s, int extras)
{
    enum emu_exit e = s->worst;

    if (s->setup_failed || extras != EMU_HELD)
        e = emu_exit_worse(e, EMU_USAGE);
    if (s->skipped > 0)
        fprintf(stderr, "farline: %zu of %d scenarios skipped\n", s->skipped, s->o->file_count);
    if (e == EMU_HELD && s->skipped == (size_t)s->o->file_count)
        e = EMU_SKIPPED;
    return e;
}

static void session_free(struct session *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct result *r = (struct result *)s->runs[i].r;

        result_free(&r);
        free((struct plan *)s->runs[i].p);
    }
    free(s->runs);
}

int cmd_run(int argc, char **argv)
{
    struct cmd_opts o;
    struct fl_errmsg err;
    int rc = cmd_opts_parse(&o, argc, argv);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    struct plan **plans = load_all(&o);
    if (plans == NULL)
        return EMU_USAGE;
    struct session s = {.o = &o};
    rc = check_names(&s, plans);
    cmd_watch_signals();
    for (int i = 0; i < o.file_count && rc == EMU_HELD && !emu_interrupted; i++) {
        if (strcmp(o.run.fabric, "sim") != 0)
            warn_mappings(plans[i]);
        int rr = run_scenario(&s, plans[i], &err);
        if (rr == FL_ECANCELED)
            emu_interrupted = 1;
        else if (rr != FL_OK)
            s.setup_failed = true;
        if (rr != FL_OK)
            (void)cmd_usage("%s", err.text);
    }
    if (rc == EMU_HELD) {
        rc = session_exit(&s, write_extras(&s));
        if (emu_interrupted)
            rc = emu_exit_worse((enum emu_exit)rc, EMU_UNDECIDED);
    }
    session_free(&s);
    for (int i = 0; i < o.file_count; i++)
        free(plans[i]);
    free(plans);
    return rc;
}
