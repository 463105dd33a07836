/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/swarm_sum.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "emu/html.h"
#include "emu/outputs.h"

static void add_failure(struct swarm_sum *s, uint64_t seed, const struct pool_note *n)
{
    size_t at = s->fail_count;

    while (at > 0 && s->fails[at - 1].seed > seed)
        at--;
    if (at == SWARM_FAILS_MAX)
        return;
    size_t move = (s->fail_count < SWARM_FAILS_MAX ? s->fail_count : SWARM_FAILS_MAX - 1) - at;
    memmove(&s->fails[at + 1], &s->fails[at], move * sizeof(s->fails[0]));
    s->fail_count += s->fail_count < SWARM_FAILS_MAX;
    struct swarm_failure *x = &s->fails[at];
    memset(x, 0, sizeof(*x));
    x->seed = seed;
    x->verdict = n->verdict;
    snprintf(x->key, sizeof(x->key), "%s", n->key);
    snprintf(x->why, sizeof(x->why), "%s", n->why);
}

static void add_checks(struct swarm_sum *s, const struct pool_note *n)
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

void swarm_sum_add(struct swarm_sum *s, uint64_t seed, const struct pool_note *n)
{
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

/* --- the report ----------------------------------------------------------------------------- */

void swarm_sum_judge(struct swarm_sum *s, bool interrupted)
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
        if (s->kinds[k].asked >= SWARM_ASKED_ENOUGH && s->kinds[k].fired == 0) {
            s->worst = EMU_UNDECIDED;
            snprintf(why, sizeof(why), "%s was asked for %" PRIu64 " times and never fired",
                     plan_step_info((unsigned)k)->name, s->kinds[k].asked);
        }
    for (uint16_t k = 0; k < s->check_count && s->worst == EMU_HELD; k++)
        if (s->checks[k].checked == 0) {
            s->worst = EMU_UNDECIDED;
            snprintf(why, sizeof(why), "%s compared nothing in any run", s->checks[k].id);
        }
    if (interrupted) {
        s->worst = emu_exit_worse(s->worst, EMU_UNDECIDED);
        if (why[0] == '\0')
            snprintf(why, sizeof(why), "interrupted");
    }
    if (why[0] == '\0')
        snprintf(why, sizeof(why), "every run held");
    snprintf(s->why, sizeof(s->why), "%s", why);
}

static void print_failures(FILE *f, const struct swarm_sum *s)
{
    for (size_t i = 0; i < s->fail_count; i++) {
        const struct swarm_failure *x = &s->fails[i];

        if (i == 10) {
            fprintf(f, "failed    and %" PRIu64 " more\n", s->done - s->by_verdict[EMU_HELD] - i);
            break;
        }
        fprintf(f, "failed    seed %" PRIu64 ": %.300s\n", x->seed, x->why);
        if (x->shrunk[0] != '\0')
            fprintf(f, "          %s%s\n", x->written ? "shrunk: " : "", x->shrunk);
        if (x->written)
            fprintf(f, "          farline replay %s/seed-%" PRIu64 "/run.json\n", s->dir, x->seed);
    }
}

void swarm_sum_print(FILE *f, const struct swarm_sum *s)
{
    double sec = (double)s->run_ns / 1e9;

    fprintf(f,
            "swarm     %s, seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " runs in %.2f s, %.0f/s, "
            "%u jobs; %" PRIu64 " done twice\n",
            s->base->file, s->first, s->last, s->done, sec, sec > 0 ? (double)s->done / sec : 0.0,
            s->jobs, s->twice);
    fprintf(f, "%-18s%10s%10s%10s%10s\n", "fault", "asked", "fired", "survived", "violated");
    for (int k = 0; k < POOL_KINDS; k++)
        if (s->kinds[k].asked > 0)
            fprintf(f, "%-18s%10" PRIu64 "%10" PRIu64 "%10" PRIu64 "%10" PRIu64 "\n",
                    plan_step_info((unsigned)k)->name, s->kinds[k].asked, s->kinds[k].fired,
                    s->kinds[k].survived, s->kinds[k].violated);
    fprintf(f, "%-18s%20s%20s\n", "check", "compared", "violated");
    for (uint16_t k = 0; k < s->check_count; k++)
        fprintf(f, "%-18s%20" PRIu64 "%20" PRIu64 "\n", s->checks[k].id, s->checks[k].checked,
                s->checks[k].violated);
    print_failures(f, s);
    fprintf(f, "verdict   ");
    for (const char *c = out_verdict_name(s->worst); *c != '\0'; c++)
        fputc(toupper((unsigned char)*c), f);
    fprintf(f, ": %s\n", s->why);
}

