/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/result.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/plan_fields.h"
#include "emu/plan_steps.h"

volatile sig_atomic_t emu_interrupted;

struct result *result_new(void)
{
    struct result *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    /* Not cleared: need_metric does, of the few that a run has. */
    r->metrics = malloc((RESULT_METRICS_MAX + 1) * sizeof(*r->metrics));
    r->nodes = calloc(PLAN_NODES_MAX, sizeof(*r->nodes));
    if (r->metrics == NULL || r->nodes == NULL)
        result_free(&r);
    return r;
}

static void no_free(void *metric)
{
    (void)metric; /* lies in the array */
}

void result_free(struct result **r)
{
    if (*r == NULL)
        return;
    tdestroy((*r)->by_name, no_free);
    free((*r)->metrics);
    free((*r)->nodes);
    free(*r);
    *r = NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct result_metric *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static const struct result_metric *find_metric(const struct result *r, const char *name)
{
    struct result_metric key;

    snprintf(key.name, sizeof(key.name), "%s", name);
    struct result_metric *const *in = tfind(&key, &r->by_name, by_name);
    return in == NULL ? NULL : *in;
}

/** The metric of that name, created when new; NULL when the table is full. */
static struct result_metric *need_metric(struct result *r, const char *name)
{
    /* Past the last one there is room for one more: what is looked for. */
    struct result_metric *m = &r->metrics[r->metric_count];

    memset(m, 0, sizeof(*m));
    snprintf(m->name, sizeof(m->name), "%s", name);
    struct result_metric **in = r->metric_count < RESULT_METRICS_MAX
                                    ? tsearch(m, &r->by_name, by_name)
                                    : tfind(m, &r->by_name, by_name);
    if (in != NULL && *in == m)
        r->metric_count++;
    return in == NULL ? NULL : *in;
}

void result_metrics_moved(struct result *r)
{
    tdestroy(r->by_name, no_free);
    r->by_name = NULL;
    for (size_t i = 0; i < r->metric_count; i++)
        (void)tsearch(&r->metrics[i], &r->by_name, by_name);
}

void result_metric(struct result *r, const char *name, double value)
{
    struct result_metric *m = need_metric(r, name);

    if (m != NULL) {
        m->value = value;
        m->text[0] = '\0';
    }
}

void result_metric_text(struct result *r, const char *name, const char *text)
{
    struct result_metric *m = need_metric(r, name);

    if (m != NULL) {
        m->value = 0;
        snprintf(m->text, sizeof(m->text), "%s", text);
    }
}

/** "misses" of "c0.misses" when c0 is a node; NULL for figures of the run. Metrics of one node come
 * one after the other: the search begins at @node, which it sets. */
static const char *bare_name(const struct result *r, const char *name, size_t *node)
{
    const char *dot = strchr(name, '.');

    if (dot == NULL)
        return NULL;
    for (size_t i = 0; i < r->node_count; i++) {
        size_t k = (*node + i) % r->node_count;

        if (strlen(r->nodes[k].name) == (size_t)(dot - name) &&
            strncmp(r->nodes[k].name, name, (size_t)(dot - name)) == 0) {
            *node = k;
            return dot + 1;
        }
    }
    return NULL;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

/** Of quantiles and peaks a sum says nothing; the largest does. */
static bool takes_largest(const char *name)
{
    return ends_with(name, "_max") || ends_with(name, "_p50") || ends_with(name, "_p90") ||
           ends_with(name, "_p99");
}

void result_sum_metrics(struct result *r)
{
    size_t count = r->metric_count, node = 0;

    for (size_t i = 0; i < count; i++)
        r->metrics[i].summed = false;
    for (size_t i = 0; i < count; i++) {
        const char *bare = bare_name(r, r->metrics[i].name, &node);
        double v = r->metrics[i].value;
        struct result_metric *m;

        if (bare == NULL || r->metrics[i].text[0] != '\0' || (m = need_metric(r, bare)) == NULL)
            continue;
        if (!m->summed || (takes_largest(bare) && v > m->value))
            m->value = v;
        else if (!takes_largest(bare))
            m->value += v;
        m->summed = true;
        m->text[0] = '\0';
    }
}

void result_ask_faults(const struct plan *p, struct result *r)
{
    for (uint16_t i = 0; i < p->step_count; i++) {
        struct result_fault *f = &r->faults[i];

        memset(f, 0, sizeof(*f));
        plan_step_text(p, &p->steps[i], f->kind, sizeof(f->kind));
        plan_step_when_text(p, &p->steps[i], f->at, sizeof(f->at));
        f->asked = 1;
    }
    r->fault_count = p->step_count;
}

struct result_check *result_check(struct result *r, const char *id, const char *unit)
{
    for (size_t i = 0; i < r->check_count; i++)
        if (strcmp(r->checks[i].id, id) == 0)
            return &r->checks[i];
    if (r->check_count == PLAN_CHECKS_MAX)
        return NULL;
    struct result_check *c = &r->checks[r->check_count++];
    memset(c, 0, sizeof(*c));
    snprintf(c->id, sizeof(c->id), "%s", id);
    snprintf(c->unit, sizeof(c->unit), "%s", unit);
    return c;
}

/* --- the verdict ---------------------------------------------------------------------------- */

static bool compare(enum plan_cmp cmp, double a, double b)
{
    switch (cmp) {
    case PLAN_EQ:
        return !(a < b) && !(a > b);
    case PLAN_NE:
        return a < b || a > b;
    case PLAN_LT:
        return a < b;
    case PLAN_LE:
        return a <= b;
    case PLAN_GT:
        return a > b;
    default:
        return a >= b;
    }
}

static const char *const cmp_signs[] = {"=", "not", "<", "<=", ">", ">="};

static void value_text(const struct result_metric *m, char *ret, size_t size)
{
    if (m->text[0] != '\0')
        snprintf(ret, size, "%s", m->text);
    else
        snprintf(ret, size, "%.10g", m->value);
}

/** No such figure: the nearest name there is. */
static enum expect_state no_figure(const struct plan *p, const struct plan_expect *e,
                                   const struct result *r, struct fl_errmsg *why)
{
    const char *names[256];
    bool dotted = strchr(e->metric, '.') != NULL;
    size_t n = 0;

    for (size_t i = 0; i < r->metric_count && n < 256; i++)
        if (dotted == (strchr(r->metrics[i].name, '.') != NULL))
            names[n++] = r->metrics[i].name;
    const char *near = plan_nearest(e->metric, names, n);
    fl_fail(why, 0, "%.200s:%d: %s is expected, but the run has no such figure%s%s%s", p->file,
            e->line, e->metric, near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
            near != NULL ? "\"?" : "");
    return EXPECT_UNKNOWN;
}

enum expect_state result_expect(const struct plan *p, int i, const struct result *r,
                                struct fl_errmsg *why)
{
    const struct plan_expect *e = &p->expects[i];
    const struct result_metric *m = find_metric(r, e->metric);
    char seen[40], want[40];
    bool holds;

    if (m == NULL)
        return no_figure(p, e, r, why);
    if (e->text[0] != '\0') {
        holds = (strcmp(m->text, e->text) == 0) == (e->cmp == PLAN_EQ);
        snprintf(want, sizeof(want), "%s", e->text);
    } else {
        holds = m->text[0] == '\0' && compare(e->cmp, m->value, e->value);
        snprintf(want, sizeof(want), "%.10g", e->value);
    }
    value_text(m, seen, sizeof(seen));
    fl_fail(why, 0, "%.200s:%d: expected %s %s %s, seen %s", p->file, e->line, e->metric,
            cmp_signs[e->cmp], want, seen);
    return holds ? EXPECT_HOLDS : EXPECT_FAILS;
}

enum emu_exit emu_exit_worse(enum emu_exit a, enum emu_exit b)
{
    static const enum emu_exit order[] = {EMU_VIOLATED, EMU_NO_PROGRESS, EMU_UNDECIDED,
                                          EMU_USAGE,    EMU_SKIPPED,     EMU_HELD};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return a;
}

static bool requested(const struct plan *p, const char *id)
{
    for (int i = 0; i < p->check_count; i++)
        if (strcmp(p->checks[i], id) == 0)
            return true;
    return false;
}

static const struct result_check *find_check(const struct result *r, const char *id)
{
    for (size_t i = 0; i < r->check_count; i++)
        if (strcmp(r->checks[i].id, id) == 0)
            return &r->checks[i];
    return NULL;
}

/** Something was wrong: @why says what. */
static bool is_violated(const struct plan *p, const struct result *r, struct fl_errmsg *why)
{
    for (size_t i = 0; i < r->check_count; i++) {
        const struct result_check *c = &r->checks[i];

        if (c->violated == 0 || !requested(p, c->id))
            continue;
        fl_fail(why, 0, "%s violated %" PRIu64 " times, first: %.400s", c->id, c->violated,
                c->first);
        return true;
    }
    if (r->node_failed) {
        fl_fail(why, 0, "%.480s", r->why[0] != '\0' ? r->why : "a node failed");
        return true;
    }
    for (int i = 0; i < p->expect_count; i++)
        if (result_expect(p, i, r, why) == EXPECT_FAILS)
            return true;
    return false;
}

static bool is_undecided(const struct plan *p, const struct result *r, struct fl_errmsg *why)
{
    if (r->timed_out) {
        fl_fail(why, 0, "%.480s", r->why[0] != '\0' ? r->why : "the run's deadline passed");
        return true;
    }
    for (size_t i = 0; i < r->fault_count; i++)
        if (r->faults[i].fired < r->faults[i].asked) {
            fl_fail(why, 0, "fault \"%s\" at %s never fired", r->faults[i].kind, r->faults[i].at);
            return true;
        }
    for (int i = 0; i < p->check_count; i++) {
        const struct result_check *c = find_check(r, p->checks[i]);

        if (c == NULL || c->checked == 0) {
            fl_fail(why, 0, "%s was asked for, but nothing was compared", p->checks[i]);
            return true;
        }
    }
    for (int i = 0; i < p->expect_count; i++)
        if (result_expect(p, i, r, why) == EXPECT_UNKNOWN)
            return true;
    return false;
}

enum emu_exit result_judge(const struct plan *p, const struct result *r, struct fl_errmsg *why)
{
    if (r->skipped) {
        fl_fail(why, 0, "%.480s", r->why[0] != '\0' ? r->why : "this machine lacks something");
        return EMU_SKIPPED;
    }
    if (is_violated(p, r, why))
        return EMU_VIOLATED;
    if (r->no_progress) {
        fl_fail(why, 0, "%.480s", r->why[0] != '\0' ? r->why : "no progress after faults healed");
        return EMU_NO_PROGRESS;
    }
    if (is_undecided(p, r, why))
        return EMU_UNDECIDED;
    fl_fail(why, 0, "%u invariants and %u expectations held", p->check_count, p->expect_count);
    return EMU_HELD;
}

const struct result_fault *result_fault_before(const struct result *r, uint64_t t_ns)
{
    const struct result_fault *last = NULL;

    for (size_t i = 0; i < r->fault_count && t_ns > 0; i++) {
        const struct result_fault *f = &r->faults[i];

        if (f->fired > 0 && f->t_ns <= t_ns && (last == NULL || f->t_ns >= last->t_ns))
            last = f;
    }
    return last;
}

/** 0 stays what it means: not known. */
static void rebase(uint64_t *t_ns, uint64_t zero_ns)
{
    if (*t_ns != 0)
        *t_ns = *t_ns > zero_ns ? *t_ns - zero_ns : 1;
}

void result_first_rebase(struct result_first *f, uint64_t zero_ns)
{
    rebase(&f->t_ns, zero_ns);
    rebase(&f->writer_ns, zero_ns);
}
