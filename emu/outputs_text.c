/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "emu/outputs.h"

static double metric(const struct result *r, const char *name, bool *ret_found)
{
    for (size_t i = 0; i < r->metric_count; i++)
        if (strcmp(r->metrics[i].name, name) == 0) {
            if (ret_found != NULL)
                *ret_found = true;
            return r->metrics[i].value;
        }
    if (ret_found != NULL)
        *ret_found = false;
    return 0;
}

void out_count_text(double v, char *ret, size_t size)
{
    char digits[32];
    size_t used = 0;

    snprintf(digits, sizeof(digits), "%.0f", v);
    size_t len = strlen(digits);
    for (size_t i = 0; i < len && used + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            ret[used++] = ' ';
        ret[used++] = digits[i];
    }
    ret[used] = '\0';
}

void out_bytes_text(double v, char *ret, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;

    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(ret, size, u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
}

void out_time_text(double ns, char *ret, size_t size)
{
    if (ns < 1e3)
        snprintf(ret, size, "%.0f ns", ns);
    else if (ns < 1e6)
        snprintf(ret, size, "%.1f us", ns / 1e3);
    else if (ns < 1e9)
        snprintf(ret, size, "%.2f ms", ns / 1e6);
    else
        snprintf(ret, size, "%.2f s", ns / 1e9);
}

/** One line "label  value  remark"; nothing when the run has no such figure. */
static void figure(FILE *f, const struct result *r, const char *label, const char *name,
                   const char *remark_fmt, const char *remark_name)
{
    char value[40], remark[40] = "";
    bool found, more;
    double v = metric(r, name, &found);

    if (!found)
        return;
    if (strstr(name, "bytes") != NULL)
        out_bytes_text(v, value, sizeof(value));
    else
        out_count_text(v, value, sizeof(value));
    fprintf(f, "  %-30s %14s", label, value);
    double w = remark_name != NULL ? metric(r, remark_name, &more) : (more = false, 0);
    if (more) {
        out_count_text(w, remark, sizeof(remark));
        fprintf(f, "   %s %s", remark_fmt, remark);
    }
    fputc('\n', f);
}

static void figures(FILE *f, const struct result *r)
{
    char p50[32], p99[32], grain[32];
    bool found;

    fprintf(f, "figures\n");
    figure(f, r, "misses", "misses", NULL, NULL);
    double ns = metric(r, "miss_ns_p50", &found);
    if (found && ns > 0) {
        out_time_text(ns, p50, sizeof(p50));
        out_time_text(metric(r, "miss_ns_p99", NULL), p99, sizeof(p99));
        fprintf(f, "  %-30s %14s   99 of 100 below %s\n", "latency of a miss, median", p50, p99);
    }
    figure(f, r, "pages fetched", "pages_fetched", "of them again:", "refetched");
    figure(f, r, "evictions", "evictions", "of dirty pages:", "evictions_dirty");
    figure(f, r, "first stores, handled locally", "local_dirty", NULL, NULL);
    figure(f, r, "lines found dirty", "lines_dirtied", "pages marked whole:", "coarsened");
    figure(f, r, "DCLB overflows", "dclb_overflows", "most entries:", "dclb_max");
    figure(f, r, "periodic write-backs", "periods", NULL, NULL);
    figure(f, r, "lines sent", "lines_sent", "pages written back:", "pages_flushed");
    figure(f, r, "sent", "bytes_sent", NULL, NULL);
    double sent = metric(r, "bytes_sent", NULL), whole = metric(r, "bytes_page_grain", &found);
    if (found && whole > 0) {
        out_bytes_text(whole, grain, sizeof(grain));
        fprintf(f, "  %-30s %14s", "page grain would have sent", grain);
        if (sent > 0)
            fprintf(f, "   %.2f times as much", whole / sent);
        fputc('\n', f);
    }
    figure(f, r, "message headers", "header_bytes", "log batches:", "log_batches");
    if (metric(r, "fences", NULL) > 0 || metric(r, "flush_errors", NULL) > 0)
        figure(f, r, "fences", "fences", "failed write-backs:", "flush_errors");
    if (metric(r, "lost_lines", NULL) > 0)
        figure(f, r, "lines lost with a node", "lost_lines", NULL, NULL);
    figure(f, r, "rows (sqlite)", "sqlite.rows", NULL, NULL);
    figure(f, r, "rounds (lua)", "lua.rounds", NULL, NULL);
}

static void at_text(FILE *f, uint64_t t_ns)
{
    char t[32];

    if (t_ns != 0) {
        out_time_text((double)t_ns, t, sizeof(t));
        fprintf(f, ", %s after the start", t);
    }
    fputc('\n', f);
}

static void violation(FILE *f, const struct result *r, const struct result_check *c)
{
    const struct result_fault *x = result_fault_before(r, c->what.t_ns);

    fprintf(f, "       %" PRIu64 " times, first: %s", c->violated, c->first);
    at_text(f, c->what.t_ns);
    if (c->what.expected[0] != '\0')
        fprintf(f, "       expected   %s\n       seen       %s\n", c->what.expected, c->what.seen);
    if (c->what.writer[0] != '\0') {
        fprintf(f, "       written by %s", c->what.writer);
        at_text(f, c->what.writer_ns);
    }
    if (x != NULL) {
        fprintf(f, "       after      %s at %s", x->kind, x->at);
        at_text(f, x->t_ns);
    }
}

static void invariants(FILE *f, const struct out_run *o)
{
    if (o->p->check_count > 0)
        fprintf(f, "invariants\n");
    for (int i = 0; i < o->p->check_count; i++) {
        const struct result_check *c = NULL;
        char n[40];

        for (size_t k = 0; k < o->r->check_count; k++)
            if (strcmp(o->r->checks[k].id, o->p->checks[i]) == 0)
                c = &o->r->checks[k];
        if (c == NULL || (c->checked == 0 && c->violated == 0)) {
            fprintf(f, "  %-4s nothing was compared\n", o->p->checks[i]);
            continue;
        }
        out_count_text((double)c->checked, n, sizeof(n));
        fprintf(f, "  %-4s %-9s %s %s compared\n", c->id, c->violated ? "VIOLATED" : "held", n,
                c->unit);
        if (c->violated)
            violation(f, o->r, c);
    }
}

static void expectations(FILE *f, const struct out_run *o)
{
    static const char *const words[] = {"met", "NOT MET", "UNKNOWN"};
    struct fl_errmsg why;

    if (o->variants > 0 || o->p->expect_count == 0)
        return;
    fprintf(f, "expectations\n");
    for (int i = 0; i < o->p->expect_count; i++) {
        enum expect_state s = result_expect(o->p, i, o->r, &why);

        fprintf(f, "  %-8s %s\n", words[s], why.text);
    }
}

static void faults(FILE *f, const struct result *r)
{
    char t[32];

    if (r->fault_count > 0)
        fprintf(f, "faults\n");
    for (size_t i = 0; i < r->fault_count; i++) {
        const struct result_fault *x = &r->faults[i];

        out_time_text((double)x->t_ns, t, sizeof(t));
        fprintf(f, "  %-20s at %-28s %s%s\n", x->kind, x->at,
                x->fired ? "fired after " : "never fired", x->fired ? t : "");
    }
}

static void nodes(FILE *f, const struct result *r)
{
    if (r->node_count > 0)
        fprintf(f, "nodes\n");
    for (size_t i = 0; i < r->node_count && i < 64; i++) {
        const struct result_node *n = &r->nodes[i];

        fprintf(f, "  %-10s %-8s", n->name, n->role);
        if (n->pid > 0)
            fprintf(f, " pid %d", n->pid);
        if (n->signal != 0)
            fprintf(f, "  ended by signal %d", n->signal);
        else if (n->exit_code != 0)
            fprintf(f, "  ended with status %d", n->exit_code);
        fprintf(f, "%s%s\n", n->why[0] != '\0' ? "  " : "", n->why);
    }
}

static void verdict_line(FILE *f, const struct out_run *o)
{
    char word[32];
    size_t n = 0;

    for (const char *c = out_verdict_name(o->verdict); *c != '\0' && n + 1 < sizeof(word); c++)
        word[n++] = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    word[n] = '\0';
    fprintf(f, "verdict   %s: %s\n", word, o->why);
    if (o->dir[0] != '\0')
        fprintf(f, "files     %s\n", o->dir);
    fputc('\n', f);
}

void out_report(FILE *f, const struct out_run *o)
{
    char t[32];

    out_time_text((double)o->r->duration_ns, t, sizeof(t));
    fprintf(f, "scenario  %s%s%s%s%s\n", o->p->file, o->p->title[0] != '\0' ? "  " : "",
            o->p->title, o->variant != NULL ? "  variant " : "",
            o->variant != NULL ? o->variant : "");
    fprintf(f, "run       fabric %s, tracker %s, seed %" PRIu64 ", %s", o->r->fabric, o->r->tracker,
            o->p->seed, t);
    if (o->r->trace_hash != 0)
        fprintf(f, ", trace %016" PRIx64, o->r->trace_hash);
    fputc('\n', f);
    if (o->variants == 0 && !o->r->skipped)
        figures(f, o->r);
    invariants(f, o);
    expectations(f, o);
    if (o->variants == 0) {
        faults(f, o->r);
        nodes(f, o->r);
    }
    verdict_line(f, o);
}

void out_report_variants(FILE *f, const struct out_run *runs, size_t count)
{
    static const struct {
        const char *head, *metric;
    } cols[] = {{"misses", "misses"},       {"fetched", "pages_fetched"}, {"evicted", "evictions"},
                {"lines", "lines_sent"},    {"whole", "coarsened"},       {"sent", "bytes_sent"},
                {"batches", "log_batches"}, {"periods", "periods"}};
    const size_t n = sizeof(cols) / sizeof(cols[0]);
    char text[40];

    fprintf(f, "%-14s", "variant");
    for (size_t i = 0; i < n; i++)
        fprintf(f, " %11s", cols[i].head);
    fprintf(f, "  verdict\n");
    for (size_t k = 0; k < count; k++) {
        fprintf(f, "%-14s", runs[k].variant != NULL ? runs[k].variant : "-");
        for (size_t i = 0; i < n; i++) {
            bool found;
            double v = metric(runs[k].r, cols[i].metric, &found);

            if (!found)
                snprintf(text, sizeof(text), "-");
            else if (strstr(cols[i].metric, "bytes") != NULL)
                out_bytes_text(v, text, sizeof(text));
            else
                out_count_text(v, text, sizeof(text));
            fprintf(f, " %11s", text);
        }
        fprintf(f, "  %s\n", out_verdict_name(runs[k].verdict));
    }
    fputc('\n', f);
}
