/* SPDX-License-Identifier: Apache-2.0 */
/* What CI servers read: JUnit and TAP. One case per run and requested check, whose class is the id
 * of the invariant, and one case "verdict" that stands for faults and expectations too. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/outputs.h"

static void run_name(const struct out_run *o, char *ret, size_t size)
{
    char name[256];

    out_scenario_name(o->p, name, sizeof(name));
    snprintf(ret, size, "%s%s%s seed %" PRIu64, name, o->variant != NULL ? "/" : "",
             o->variant != NULL ? o->variant : "", o->p->seed);
}

static size_t case_count(const struct out_run *o)
{
    return (size_t)o->p->check_count + 1;
}

void out_case_verdict(struct out_case *c, enum emu_exit verdict, const char *why)
{
    c->id = "verdict";
    c->state = verdict == EMU_HELD                                     ? OUT_CASE_OK
               : verdict == EMU_SKIPPED                                ? OUT_CASE_SKIPPED
               : verdict == EMU_VIOLATED || verdict == EMU_NO_PROGRESS ? OUT_CASE_FAILED
                                                                       : OUT_CASE_UNDECIDED;
    snprintf(c->text, sizeof(c->text), "%s%s%.600s", out_verdict_name(verdict),
             why[0] != '\0' ? ": " : "", why);
}

static void case_at(const struct out_run *o, size_t i, struct out_case *c)
{
    const struct result_check *rc = NULL;

    run_name(o, c->name, sizeof(c->name));
    if (i == o->p->check_count) {
        out_case_verdict(c, o->verdict, o->why);
        return;
    }
    c->id = o->p->checks[i];
    for (size_t k = 0; k < o->r->check_count; k++)
        if (strcmp(o->r->checks[k].id, c->id) == 0)
            rc = &o->r->checks[k];
    if (o->verdict == EMU_SKIPPED) {
        c->state = OUT_CASE_SKIPPED;
        snprintf(c->text, sizeof(c->text), "%s", o->why);
    } else if (rc == NULL || (rc->checked == 0 && rc->violated == 0)) {
        c->state = OUT_CASE_UNDECIDED;
        snprintf(c->text, sizeof(c->text), "nothing was compared");
    } else if (rc->violated > 0) {
        c->state = OUT_CASE_FAILED;
        snprintf(c->text, sizeof(c->text), "violated %" PRIu64 " times, first: %s", rc->violated,
                 rc->first);
    } else {
        c->state = OUT_CASE_OK;
        snprintf(c->text, sizeof(c->text), "%" PRIu64 " %s compared", rc->checked, rc->unit);
    }
}

/** Text for an XML attribute: markup escaped, what XML 1.0 cannot hold replaced. */
static void put_xml(FILE *f, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '&')
            fputs("&amp;", f);
        else if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else if (c < 0x20 || c >= 0x7f)
            fputc(c == '\n' ? ' ' : '?', f);
        else
            fputc(c, f);
    }
}

void out_junit_case(FILE *f, const struct out_case *c)
{
    static const char *const element[] = {NULL, "failure", "error", "skipped"};

    fputs("    <testcase classname=\"", f);
    put_xml(f, c->id);
    fputs("\" name=\"", f);
    put_xml(f, c->name);
    if (c->state == OUT_CASE_OK) {
        fputs("\"><system-out>", f);
        put_xml(f, c->text);
        fputs("</system-out></testcase>\n", f);
        return;
    }
    fprintf(f, "\"><%s message=\"", element[c->state]);
    put_xml(f, c->text);
    fputs("\"/></testcase>\n", f);
}

void out_junit_begin(FILE *f)
{
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"farline\">\n", f);
}

void out_junit_end(FILE *f)
{
    fputs("</testsuites>\n", f);
}

void out_junit_suite(FILE *f, const char *name, const size_t by_state[OUT_CASE_STATES],
                     uint64_t duration_ns)
{
    size_t total = 0;

    for (int i = 0; i < OUT_CASE_STATES; i++)
        total += by_state[i];
    fputs("  <testsuite name=\"", f);
    put_xml(f, name);
    fprintf(f, "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%.6f\">\n",
            total, by_state[OUT_CASE_FAILED], by_state[OUT_CASE_UNDECIDED],
            by_state[OUT_CASE_SKIPPED], (double)duration_ns / 1e9);
}

static void put_suite(FILE *f, const struct out_run *o)
{
    struct out_case c;
    size_t by_state[OUT_CASE_STATES] = {0};
    char name[320];

    for (size_t i = 0; i < case_count(o); i++) {
        case_at(o, i, &c);
        by_state[c.state]++;
    }
    run_name(o, name, sizeof(name));
    out_junit_suite(f, name, by_state, o->r->duration_ns);
    for (size_t i = 0; i < case_count(o); i++) {
        case_at(o, i, &c);
        out_junit_case(f, &c);
    }
    fputs("  </testsuite>\n", f);
}

char *out_junit(const struct out_run *runs, size_t count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f == NULL)
        return NULL;
    out_junit_begin(f);
    for (size_t i = 0; i < count; i++)
        put_suite(f, &runs[i]);
    out_junit_end(f);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

void out_tap_case(FILE *f, size_t number, struct out_case *c)
{
    bool skip = c->state == OUT_CASE_SKIPPED;

    for (char *s = c->text; *s != '\0'; s++)
        if (*s == '\n' || *s == '#')
            *s = ' ';
    for (char *s = c->name; *s != '\0'; s++)
        if (*s == '\n' || *s == '#')
            *s = ' ';
    fprintf(f, "%s %zu - %s %s%s%s\n", c->state == OUT_CASE_OK || skip ? "ok" : "not ok", number,
            c->name, c->id, skip ? " # SKIP " : " # ", c->text);
}

void out_tap(FILE *f, const struct out_run *runs, size_t count)
{
    size_t total = 0, n = 0;
    struct out_case c;

    for (size_t i = 0; i < count; i++)
        total += case_count(&runs[i]);
    fprintf(f, "TAP version 13\n1..%zu\n", total);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < case_count(&runs[i]); k++) {
            case_at(&runs[i], k, &c);
            out_tap_case(f, ++n, &c);
        }
}