static json_t *failures_json(const struct swarm_sum *s)
{
    json_t *list = json_array();
    char path[PATH_MAX + 64];

    for (size_t i = 0; i < s->fail_count; i++) {
        const struct swarm_failure *x = &s->fails[i];

        snprintf(path, sizeof(path), "%s/seed-%" PRIu64 "/run.json", s->dir, x->seed);
        json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:s, s:o}", "seed",
                                              (json_int_t)x->seed, "verdict",
                                              out_verdict_name(x->verdict), "id", x->key, "why",
                                              x->why, "shrunk", x->shrunk, "run",
                                              x->written ? json_string(path) : json_null()));
    }
    return list;
}

char *swarm_sum_json(const struct swarm_sum *s, size_t flags)
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
    json_t *j = json_pack(
        "{s:i, s:s, s:[I, I], s:i, s:I, s:I, s:I, s:s, s:i, s:s, s:o, s:o, s:o}", "version",
        OUT_VERSION, "scenario", s->base->file, "seeds", (json_int_t)s->first, (json_int_t)s->last,
        "jobs", (int)s->jobs, "runs", (json_int_t)s->done, "twice", (json_int_t)s->twice, "wall_ns",
        (json_int_t)s->run_ns, "verdict", out_verdict_name(s->worst), "exit", (int)s->worst, "why",
        s->why, "faults", kinds, "checks", checks, "failures", failures_json(s));
    char *text = j != NULL ? json_dumps(j, flags | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    return text;
}

/* --- report.html ---------------------------------------------------------------------------- */

static void html_count(FILE *f, uint64_t n, bool bad)
{
    char text[40];

    out_count_text((double)n, text, sizeof(text));
    html_element(f, bad ? "td class=\"n bad\"" : "td class=\"n\"", text);
}

static void html_failures(FILE *f, const struct swarm_sum *s)
{
    if (s->fail_count == 0)
        return;
    fputs("<h2>Runs that failed</h2>\n", f);
    html_table(f, "seed|what failed|why|how to repeat it");
    for (size_t i = 0; i < s->fail_count; i++) {
        const struct swarm_failure *x = &s->fails[i];

        fprintf(f, "<tr><td class=\"n\">%" PRIu64 "</td>", x->seed);
        html_element(f, "td", x->key);
        fputs("<td>", f);
        html_text(f, x->why);
        if (x->shrunk[0] != '\0') {
            fputs("<br/><span class=\"note\">", f);
            html_printf(f, "%s%s", x->written ? "made smaller: " : "", x->shrunk);
            fputs("</span>", f);
        }
        fputs("</td><td>", f);
        if (x->written) {
            fprintf(f, "<a href=\"seed-%" PRIu64 "/report.html\">its report</a><pre>", x->seed);
            html_printf(f, "farline replay %.1000s/seed-%" PRIu64 "/run.json", s->dir, x->seed);
            fputs("</pre>", f);
        } else {
            html_printf(f, "farline swarm %.255s --seeds %" PRIu64 "..%" PRIu64, s->base->file,
                        x->seed, x->seed);
        }
        fputs("</td></tr>\n", f);
    }
    html_table_end(f);
}

static void html_faults(FILE *f, const struct swarm_sum *s)
{
    fputs("<h2>Faults that the seeds drew</h2>\n", f);
    html_table(f, "fault|what it does|asked|fired|runs that survived|runs that failed");
    for (unsigned k = 0; k < POOL_KINDS; k++) {
        if (s->kinds[k].asked == 0)
            continue;
        fputs("<tr>", f);
        html_element(f, "td", plan_step_info(k)->name);
        html_element(f, "td", plan_step_info(k)->doc);
        html_count(f, s->kinds[k].asked, false);
        html_count(f, s->kinds[k].fired, s->kinds[k].fired == 0);
        html_count(f, s->kinds[k].survived, false);
        html_count(f, s->kinds[k].violated, s->kinds[k].violated > 0);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}

char *swarm_sum_html(const struct swarm_sum *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f == NULL)
        return NULL;
    html_begin(f, s->base->title[0] != '\0' ? s->base->title : s->base->file);
    html_verdict(f, s->worst, s->why);
    fputs("<p>", f);
    html_printf(f,
                "%" PRIu64 " simulated runs of %s, one for each seed from %" PRIu64 " to %" PRIu64
                ", with faults that each seed drew; %" PRIu64
                " of them were done twice and had to give the same trace.",
                s->done, s->base->file, s->first, s->last, s->twice);
    fputs("</p>\n", f);
    html_failures(f, s);
    html_faults(f, s);
    fputs("<h2>What was checked</h2>\n", f);
    html_table(f, "id|what must hold|compared in all runs|violated");
    for (uint16_t k = 0; k < s->check_count; k++) {
        fputs("<tr>", f);
        html_id_cells(f, s->checks[k].id);
        html_count(f, s->checks[k].checked, s->checks[k].checked == 0);
        html_count(f, s->checks[k].violated, s->checks[k].violated > 0);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
    html_end(f);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}
