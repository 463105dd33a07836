/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/runs.h"

char runs_dir[256];

int runs_make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(runs_dir, sizeof(runs_dir), "%.200s/farline-runs-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(runs_dir) != NULL ? 0 : -1;
}

int runs_remove_dir(void **state)
{
    char cmd[320];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", runs_dir);
    return system(cmd); /* NOLINT: our own path */
}

const char *runs_path(const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *p = paths[next++ % 4];

    snprintf(p, sizeof(paths[0]), "%s/%s", runs_dir, name);
    return p;
}

char *runs_read(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);

    if (f == NULL || text == NULL)
        fail_msg("cannot read %s", path);
    assert_true(fread(text, 1, (1 << 20) - 1, f) < (1 << 20) - 1);
    fclose(f);
    return text;
}

struct out_run runs_new(void)
{
    struct out_run o = {.p = plans_new("at (event (\"c0.flush_ack\", 3)) : kill (\"m0\") expect "
                                       "(\"misses\") : above (1)"),
                        .verdict = EMU_HELD,
                        .why = "2 invariants and 1 expectations held"};
    struct result *r = result_new();

    assert_non_null(r);
    strcpy(r->fabric, "sim");
    strcpy(r->tracker, "actor");
    r->trace_hash = 0x1234;
    r->image_digest = UINT64_C(0xfedcba9876543210);
    r->duration_ns = 1500000;
    result_check(r, "W1", "bytes")->checked = 4096;
    result_check(r, "W3", "bytes")->checked = 8192;
    r->fault_count = 1;
    r->faults[0] = (struct result_fault){.kind = "kill m0", .at = "c0.flush_ack#3", 1, 1, 700};
    strcpy(r->nodes[0].name, "c0");
    strcpy(r->nodes[0].role, "compute");
    strcpy(r->nodes[1].name, "m0");
    strcpy(r->nodes[1].role, "memory");
    r->nodes[1].signal = 9;
    r->node_count = 2;
    result_metric(r, "misses", 12345);
    result_metric(r, "miss_ns_p50", 88000);
    result_metric(r, "bytes_sent", 2048);
    result_metric(r, "bytes_page_grain", 8192);
    result_metric(r, "ratio", 0.5);
    result_metric_text(r, "close.heap", "FL_OK");
    o.r = r;
    return o;
}

struct result *runs_result(struct out_run *o)
{
    return (struct result *)o->r;
}

void runs_free(struct out_run *o)
{
    struct result *r = runs_result(o);

    result_free(&r);
    free((struct plan *)o->p);
}
