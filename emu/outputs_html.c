/* SPDX-License-Identifier: Apache-2.0 */
/* report.html: what a run was, what was compared, and what to know of a violation. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/ids.h"
#include "emu/html.h"
#include "emu/outputs.h"

static const struct result_check *check_of(const struct out_run *o, const char *id)
{
    for (size_t k = 0; k < o->r->check_count; k++)
        if (strcmp(o->r->checks[k].id, id) == 0)
            return &o->r->checks[k];
    return NULL;
}

/* --- what it was ---------------------------------------------------------------------------- */

static void put_facts(FILE *f, const struct out_run *o)
{
    char t[40];

    fputs("<table>\n", f);
    html_row(f, "scenario", o->p->file);
    if (o->variant != NULL)
        html_row(f, "variant", o->variant);
    html_row(f, "fabric",
             strcmp(o->r->fabric, "sim") == 0
                 ? "sim: all nodes in one process, simulated network, virtual time"
                 : o->r->fabric);
    html_row(f, "tracker", o->r->tracker);
    fprintf(f, "<tr><th>seed</th><td>%" PRIu64 "</td></tr>\n", o->p->seed);
    out_time_text((double)o->r->duration_ns, t, sizeof(t));
    html_row(f, "duration", t);
    if (o->r->trace_hash != 0)
        fprintf(f, "<tr><th>trace</th><td>%016" PRIx64 "</td></tr>\n", o->r->trace_hash);
    html_table_end(f);
}

/** From the directory in which the command was given. */
static void put_replay(FILE *f, const struct out_run *o)
{
    const char *dir = o->dir[0] != '\0' ? o->dir : ".";

    fputs("<h2>How to repeat it</h2>\n<pre>", f);
    if (o->variants > 0)
        for (uint16_t i = 0; i < o->p->variant_count; i++)
            html_printf(f, "farline replay %.1000s/%s/run.json\n", dir, o->p->variants[i].name);
    else
        html_printf(f, "farline replay %.1000s/run.json\n", dir);
    fputs("</pre>\n", f);
    html_element(f, "p class=\"note\"",
                 strcmp(o->r->fabric, "sim") == 0
                     ? "The simulator repeats it exactly, step by step. farline shrink makes a run "
                       "that failed smaller."
                     : "With real processes the same faults happen at the same logical points; "
                       "threads and packets keep their freedom.");
}

/* --- a violation ---------------------------------------------------------------------------- */

static void put_time_row(FILE *f, const char *label, const char *text, uint64_t t_ns)
{
    char t[40] = "", line[600];

    if (t_ns != 0)
        out_time_text((double)t_ns, t, sizeof(t));
    snprintf(line, sizeof(line), "%s%s%s%s", text, t_ns != 0 ? ", " : "", t,
             t_ns != 0 ? " after the start" : "");
    html_row(f, label, line);
}

static void put_violation(FILE *f, const struct out_run *o, const struct result_check *c)
{
    const struct fl_id_info *k = fl_id_find(c->id);
    const struct result_fault *x = result_fault_before(o->r, c->what.t_ns);
    char text[200];

    fputs("<h3>", f);
    html_printf(f, "%s%s%s", c->id, k != NULL ? ": " : "", k != NULL ? k->title : "");
    fputs("</h3>\n", f);
    if (k != NULL)
        html_element(f, "p", k->text);
    fputs("<table>\n", f);
    snprintf(text, sizeof(text), "%" PRIu64 " times; this is the first", c->violated);
    html_row(f, "violated", text);
    put_time_row(f, "what", c->first, c->what.t_ns);
    html_row(f, "expected", c->what.expected[0] != '\0' ? c->what.expected : "not recorded");
    html_row(f, "seen", c->what.seen[0] != '\0' ? c->what.seen : "not recorded");
    if (c->what.writer[0] != '\0')
        put_time_row(f, "last written by", c->what.writer, c->what.writer_ns);
    else
        html_row(f, "last written by", "this check is not about the bytes of a store");
    if (x != NULL) {
        snprintf(text, sizeof(text), "%s, asked for at %s, fired", x->kind, x->at);
        put_time_row(f, "fault before it", text, x->t_ns);
    } else {
        html_row(f, "fault before it", "none had fired");
    }
    html_table_end(f);
    if (k != NULL)
        html_element(f, "p class=\"note\"", k->why);
}

