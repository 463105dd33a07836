/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.ndjson: a header line, then one line per trace record, each with the same keys in the
 * same order: t_ns, node, kind, code, region, page, a, b. a and b are 64-bit and therefore texts.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/outputs.h"

enum { BUFFER_BYTES = 64 * 1024, LINE_BYTES = 320, MERGE_MAX = 256 };

struct history {
    const struct plan *p;
    FILE *f;
    uint64_t records, dropped;
    int err_no; /* first failure */
    char path[PATH_MAX];
};

static const char *const kind_names[] = {"?", "event", "call", "site", "fault", "check", "op"};

int history_open(const char *path, const struct plan *p, struct history **ret,
                 struct fl_errmsg *err)
{
    struct history *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return fl_fail(err, FL_ENOMEM, "history: out of memory");
    h->p = p;
    snprintf(h->path, sizeof(h->path), "%s", path);
    h->f = fopen(path, "we");
    if (h->f == NULL) {
        int e = errno;

        free(h);
        return fl_fail(err, fl_err_from_errno(e),
                       "cannot write %.300s: %s; choose another place with --out", path,
                       strerror(e));
    }
    (void)setvbuf(h->f, NULL, _IOFBF, BUFFER_BYTES);
    fprintf(h->f, "{\"version\":%d,\"what\":\"history\"}\n", OUT_VERSION);
    *ret = h;
    return FL_OK;
}

static const char *node_name(const struct plan *p, uint32_t i)
{
    return i < p->node_count ? p->nodes[i].name : "-";
}

void history_sink(void *arg, const struct fl_trace_rec *r)
{
    struct history *h = arg;

    if (h->records >= HISTORY_RECORDS_MAX || h->err_no != 0) {
        h->dropped++;
        return;
    }
    const char *kind =
        r->kind < sizeof(kind_names) / sizeof(kind_names[0]) ? kind_names[r->kind] : kind_names[0];
    int n = fprintf(h->f,
                    "{\"t_ns\":%" PRIu64 ",\"node\":\"%s\",\"kind\":\"%s\",\"code\":\"%s\","
                    "\"region\":%" PRIu32 ",\"page\":%" PRIu32 ",\"a\":\"0x%" PRIx64
                    "\",\"b\":\"0x%" PRIx64 "\"}\n",
                    r->t_ns, node_name(h->p, r->node), kind, fl_trace_code_name(r), r->region,
                    r->page, r->a, r->b);
    if (n < 0)
        h->err_no = errno != 0 ? errno : EIO;
    h->records++;
}

void history_flush(struct history *h)
{
    if (fflush(h->f) != 0 && h->err_no == 0)
        h->err_no = errno;
}

int history_close(struct history **hp, struct fl_errmsg *err)
{
    struct history *h = *hp;

    if (h == NULL)
        return FL_OK;
    *hp = NULL;
    if (h->dropped > 0 && h->err_no == 0)
        fprintf(h->f, "{\"t_ns\":%" PRIu64 ",\"dropped\":%" PRIu64 "}\n", UINT64_MAX >> 1,
                h->dropped);
    if (fclose(h->f) != 0 && h->err_no == 0)
        h->err_no = errno;
    int e = h->err_no, rc = FL_OK;
    if (e != 0)
        rc = fl_fail(err, FL_EIO,
                     "cannot write %.300s: %s; free space or choose another place with "
                     "--out",
                     h->path, strerror(e));
    free(h);
    return rc;
}

/* --- merging -------------------------------------------------------------------------------- */

struct source {
    FILE *f;
    uint64_t t_ns;
    char line[LINE_BYTES];
};

/** Next whole record; the last line of a killed node may be cut off and is then left out. */
static bool source_next(struct source *s)
{
    while (s->f != NULL && fgets(s->line, sizeof(s->line), s->f) != NULL)
        if (strchr(s->line, '\n') != NULL && sscanf(s->line, "{\"t_ns\":%" SCNu64, &s->t_ns) == 1)
            return true;
    if (s->f != NULL)
        fclose(s->f);
    s->f = NULL;
    return false;
}

static int write_merged(FILE *out, struct source *src, int count)
{
    fprintf(out, "{\"version\":%d,\"what\":\"history\"}\n", OUT_VERSION);
    for (int i = 0; i < count; i++)
        (void)source_next(&src[i]);
    for (;;) {
        int best = -1;

        for (int i = 0; i < count; i++)
            if (src[i].f != NULL && (best < 0 || src[i].t_ns < src[best].t_ns))
                best = i;
        if (best < 0)
            break;
        fputs(src[best].line, out);
        (void)source_next(&src[best]);
    }
    return ferror(out) ? -1 : 0;
}

