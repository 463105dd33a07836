/* SPDX-License-Identifier: Apache-2.0 */
/* farline replay, farline shrink: what to do with the run.json that a run left. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/cmd.h"
#include "emu/outputs.h"
#include "emu/runfile.h"
#include "emu/shrink.h"
#include "emu/swarm.h"

enum { SHRINK_RUNS = 500, SHRINK_WALL_S = 120 };

static const char replay_help[] =
    "usage: farline replay RUN.json [--out DIR] [--json] [--bind ADDR]\n"
    "  a simulated run is repeated exactly, and its trace hash compared; a run of real processes\n"
    "  is run again in the same fabric, with the same faults at the same logical points; --bind "
    "is\n"
    "  that of run, addresses are this machine's and not recorded\n"
    "exit status: that of the run; 1 also when the trace differs; 64 when the file is not what a\n"
    "run left (nothing is run then)\n";
static const char shrink_help[] =
    "usage: farline shrink RUN.json [--out DIR] [--runs N]\n"
    "  makes the plan of a simulated run that failed smaller (steps, accesses, threads, regions,\n"
    "  nodes) for as long as the same check fails; DIR gets the smaller run "
    "(runs/NAME/SEED-small)\n"
    "exit status: 1 when the smaller run violates, 3 and 2 likewise, 64 when the run does not "
    "fail\n";

struct args {
    const char *file, *out;
    struct run_opts run; /* its bind */
    uint64_t runs;
    bool json;
};

/** EMU_HELD, EMU_USAGE with the message printed, or -1: help was printed. */
static int parse(struct args *a, int argc, char **argv, bool shrink)
{
    static const struct option options[] = {
        {"out", required_argument, NULL, 'o'},  {"help", no_argument, NULL, 'h'},
        {"json", no_argument, NULL, 'j'},       {"runs", required_argument, NULL, 'r'},
        {"bind", required_argument, NULL, 'b'}, {NULL, 0, NULL, 0}};
    int opt;

    *a = (struct args){.runs = SHRINK_RUNS};
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(shrink ? shrink_help : replay_help, stdout);
            return -1;
        }
        if (opt == 'o')
            a->out = optarg;
        else if (opt == 'b' && !shrink) {
            if (cmd_bind(&a->run, optarg) != EMU_HELD)
                return EMU_USAGE;
        } else if (opt == 'j' && !shrink)
            a->json = true;
        else if (opt != 'r' || !shrink || !cmd_number(optarg, &a->runs) || a->runs == 0 ||
                 a->runs > UINT32_MAX)
            return cmd_usage("see `farline %s --help`", argv[0]);
    }
    if (argc - optind != 1)
        return cmd_usage("%s: name one run.json, such as runs/basic/1/run.json", argv[0]);
    a->file = argv[optind];
    return EMU_HELD;
}

static void place(const struct args *a, const struct plan *p, const char *suffix, char *ret,
                  size_t size)
{
    char last[64];

    snprintf(last, sizeof(last), "%" PRIu64 "-%s", p->seed, suffix);
    if (a->out != NULL)
        snprintf(ret, size, "%s", a->out);
    else
        cmd_default_dir(p, last, ret, size);
}

/* --- replay --------------------------------------------------------------------------------- */

static void print_run(const struct args *a, const struct out_run *o)
{
    char *text;

    if (!a->json) {
        out_report(stdout, o);
        return;
    }
    text = out_verdict_json(o, false);
    puts(text != NULL ? text : "{}");
    free(text);
}

/** Says whether the run was the recorded one; EMU_VIOLATED when it was not. */
static enum emu_exit compare(const struct args *a, const struct runfile *f, const struct out_run *o)
{
    uint32_t fired = 0;

    for (size_t i = 0; i < o->r->fault_count; i++)
        fired += o->r->faults[i].fired > 0;
    if (f->trace_hash != 0 && o->r->trace_hash != f->trace_hash) {
        fprintf(stderr,
                "farline: replay: the trace differs: recorded %016" PRIx64 ", now %016" PRIx64
                "; another version of the program made %s\n",
                f->trace_hash, o->r->trace_hash, a->file);
        return EMU_VIOLATED;
    }
    if (a->json)
        return o->verdict;
    if (f->trace_hash != 0)
        printf("replay    the same trace, %016" PRIx64 "\n", o->r->trace_hash);
    else
        printf("replay    %" PRIu32 " of %" PRIu32 " recorded faults fired again\n", fired,
               f->fired);
    return o->verdict;
}