static bool failed(const struct out_run *o, int i)
{
    const struct result_check *c = check_of(o, o->p->checks[i]);

    return c != NULL && c->violated > 0;
}

static void put_violations(FILE *f, const struct out_run *o)
{
    bool any = o->verdict != EMU_HELD && o->r->why[0] != '\0';

    for (int i = 0; i < o->p->check_count; i++)
        any |= failed(o, i);
    if (!any)
        return;
    fputs("<h2>What went wrong</h2>\n", f);
    if (o->verdict != EMU_HELD && o->r->why[0] != '\0')
        html_element(f, "p", o->r->why);
    for (int i = 0; i < o->p->check_count; i++)
        if (failed(o, i))
            put_violation(f, o, check_of(o, o->p->checks[i]));
}

/* --- tables --------------------------------------------------------------------------------- */

static void put_checks(FILE *f, const struct out_run *o)
{
    char n[40];

    fputs("<h2>What was checked</h2>\n", f);
    html_table(f, "id|what must hold|result|compared|how it is decided");
    for (int i = 0; i < o->p->check_count; i++) {
        const struct result_check *c = check_of(o, o->p->checks[i]);
        const struct fl_id_info *k = fl_id_find(o->p->checks[i]);
        bool silent = c == NULL || (c->checked == 0 && c->violated == 0);

        fputs("<tr>", f);
        html_id_cells(f, o->p->checks[i]);
        fputs(silent || c->violated ? "<td class=\"bad\">" : "<td>", f);
        html_text(f, silent ? "nothing was compared" : c->violated ? "violated" : "held");
        fputs("</td><td class=\"n\">", f);
        out_count_text(silent ? 0 : (double)c->checked, n, sizeof(n));
        html_printf(f, "%s %s", n, silent ? "" : c->unit);
        fputs("</td><td class=\"note\">", f);
        if (k != NULL && k->oracle != NULL)
            html_text(f, k->oracle);
        fputs("</td></tr>\n", f);
    }
    html_table_end(f);
}