int history_merge(const char *dir, const struct plan *p, struct fl_errmsg *err)
{
    char path[PATH_MAX + 64], final[PATH_MAX + 64];
    int count = p->node_count < MERGE_MAX ? p->node_count : MERGE_MAX;

    snprintf(final, sizeof(final), "%s/history.ndjson", dir);
    if (access(final, F_OK) == 0)
        return FL_OK;
    struct source *src = calloc((size_t)count + 1, sizeof(*src));
    FILE *out = src != NULL ? fopen(final, "we") : NULL;
    if (out == NULL) {
        free(src);
        return fl_fail(err, FL_EIO, "cannot write %.300s: %s", final, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s.trace", dir, p->nodes[i].name);
        src[i].f = fopen(path, "re");
    }
    int bad = write_merged(out, src, count);
    if (fclose(out) != 0 || bad != 0) {
        free(src);
        return fl_fail(err, FL_EIO,
                       "cannot write %.300s: %s; free space or choose another place "
                       "with --out",
                       final, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s.trace", dir, p->nodes[i].name);
        (void)unlink(path);
    }
    free(src);
    return FL_OK;
}

/* --- Chrome trace events -------------------------------------------------------------------- */

struct line {
    uint64_t t_ns;
    char node[PLAN_NAME_MAX], kind[16], code[40], a[24], b[24];
    uint32_t region, page;
};

static bool parse_line(const char *text, struct line *l)
{
    return sscanf(text,
                  "{\"t_ns\":%" SCNu64 ",\"node\":\"%31[^\"]\",\"kind\":\"%15[^\"]\",\"code\":\""
                  "%39[^\"]\",\"region\":%" SCNu32 ",\"page\":%" SCNu32
                  ",\"a\":\"%23[^\"]\",\"b\":\"%23[^\"]\"}",
                  &l->t_ns, l->node, l->kind, l->code, &l->region, &l->page, l->a, l->b) == 8;
}

/** Sites that begin or end something that lasts: 'b', 'e', or 'i' for an instant. */
static char phase_of(const char *site, const char **ret_name)
{
    static const struct {
        const char *site, *name;
        char phase;
    } spans[] = {{"fetch_post", "fetch", 'b'},   {"page_fetched", "fetch", 'e'},
                 {"flush_post", "flush", 'b'},   {"flush_ack", "flush", 'e'},
                 {"flush_fail", "flush", 'e'},   {"fence_post", "fence", 'b'},
                 {"fence_done", "fence", 'e'},   {"region_closing", "close", 'b'},
                 {"region_closed", "close", 'e'}};

    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        if (strcmp(spans[i].site, site) == 0) {
            *ret_name = spans[i].name;
            return spans[i].phase;
        }
    *ret_name = site;
    return 'i';
}

static void write_event(FILE *out, const struct line *l, int pid, uint64_t t0)
{
    const char *name = l->code;
    char phase = 'i';
    double us = (double)(l->t_ns - t0) / 1000.0;

    if (strcmp(l->kind, "site") == 0)
        phase = phase_of(l->code, &name);
    fprintf(out,
            ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"%c\",\"ts\":%.3f,\"pid\":%d,\"tid\":1",
            name, l->kind, phase, us, pid);
    if (phase == 'i')
        fprintf(out, ",\"s\":\"t\"");
    else
        fprintf(out, ",\"id\":\"%d.%" PRIu32 ".%s\"", pid, l->region, l->a);
    fprintf(out,
            ",\"args\":{\"region\":%" PRIu32 ",\"page\":%" PRIu32 ",\"a\":\"%s\",\"b\":\"%s\"}}",
            l->region, l->page, l->a, l->b);
}

/** Sites and events of the devices; calls would only repeat them. */
static bool shown(const struct line *l)
{
    return strcmp(l->kind, "site") == 0 || strcmp(l->kind, "fault") == 0 ||
           strcmp(l->kind, "check") == 0;
}

int history_to_trace(const char *dir, const struct plan *p, const char *path, struct fl_errmsg *err)
{
    char from[PATH_MAX + 64], text[LINE_BYTES];
    struct line l;
    uint64_t t0 = 0;
    bool have_t0 = false;

    snprintf(from, sizeof(from), "%s/history.ndjson", dir);
    FILE *in = fopen(from, "re"), *out = fopen(path, "we");
    if (out == NULL) {
        if (in != NULL)
            fclose(in);
        return fl_fail(err, FL_EIO, "cannot write %.300s: %s", path, strerror(errno));
    }
    fprintf(out,
            "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"version\":%d},\"traceEvents\":[\n"
            "{\"name\":\"farline\",\"ph\":\"M\",\"pid\":0,\"tid\":0,\"args\":{}}",
            OUT_VERSION);
    for (int i = 0; i < p->node_count; i++)
        fprintf(out,
                ",\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":1,\"args\":"
                "{\"name\":\"%s\"}}",
                i + 1, p->nodes[i].name);
    while (in != NULL && fgets(text, sizeof(text), in) != NULL) {
        if (!parse_line(text, &l) || !shown(&l))
            continue;
        if (!have_t0)
            t0 = l.t_ns;
        have_t0 = true;
        write_event(out, &l, plan_node_find(p, l.node) + 1, t0 < l.t_ns ? t0 : l.t_ns);
    }
    fprintf(out, "\n]}\n");
    if (in != NULL)
        fclose(in);
    bool bad = ferror(out) != 0;
    if (fclose(out) != 0 || bad)
        return fl_fail(err, FL_EIO,
                       "cannot write %.300s: %s; free space or choose another place "
                       "with --out",
                       path, strerror(errno));
    return FL_OK;
}
