/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/cases.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "emu/outputs.h"

struct one_check {
    char id[8];
    uint64_t checked, violated;
};

struct one_run {
    uint64_t number;
    enum emu_exit verdict;
    uint16_t check_count;
    char key[NOTE_KEY_MAX];
    char *why;
    struct one_check *checks;
};

struct suite {
    char name[256], what[96];
    struct one_run *runs;
    size_t count, room;
};

struct cases {
    struct suite *suites;
    size_t count;
    uint64_t total;
};

struct cases *cases_new(void)
{
    return calloc(1, sizeof(struct cases));
}

void cases_free(struct cases **c)
{
    if (*c == NULL)
        return;
    for (size_t i = 0; i < (*c)->count; i++) {
        for (size_t k = 0; k < (*c)->suites[i].count; k++) {
            free((*c)->suites[i].runs[k].why);
            free((*c)->suites[i].runs[k].checks);
        }
        free((*c)->suites[i].runs);
    }
    free((*c)->suites);
    free(*c);
    *c = NULL;
}

int cases_suite(struct cases *c, const char *suite, const char *what)
{
    struct suite *more = realloc(c->suites, (c->count + 1) * sizeof(*more));

    if (more == NULL)
        return FL_ENOMEM;
    c->suites = more;
    struct suite *s = &more[c->count++];
    memset(s, 0, sizeof(*s));
    snprintf(s->name, sizeof(s->name), "%s", suite);
    snprintf(s->what, sizeof(s->what), "%s", what);
    return FL_OK;
}

static int make_room(struct suite *s)
{
    if (s->count < s->room)
        return FL_OK;
    size_t room = s->room == 0 ? 64 : 2 * s->room;
    struct one_run *more = realloc(s->runs, room * sizeof(*more));
    if (more == NULL)
        return FL_ENOMEM;
    s->runs = more;
    s->room = room;
    return FL_OK;
}

int cases_add(struct cases *c, uint64_t number, const struct pool_note *n)
{
    if (c->count == 0 || c->total + n->check_count + 1 > CASES_MAX)
        return FL_ENOSPC;
    struct suite *s = &c->suites[c->count - 1];
    if (make_room(s) != FL_OK)
        return FL_ENOMEM;
    struct one_run *r = &s->runs[s->count];
    *r = (struct one_run){.number = number, .verdict = n->verdict, .check_count = n->check_count};
    memcpy(r->key, n->key, sizeof(r->key));
    r->why = n->why[0] != '\0' ? strdup(n->why) : NULL;
    r->checks = calloc(n->check_count + 1U, sizeof(*r->checks));
    if (r->checks == NULL || (n->why[0] != '\0' && r->why == NULL)) {
        free(r->why);
        free(r->checks);
        return FL_ENOMEM;
    }
    for (uint16_t i = 0; i < n->check_count; i++) {
        memcpy(r->checks[i].id, n->checks[i].id, sizeof(r->checks[i].id));
        r->checks[i].checked = n->checks[i].checked;
        r->checks[i].violated = n->checks[i].violated;
    }
    s->count++;
    c->total += n->check_count + 1U;
    return FL_OK;
}

static int by_number(const void *a, const void *b)
{
    const struct one_run *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static void sort(struct cases *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->suites[i].count > 0)
            qsort(c->suites[i].runs, c->suites[i].count, sizeof(c->suites[i].runs[0]), by_number);
}

/** Case @i of a run; the last one is its verdict. */
static void case_at(const struct suite *s, const struct one_run *r, uint16_t i,
                    struct out_case *ret)
{
    const char *why = r->why != NULL ? r->why : "";
    size_t len = strlen(s->what);

    snprintf(ret->name, sizeof(ret->name), "%.200s %s%s%" PRIu64, s->name, s->what,
             len > 0 && s->what[len - 1] == '#' ? "" : " ", r->number);
    if (i == r->check_count) {
        out_case_verdict(ret, r->verdict, why);
        return;
    }
    const struct one_check *k = &r->checks[i];
    ret->id = k->id;
    if (k->violated > 0) {
        bool own = strcmp(r->key, k->id) == 0;
        ret->state = OUT_CASE_FAILED;
        snprintf(ret->text, sizeof(ret->text), "violated %" PRIu64 " times%s%.400s", k->violated,
                 own ? ": " : "", own ? why : "");
    } else if (k->checked == 0) { /* over all runs it has to compare something */
        ret->state = OUT_CASE_SKIPPED;
        snprintf(ret->text, sizeof(ret->text), "nothing to compare in this run");
    } else {
        ret->state = OUT_CASE_OK;
        snprintf(ret->text, sizeof(ret->text), "%" PRIu64 " compared", k->checked);
    }
}

static void put_suite(FILE *f, const struct suite *s)
{
    size_t by_state[OUT_CASE_STATES] = {0};
    struct out_case c;

    for (size_t k = 0; k < s->count; k++)
        for (uint16_t i = 0; i <= s->runs[k].check_count; i++) {
            case_at(s, &s->runs[k], i, &c);
            by_state[c.state]++;
        }
    out_junit_suite(f, s->name, by_state, 0);
    for (size_t k = 0; k < s->count; k++)
        for (uint16_t i = 0; i <= s->runs[k].check_count; i++) {
            case_at(s, &s->runs[k], i, &c);
            out_junit_case(f, &c);
        }
    fputs("  </testsuite>\n", f);
}

char *cases_junit(struct cases *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f == NULL)
        return NULL;
    sort(c);
    out_junit_begin(f);
    for (size_t i = 0; i < c->count; i++)
        put_suite(f, &c->suites[i]);
    out_junit_end(f);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

void cases_tap(FILE *f, struct cases *c)
{
    struct out_case one;
    size_t n = 0;

    sort(c);
    fprintf(f, "TAP version 13\n1..%" PRIu64 "\n", c->total);
    for (size_t s = 0; s < c->count; s++)
        for (size_t k = 0; k < c->suites[s].count; k++)
            for (uint16_t i = 0; i <= c->suites[s].runs[k].check_count; i++) {
                case_at(&c->suites[s], &c->suites[s].runs[k], i, &one);
                out_tap_case(f, ++n, &one);
            }
}

int cases_write(struct cases *c, const char *junit, bool tap, struct fl_errmsg *err)
{
    int rc = FL_OK;

    if (tap)
        cases_tap(stdout, c);
    if (junit != NULL) {
        char *text = cases_junit(c);

        rc = text == NULL ? fl_fail(err, FL_ENOMEM, "--junit: out of memory")
                          : out_file(junit, text, strlen(text), err);
        free(text);
    }
    return rc;
}