int cmd_replay(int argc, char **argv)
{
    struct args a;
    struct fl_errmsg err;
    char dir[PATH_MAX];
    int rc = parse(&a, argc, argv, false);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    struct runfile *f = malloc(sizeof(*f));
    if (f == NULL)
        return cmd_usage("out of memory");
    rc = runfile_read(a.file, f, &err);
    if (rc == FL_OK && a.run.bind != NULL && strcmp(f->fabric, "sim") == 0)
        rc = fl_fail(&err, FL_EINVAL, "--bind is for real fabrics; %.200s is a simulated run",
                     a.file);
    if (rc == FL_OK) {
        struct run_opts ro = {.fabric = f->fabric,
                              .tracker = f->tracker,
                              .wait = "adaptive",
                              .bind = a.run.bind,
                              .quiet = a.json};
        struct out_run o;

        place(&a, &f->plan, "replay", dir, sizeof(dir));
        cmd_watch_signals();
        rc = cmd_run_into(&f->plan, &ro, f->variant[0] != '\0' ? f->variant : NULL, dir, &o, &err);
        if (rc == FL_OK) {
            struct result *r = (struct result *)o.r;

            print_run(&a, &o);
            rc = compare(&a, f, &o);
            result_free(&r);
            free(f);
            return rc;
        }
    }
    free(f);
    int status = cmd_usage("%s", err.text);
    return emu_interrupted ? EMU_UNDECIDED : status;
}

/* --- shrink --------------------------------------------------------------------------------- */

/** What fails in a run of the plan; false: nothing that could be made smaller. */
static bool find_key(const struct runfile *f, char *ret, size_t size, struct fl_errmsg *err)
{
    const struct run_opts ro = {.fabric = "sim", .tracker = f->tracker, .quiet = true};
    struct pool_note n = {.verdict = EMU_HELD};
    struct result *r = result_new();
    int rc =
        r != NULL ? emu_run_sim(&f->plan, &ro, r, err) : fl_fail(err, FL_ENOMEM, "out of memory");

    if (rc == FL_OK) {
        result_sum_metrics(r);
        swarm_judge(&f->plan, r, false, &n);
        if (f->trace_hash != 0 && r->trace_hash != f->trace_hash)
            rc = fl_fail(err, FL_EINVAL,
                         "the trace differs from the recorded one: another version of the program "
                         "made this file");
        else if (n.verdict == EMU_HELD)
            rc = fl_fail(err, FL_EINVAL, "this run held: there is nothing to shrink");
        else if (!swarm_failed(&f->plan, r, n.key))
            rc = fl_fail(err, FL_EINVAL,
                         "nothing here can be made smaller and still mean the same: %.300s", n.why);
    }
    snprintf(ret, size, "%s", n.key);
    result_free(&r);
    return rc == FL_OK;
}

static int write_small(const struct args *a, const struct runfile *f, const struct plan *small,
                       const struct shrink *s)
{
    const struct run_opts ro = {.fabric = "sim", .tracker = f->tracker, .quiet = true};
    struct fl_errmsg err;
    char dir[PATH_MAX], text[256];
    struct out_run o;

    place(a, small, "small", dir, sizeof(dir));
    if (cmd_run_into(small, &ro, NULL, dir, &o, &err) != FL_OK)
        return cmd_usage("%s", err.text);
    struct result *r = (struct result *)o.r;
    out_report(stdout, &o);
    shrink_describe(&f->plan, small, text, sizeof(text));
    printf("shrunk    %s; %s still fails; %" PRIu32 " runs\n", text, s->key, s->runs);
    result_free(&r);
    return o.verdict;
}

int cmd_shrink(int argc, char **argv)
{
    struct args a;
    struct fl_errmsg err;
    char key[NOTE_KEY_MAX];
    int rc = parse(&a, argc, argv, true);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    struct runfile *f = malloc(sizeof(*f));
    struct plan *small = malloc(sizeof(*small));
    rc = f == NULL || small == NULL ? fl_fail(&err, FL_ENOMEM, "out of memory")
                                    : runfile_read(a.file, f, &err);
    if (rc == FL_OK && strcmp(f->fabric, "sim") != 0)
        rc = fl_fail(&err, FL_EINVAL,
                     "%.200s: fabric: a run over %s is not exactly repeatable, so it cannot be "
                     "shrunk; run it with --fabric sim",
                     a.file, f->fabric);
    if (rc == FL_OK) {
        cmd_watch_signals();
        rc = find_key(f, key, sizeof(key), &err) ? FL_OK : FL_EINVAL;
    }
    if (rc == FL_OK) {
        struct shrink s = {.key = key,
                           .tracker = f->tracker,
                           .runs_max = (uint32_t)a.runs,
                           .wall_ns = SHRINK_WALL_S * FL_NS_PER_S};
        *small = f->plan;
        rc = shrink_plan(small, &s, &err);
        emu_interrupted = 0; /* what was found so far is written */
        if (rc == FL_OK)
            rc = write_small(&a, f, small, &s);
    }
    int status = rc < 0 ? cmd_usage("%s", err.text) : rc;
    free(small);
    free(f);
    return status;
}
