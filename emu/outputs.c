/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON files of a run. */
#include "emu/outputs.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "emu/runfile.h"

const char *out_verdict_name(enum emu_exit e)
{
    switch (e) {
    case EMU_HELD:
        return "held";
    case EMU_VIOLATED:
        return "violated";
    case EMU_NO_PROGRESS:
        return "no-progress";
    case EMU_SKIPPED:
        return "skipped";
    case EMU_USAGE:
        return "error";
    default:
        return "undecided";
    }
}

void out_scenario_name(const struct plan *p, char *ret, size_t size)
{
    const char *base = strrchr(p->file, '/');

    base = base != NULL ? base + 1 : p->file;
    size_t len = strlen(base);
    if (len > 4 && strcmp(base + len - 4, ".lua") == 0)
        len -= 4;
    snprintf(ret, size, "%.*s", (int)len, base);
    if (ret[0] == '\0')
        snprintf(ret, size, "scenario");
}

static json_t *hex64(uint64_t v)
{
    char text[24];

    if (v == 0)
        return json_null();
    snprintf(text, sizeof(text), "%016" PRIx64, v);
    return json_string(text);
}

/** Texts may hold a node's log lines: bytes that are no UTF-8 become '?'. */
static json_t *safe_string(const char *s)
{
    json_t *j = json_string(s);
    char *copy;

    if (j != NULL || (copy = strdup(s)) == NULL)
        return j != NULL ? j : json_string("");
    for (char *c = copy; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    j = json_string(copy);
    free(copy);
    return j;
}

static json_t *number(double v)
{
    if (v >= -9e15 && v <= 9e15 && v - (double)(json_int_t)v == 0.0)
        return json_integer((json_int_t)v);
    return json_real(v);
}

static json_t *metrics_json(const struct result *r)
{
    json_t *j = json_object();

    for (size_t i = 0; i < r->metric_count; i++) {
        const struct result_metric *m = &r->metrics[i];

        json_object_set_new(j, m->name,
                            m->text[0] != '\0' ? safe_string(m->text) : number(m->value));
    }
    return j;
}

static json_t *text_or_null(const char *s)
{
    return s[0] != '\0' ? safe_string(s) : json_null();
}

static json_t *time_or_null(uint64_t t_ns)
{
    return t_ns != 0 ? json_integer((json_int_t)t_ns) : json_null();
}

/** What is known of the first violation; null when there is none. */
static json_t *first_json(const struct result *r, const struct result_check *c)
{
    const struct result_fault *x = result_fault_before(r, c->what.t_ns);
    json_t *fault = json_null();

    if (c->violated == 0)
        return json_null();
    if (x != NULL)
        fault = json_pack("{s:o, s:o, s:I}", "kind", safe_string(x->kind), "at", safe_string(x->at),
                          "t_ns", (json_int_t)x->t_ns);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "expected", text_or_null(c->what.expected),
                     "seen", text_or_null(c->what.seen), "writer", text_or_null(c->what.writer),
                     "writer_ns", time_or_null(c->what.writer_ns), "t_ns",
                     time_or_null(c->what.t_ns), "fault", fault);
}

static json_t *checks_json(const struct out_run *o)
{
    json_t *list = json_array();

    for (int i = 0; i < o->p->check_count; i++) {
        const struct result_check none = {.unit = ""}, *c = &none;

        for (size_t k = 0; k < o->r->check_count; k++)
            if (strcmp(o->r->checks[k].id, o->p->checks[i]) == 0)
                c = &o->r->checks[k];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "id",
                                              o->p->checks[i], "checked", (json_int_t)c->checked,
                                              "violated", (json_int_t)c->violated, "unit",
                                              safe_string(c->unit), "first", safe_string(c->first),
                                              "what", first_json(o->r, c)));
    }
    return list;
}

static json_t *faults_json(const struct result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->fault_count; i++) {
        const struct result_fault *f = &r->faults[i];

        json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:I, s:I}", "kind",
                                              safe_string(f->kind), "at", safe_string(f->at),
                                              "asked", (json_int_t)f->asked, "fired",
                                              (json_int_t)f->fired, "t_ns", (json_int_t)f->t_ns));
    }
    return list;
}