static void put_expectations(FILE *f, const struct out_run *o)
{
    static const char *const words[] = {"met", "not met", "no such figure"};
    struct fl_errmsg why;

    if (o->variants > 0 || o->p->expect_count == 0)
        return;
    fputs("<h2>What the scenario expected</h2>\n", f);
    html_table(f, "result|expectation");
    for (int i = 0; i < o->p->expect_count; i++) {
        enum expect_state s = result_expect(o->p, i, o->r, &why);

        fputs("<tr>", f);
        html_element(f, s == EXPECT_HOLDS ? "td" : "td class=\"bad\"", words[s]);
        html_element(f, "td", why.text);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}

static void put_faults(FILE *f, const struct result *r)
{
    char t[40];

    fputs("<h2>Faults</h2>\n", f);
    if (r->fault_count == 0) {
        html_element(f, "p", "None was asked for.");
        return;
    }
    html_table(f, "fault|asked for at|asked|fired|when");
    for (size_t i = 0; i < r->fault_count; i++) {
        const struct result_fault *x = &r->faults[i];

        fputs("<tr>", f);
        html_element(f, "td", x->kind);
        html_element(f, "td", x->at);
        fprintf(f, "<td class=\"n\">%" PRIu64 "</td>", x->asked);
        fprintf(f,
                x->fired < x->asked ? "<td class=\"n bad\">%" PRIu64 "</td>"
                                    : "<td class=\"n\">%" PRIu64 "</td>",
                x->fired);
        out_time_text((double)x->t_ns, t, sizeof(t));
        html_element(f, "td class=\"n\"", x->fired > 0 ? t : "never");
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}

static void put_nodes(FILE *f, const struct result *r)
{
    char end[48];

    if (r->node_count == 0)
        return;
    fputs("<h2>Nodes</h2>\n", f);
    html_table(f, "node|role|process|end|last words");
    for (size_t i = 0; i < r->node_count; i++) {
        const struct result_node *n = &r->nodes[i];

        fputs("<tr>", f);
        html_element(f, "td", n->name);
        html_element(f, "td", n->role);
        snprintf(end, sizeof(end), "%d", n->pid);
        html_element(f, "td", n->pid > 0 ? end : "simulated");
        if (n->signal != 0)
            snprintf(end, sizeof(end), "signal %d", n->signal);
        else
            snprintf(end, sizeof(end), "status %d", n->exit_code);
        html_element(f, "td", n->signal != 0 || n->exit_code != 0 ? end : "");
        html_element(f, "td", n->why);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}

static const struct {
    const char *metric, *text;
} figures[] = {
    {"accesses", "loads and stores of the application"},
    {"misses", "accesses to a page that was not in device memory: it had to be fetched"},
    {"miss_ns_p50", "half of these waited no longer than this"},
    {"pages_fetched", "pages that came from memory nodes"},
    {"refetched", "of these, pages that had been there before"},
    {"evictions", "pages that left device memory to make room"},
    {"local_dirty", "first stores to a clean page: handled without asking anybody"},
    {"lines_dirtied", "64-byte lines that were found changed"},
    {"lines_sent", "changed lines that were sent back"},
    {"bytes_sent", "what these lines weigh"},
    {"bytes_page_grain", "what sending whole pages would have weighed"},
    {"periods", "write-backs because time had passed"},
    {"flush_errors", "write-backs that failed and were done again"},
    {"fences", "times an old connection was shut off before writing again"},
    {"lost_lines", "changed lines lost with a node that died"},
    {"access_errors", "accesses that were answered with an error"},
};

static const struct result_metric *metric_of(const struct result *r, const char *name)
{
    for (size_t i = 0; i < r->metric_count; i++)
        if (strcmp(r->metrics[i].name, name) == 0)
            return &r->metrics[i];
    return NULL;
}

static void metric_text(const struct result_metric *m, char *ret, size_t size)
{
    if (m->text[0] != '\0')
        snprintf(ret, size, "%s", m->text);
    else if (strstr(m->name, "_ns") != NULL)
        out_time_text(m->value, ret, size);
    else if (strstr(m->name, "bytes") != NULL)
        out_bytes_text(m->value, ret, size);
    else
        snprintf(ret, size, "%.10g", m->value);
}

static void put_figures(FILE *f, const struct result *r)
{
    char text[64];
    bool head = false;

    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        const struct result_metric *m = metric_of(r, figures[i].metric);

        if (m == NULL)
            continue;
        if (!head) {
            fputs("<h2>Figures</h2>\n", f);
            html_table(f, "figure|value|what it counts");
        }
        head = true;
        metric_text(m, text, sizeof(text));
        fputs("<tr>", f);
        html_element(f, "td", m->name);
        html_element(f, "td class=\"n\"", text);
        html_element(f, "td", figures[i].text);
        fputs("</tr>\n", f);
    }
    if (head)
        html_table_end(f);
    if (r->metric_count == 0)
        return;
    fputs("<details><summary>all figures</summary>\n", f);
    html_table(f, "figure|value");
    for (size_t i = 0; i < r->metric_count; i++) {
        metric_text(&r->metrics[i], text, sizeof(text));
        fputs("<tr>", f);
        html_element(f, "td", r->metrics[i].name);
        html_element(f, "td class=\"n\"", text);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
    fputs("</details>\n", f);
}

char *out_html(const struct out_run *o)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f == NULL)
        return NULL;
    html_begin(f, o->p->title[0] != '\0' ? o->p->title : o->p->file);
    html_verdict(f, o->verdict, o->why);
    put_facts(f, o);
    put_violations(f, o);
    put_replay(f, o);
    put_checks(f, o);
    put_expectations(f, o);
    put_faults(f, o->r);
    put_figures(f, o->r);
    put_nodes(f, o->r);
    html_end(f);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}
