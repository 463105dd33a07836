/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes, not time. What isolated unaligned 300-byte writes cost on the fabric, counted by a run of
 * the scenario, against what line grain must cost: each of the lines a write touches, once. Beside
 * it what page grain costs, and SQLite against page grain. And the state that tracker and core keep
 * for each page, from the structures themselves.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/mprotect_int.h"
#include "emu/node_priv.h"
#include "tests/bench/fig.h"

enum { STATE_MAX_BYTES = 64, RUN_S = 120 };

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_bytes: %s: %s\n", what, why);
    exit(1);
}

/** Runs a scenario and returns its metrics. */
static json_t *run(const char *scenario, const char *out)
{
    const char *farline = getenv("FARLINE");
    char cmd[1024];
    json_error_t err;

    snprintf(cmd, sizeof(cmd), "timeout %d '%s' run '%s' --json --out '%s'", RUN_S,
             farline ? farline : "build/farline", scenario, out);
    FILE *f = popen(cmd, "r"); /* NOLINT(cert-env33-c): our own program, named by who runs us */
    json_t *root = f ? json_loadf(f, JSON_DISABLE_EOF_CHECK, &err) : NULL;
    int status = f ? pclose(f) : -1;
    if (!root || status != 0)
        die(scenario, root ? "did not hold" : "printed no result");
    json_t *metrics = json_object_get(root, "metrics");
    if (!metrics)
        die(scenario, "printed no metrics");
    return metrics; /* freed by the end of the program */
}

static double metric(const json_t *metrics, const char *name)
{
    const json_t *v = json_object_get(metrics, name);

    if (!json_is_number(v))
        die("no such metric", name);
    return json_number_value(v);
}

/** Bytes sent for each of @len bytes written at a random place, in grains of @grain bytes. */
static double analytic(double len, double grain)
{
    return ((len - 1) / grain + 1) * grain / len;
}

static void random_writes(const char *out)
{
    static const char scenario[] = "scenarios/writeback/random300.lua";
    static struct plan p;
    struct fl_errmsg err;

    if (plan_load(scenario, NULL, 0, &p, &err) != FL_OK)
        die(scenario, err.text);
    const json_t *m = run(scenario, out);
    double ops = metric(m, "accesses"), len = p.workloads[0].len_bytes;
    if (p.workloads[0].write_percent != 100 || ops < 1000)
        die(scenario, "does not consist of writes only");
    struct fig f = {.id = "bytes-random300", .unit = "B/B", .target = 1.1, .n = (int)ops};
    f.value = metric(m, "bytes_sent") / (ops * len);
    f.baseline = analytic(len, FL_LINE_BYTES);
    f.ratio = f.value / f.baseline;
    fig_print(&f);
    f.id = "bytes-random300-page-grain";
    f.beside = true;
    f.value = metric(m, "bytes_page_grain") / (ops * len);
    f.baseline = analytic(len, FL_PAGE_BYTES);
    f.ratio = f.value / f.baseline;
    fig_print(&f);
    f.id = "bytes-random300-headers";
    f.value = metric(m, "header_bytes") / (ops * len);
    f.baseline = 1;
    f.ratio = f.value;
    fig_print(&f);
}

/** SQLite: sent, against what page grain would have sent. */
static void sqlite(const char *out)
{
    const json_t *m = run("scenarios/writeback/sqlite.lua", out);
    struct fig f = {.id = "bytes-sqlite-of-page-grain", .unit = "B", .beside = true, .n = 1};

    f.value = metric(m, "bytes_sent");
    f.baseline = metric(m, "bytes_page_grain");
    f.ratio = f.value / f.baseline;
    fig_print(&f);
}

static double core_bytes(uint32_t pages)
{
    struct wb_cfg c = {
        .region_count = 1, .thread_count = 1, .capacity_pages = 1024, .buf_count = 64};

    c.regions[0].page_count = pages;
    c.regions[0].chunk_count = 1;
    c.regions[0].chunks[0] = (struct wb_chunk_cfg){1, 0, pages};
    return (double)wb_size(&c);
}

static void state(void)
{
    const uint32_t few = 1024, many = 1 << 20;
    double core = (core_bytes(many) - core_bytes(few)) / (many - few);
    struct fig f = {.id = "state-per-page", .unit = "B", .baseline = STATE_MAX_BYTES, .target = 1};

    f.value = core + (double)sizeof(struct mp_page) + 1.0 / 8; /* one bit: is sampled */
    f.ratio = f.value / f.baseline;
    f.n = 1;
    fig_print(&f);
    /* Not for each page of a region, only for those that are open for stores: the note's place, the
     * link of the twin, the entry in the list of what is sampled. */
    f.id = "state-more-while-dirty";
    f.beside = true;
    f.value = sizeof(struct coh_place) + sizeof(uint32_t) + sizeof(struct node_ref);
    f.baseline = FL_PAGE_BYTES; /* the twin */
    f.ratio = f.value / f.baseline;
    fig_print(&f);
}

int main(void)
{
    char out[] = "/tmp/bench-bytes-XXXXXX", sub[64], cmd[128];

    if (!mkdtemp(out))
        die("mkdtemp", out);
    snprintf(sub, sizeof(sub), "%s/random300", out);
    random_writes(sub);
    snprintf(sub, sizeof(sub), "%s/sqlite", out);
    sqlite(sub);
    state();
    snprintf(cmd, sizeof(cmd), "rm -r '%s'", out);
    return system(cmd) == 0 ? 0 : 1; /* NOLINT(cert-env33-c): a name made by mkdtemp */
}