static json_t *nodes_json(const struct result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->node_count; i++) {
        const struct result_node *n = &r->nodes[i];

        json_array_append_new(list, json_pack("{s:o, s:o, s:i, s:i, s:i, s:o}", "name",
                                              safe_string(n->name), "role", safe_string(n->role),
                                              "pid", n->pid, "exit", n->exit_code, "signal",
                                              n->signal, "why", safe_string(n->why)));
    }
    return list;
}

static json_t *verdict_json(const struct out_run *o)
{
    json_t *j = json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:I, s:s, s:i, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}",
        "version", OUT_VERSION, "scenario", safe_string(o->p->file), "title",
        safe_string(o->p->title), "fabric", safe_string(o->r->fabric), "tracker",
        safe_string(o->r->tracker), "seed", (json_int_t)o->p->seed, "verdict",
        out_verdict_name(o->verdict), "exit", (int)o->verdict, "why", safe_string(o->why),
        "variant", o->variant != NULL ? json_string(o->variant) : json_null(), "trace_hash",
        hex64(o->r->trace_hash), "image_digest", hex64(o->r->image_digest), "duration_ns",
        (json_int_t)o->r->duration_ns, "checks", checks_json(o), "faults", faults_json(o->r),
        "nodes", nodes_json(o->r), "metrics", metrics_json(o->r));

    return j;
}

static char *dump(json_t *j, bool pretty)
{
    char *text =
        j != NULL ? json_dumps(j, JSON_SORT_KEYS | (pretty ? JSON_INDENT(1) : JSON_COMPACT)) : NULL;

    json_decref(j);
    return text;
}

char *out_verdict_json(const struct out_run *o, bool pretty)
{
    return dump(verdict_json(o), pretty);
}

/** What `farline replay` needs: the plan with all settings applied, and the faults that fired. */
static char *run_json(const struct out_run *o)
{
    char *text = plan_to_json(o->p);
    json_t *plan = text != NULL ? json_loads(text, 0, NULL) : NULL;

    free(text);
    if (plan == NULL)
        return NULL;
    json_t *j = json_pack("{s:i, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "version", RUNFILE_VERSION,
                          "plan", plan, "seed", (json_int_t)o->p->seed, "variant",
                          o->variant != NULL ? json_string(o->variant) : json_null(), "fabric",
                          safe_string(o->r->fabric), "tracker", safe_string(o->r->tracker),
                          "faults", faults_json(o->r), "trace_hash", hex64(o->r->trace_hash));
    if (runfile_seal(j) == 0)
        return dump(j, true);
    json_decref(j);
    return NULL;
}

static char *metrics_text(const struct out_run *o)
{
    char name[256];

    out_scenario_name(o->p, name, sizeof(name));
    return dump(json_pack("{s:i, s:o, s:o, s:I, s:o}", "version", OUT_VERSION, "scenario",
                          safe_string(name), "fabric", safe_string(o->r->fabric), "seed",
                          (json_int_t)o->p->seed, "metrics", metrics_json(o->r)),
                true);
}

/** Writes and frees @text. */
static int put(const char *dir, const char *name, char *text, struct fl_errmsg *err)
{
    char path[PATH_MAX + 64];

    if (text == NULL)
        return fl_fail(err, FL_ENOMEM, "%s: out of memory", name);
    snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 1, dir, name);
    int rc = out_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

int out_write(const struct out_run *o, const char *dir, struct fl_errmsg *err)
{
    char path[PATH_MAX + 64];
    int rc;

    if ((rc = put(dir, "verdict.json", out_verdict_json(o, true), err)) != FL_OK ||
        (rc = put(dir, "run.json", run_json(o), err)) != FL_OK ||
        (rc = put(dir, "metrics.json", metrics_text(o), err)) != FL_OK ||
        (rc = put(dir, "junit.xml", out_junit(o, 1), err)) != FL_OK ||
        (rc = put(dir, "report.html", out_html(o), err)) != FL_OK)
        return rc;
    if (o->variants > 0) /* histories lie with the variants */
        return FL_OK;
    if ((rc = history_merge(dir, o->p, err)) != FL_OK)
        return rc;
    snprintf(path, sizeof(path), "%.*s/trace.json", PATH_MAX - 1, dir);
    return history_to_trace(dir, o->p, path, err);
}
