/* SPDX-License-Identifier: Apache-2.0 */
/* Everything about a plan that can be known before anything starts. */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/memnode.h"
#include "emu/mech/writeback.h"
#include "emu/plan_fields.h"
#include "emu/plan_steps.h"

enum { NATIVE_REGION_MIN = 32 << 20 };

/** "file:line: text" */
__attribute__((format(printf, 4, 5))) static int bad(const struct plan *p, int line,
                                                     struct fl_errmsg *err, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *file = p->file[0] != '\0' ? p->file : "plan";
    if (line > 0)
        return fl_fail(err, FL_EINVAL, "%.100s:%d: %s", file, line, text);
    return fl_fail(err, FL_EINVAL, "%.100s: %s", file, text);
}

/** Every field of one object within its bounds. @what: 'node "c0"'. */
static int check_fields(const struct plan *p, enum plan_obj obj, const void *o, unsigned roles,
                        int line, const char *what, struct fl_errmsg *err)
{
    struct fl_errmsg why;
    size_t n;
    const struct plan_field *f = plan_fields(obj, &n);

    for (size_t i = 0; i < n; i++) {
        if ((f[i].roles & roles) == 0)
            continue;
        if (plan_field_check(o, &f[i], &why) != FL_OK)
            return bad(p, line, err, "%s%s%s", what, what[0] != '\0' ? ": " : "", why.text);
    }
    return FL_OK;
}

static const char *human(uint64_t bytes, char buf[32])
{
    if (bytes >= (1 << 20) && bytes % (1 << 20) == 0)
        snprintf(buf, 32, "%" PRIu64 " MiB", bytes >> 20);
    else if (bytes >= 1024 && bytes % 1024 == 0)
        snprintf(buf, 32, "%" PRIu64 " KiB", bytes >> 10);
    else
        snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
    return buf;
}

static int check_counts(const struct plan *p, struct fl_errmsg *err)
{
    if (p->version != PLAN_VERSION)
        return bad(p, 0, err, "plan has version %d, this program reads version %d", p->version,
                   PLAN_VERSION);
    if (p->node_count > PLAN_NODES_MAX || p->link_count > PLAN_LINKS_MAX ||
        p->region_count > PLAN_REGIONS_MAX || p->workload_count > PLAN_WORKLOADS_MAX ||
        p->step_count > PLAN_STEPS_MAX || p->expect_count > PLAN_EXPECTS_MAX ||
        p->check_count > PLAN_CHECKS_MAX || p->variant_count > PLAN_VARIANTS_MAX)
        return bad(p, 0, err, "plan holds more objects than allowed");
    if (p->node_count == 0)
        return bad(p, 0, err, "there is no node; add node \"c0\" { role = \"compute\" }");
    if (p->region_count == 0)
        return bad(p, 0, err, "there is no region; add region \"heap\" { on = \"c0\", ... }");
    return FL_OK;
}

static int check_run(const struct plan *p, struct fl_errmsg *err)
{
    int rc = check_fields(p, PLAN_OBJ_RUN, p, PLAN_ROLE_ANY, 0, "", err);

    if (rc != FL_OK)
        return rc;
    if (p->heartbeat_miss_ns < 2 * p->heartbeat_ns)
        return bad(p, 0, err,
                   "heartbeat_miss is shorter than two heartbeats, so a live peer could be "
                   "declared dead; raise heartbeat_miss");
    return FL_OK;
}

static int check_nodes(const struct plan *p, struct fl_errmsg *err)
{
    static const char *const reserved[] = {"open",   "close", "close_ns", "error",
                                           "sqlite", "lua",   NULL};
    char what[64];

    for (int i = 0; i < p->node_count; i++) {
        const struct plan_node *n = &p->nodes[i];

        if (!plan_name_ok(n->name))
            return bad(p, n->line, err,
                       "\"%.31s\" cannot be the name of a node; use a letter, then letters, "
                       "digits and _, at most %d in all",
                       n->name, PLAN_NAME_MAX - 1);
        if (plan_name_index(reserved, n->name) >= 0)
            return bad(p, n->line, err,
                       "\"%s\" is the name of a group of figures; give the node another name",
                       n->name);
        if (n->role != PLAN_COMPUTE && n->role != PLAN_MEMORY)
            return bad(p, n->line, err, "node \"%s\": role is neither compute nor memory", n->name);
        if (plan_node_find(p, n->name) != i)
            return bad(p, n->line, err, "node \"%s\" is defined twice; names must differ", n->name);
        snprintf(what, sizeof(what), "node \"%s\"", n->name);
        int rc = check_fields(p, PLAN_OBJ_NODE, n,
                              n->role == PLAN_MEMORY ? PLAN_ROLE_MEMORY : PLAN_ROLE_COMPUTE,
                              n->line, what, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int check_links(const struct plan *p, struct fl_errmsg *err)
{
    char what[96];

    for (int i = 0; i < p->link_count; i++) {
        const struct plan_link *l = &p->links[i];

        if (l->a >= p->node_count || l->b >= p->node_count)
            return bad(p, l->line, err, "link: there is no such node");
        snprintf(what, sizeof(what), "link (\"%s\", \"%s\")", p->nodes[l->a].name,
                 p->nodes[l->b].name);
        if (l->a == l->b)
            return bad(p, l->line, err, "%s: a link joins two different nodes", what);
        for (int j = 0; j < i; j++)
            if ((p->links[j].a == l->a && p->links[j].b == l->b) ||
                (p->links[j].a == l->b && p->links[j].b == l->a))
                return bad(p, l->line, err, "%s is defined twice, first on line %d", what,
                           p->links[j].line);
        int rc = check_fields(p, PLAN_OBJ_LINK, l, PLAN_ROLE_ANY, l->line, what, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int check_chunks(const struct plan *p, const struct plan_region *r, struct fl_errmsg *err)
{
    uint64_t pages = 0;
    char a[32], b[32];

    if (r->chunk_count == 0 || r->chunk_count > PLAN_CHUNKS_MAX)
        return bad(p, r->line, err,
                   "region \"%s\" has %u chunks; it needs 1 to %d: add backed_by = {\"m0\"}",
                   r->name, r->chunk_count, PLAN_CHUNKS_MAX);
    for (int i = 0; i < r->chunk_count; i++) {
        const struct plan_chunk *c = &r->chunks[i];

        if (c->node >= p->node_count)
            return bad(p, r->line, err, "region \"%s\": chunk %d is on no node", r->name, i + 1);
        if (p->nodes[c->node].role != PLAN_MEMORY)
            return bad(p, r->line, err,
                       "region \"%s\": chunk %d is on \"%s\", which is not a memory node", r->name,
                       i + 1, p->nodes[c->node].name);
        if (c->page_count == 0)
            return bad(p, r->line, err,
                       "region \"%s\": chunk %d has no page; use fewer nodes or a larger region",
                       r->name, i + 1);
        pages += c->page_count;
    }
    if (pages != r->size_bytes / FL_PAGE_BYTES)
        return bad(p, r->line, err, "region \"%s\" has %s but its chunks hold %s; make them equal",
                   r->name, human(r->size_bytes, a), human(pages * FL_PAGE_BYTES, b));
    return FL_OK;
}

static int check_regions(const struct plan *p, struct fl_errmsg *err)
{
    char what[64];

    for (int i = 0; i < p->region_count; i++) {
        const struct plan_region *r = &p->regions[i];

        if (!plan_name_ok(r->name))
            return bad(p, r->line, err,
                       "\"%.31s\" cannot be the name of a region; use letters, digits and _",
                       r->name);
        snprintf(what, sizeof(what), "region \"%s\"", r->name);
        if (plan_region_find(p, r->name) != i)
            return bad(p, r->line, err, "%s is defined twice; names must differ", what);
        if (r->on >= p->node_count)
            return bad(p, r->line, err, "%s is on no node; add on = \"c0\"", what);
        if (p->nodes[r->on].role != PLAN_COMPUTE)
            return bad(p, r->line, err,
                       "%s is on \"%s\", which is a memory node; regions are opened on compute "
                       "nodes",
                       what, p->nodes[r->on].name);
        int rc = check_fields(p, PLAN_OBJ_REGION, r, PLAN_ROLE_ANY, r->line, what, err);
        if (rc == FL_OK)
            rc = check_chunks(p, r, err);
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

/** Pools of memory nodes hold their chunks; ids of chunks differ on each node. */
static int check_pools(const struct plan *p, struct fl_errmsg *err)
{
    char a[32], b[32];

    for (int n = 0; n < p->node_count; n++) {
        uint64_t need = 0, seen = 0;
        unsigned count = 0;

        for (int i = 0; i < p->region_count; i++)
            for (int j = 0; j < p->regions[i].chunk_count; j++) {
                const struct plan_chunk *c = &p->regions[i].chunks[j];

                if (c->node != n)
                    continue;
                if (c->chunk >= MN_CHUNKS_MAX)
                    return bad(p, p->nodes[n].line, err,
                               "node \"%s\" has more than %d chunks; use more memory nodes",
                               p->nodes[n].name, MN_CHUNKS_MAX);
                seen |= UINT64_C(1) << c->chunk;
                count++;
                need += (uint64_t)c->page_count * FL_PAGE_BYTES;
            }
        if (need > p->nodes[n].memory_bytes)
            return bad(p, p->nodes[n].line, err,
                       "node \"%s\" has %s but its chunks need %s: raise memory or move chunks",
                       p->nodes[n].name, human(p->nodes[n].memory_bytes, a), human(need, b));
        if ((unsigned)__builtin_popcountll(seen) != count)
            return bad(p, p->nodes[n].line, err, "two chunks on node \"%s\" have the same id",
                       p->nodes[n].name);
    }
    return FL_OK;
}

static bool is_native(enum plan_work_kind k)
{
    return k == PLAN_SQLITE || k == PLAN_LUA;
}

static int check_native(const struct plan *p, const struct plan_workload *w, const char *what,
                        struct fl_errmsg *err)
{
    const char *kind = plan_kind_names[w->kind];

    if (w->threads != 1)
        return bad(p, w->line, err,
                   "%s: kind %s runs in one thread, its heap belongs to that thread; remove "
                   "threads",
                   what, kind);
    if (p->regions[w->region].size_bytes < NATIVE_REGION_MIN)
        return bad(p, w->line, err,
                   "%s: the heap of kind %s needs a region of at least 32 MiB; raise the size of "
                   "\"%s\"",
                   what, kind, p->regions[w->region].name);
    if (w->source[0] == '\0')
        return bad(p, w->line, err, "%s: kind %s needs a source, such as %s", what, kind,
                   w->kind == PLAN_LUA ? "\"queens.lua\"" : "\"/usr/share/common-licenses/GPL-3\"");
    if (p->same_image)
        return bad(p, w->line, err,
                   "%s: programs leave pointers in memory, so same_image() cannot hold for kind "
                   "%s; use a generated workload",
                   what, kind);
    return FL_OK;
}

static int check_actor(const struct plan *p, const struct plan_workload *w, const char *what,
                       struct fl_errmsg *err)
{
    const struct plan_region *r = &p->regions[w->region];
    uint64_t sharing = 0, span = w->span_bytes != 0 ? w->span_bytes : r->size_bytes;
    char a[32], b[32];

    if (w->source[0] != '\0')
        return bad(p, w->line, err, "%s: kind %s takes no source; remove it", what,
                   plan_kind_names[w->kind]);
    if (span > r->size_bytes)
        return bad(p, w->line, err, "%s: span is %s but region \"%s\" has only %s", what,
                   human(span, a), r->name, human(r->size_bytes, b));
    for (int i = 0; i < p->workload_count; i++) /* they divide the region evenly */
        sharing += p->workloads[i].region == w->region;
    if (sharing > 1 && span > r->size_bytes / sharing)
        span = r->size_bytes / sharing;
    if (span / w->threads < w->len_bytes || span / w->threads < FL_LINE_BYTES)
        return bad(p, w->line, err,
                   "%s: each of %" PRIu32 " threads has less than one access or one line of the %s "
                   "to itself; raise span or lower threads or len",
                   what, w->threads, human(span, a));
    return FL_OK;
}

static int check_workload(const struct plan *p, int i, struct fl_errmsg *err)
{
    const struct plan_workload *w = &p->workloads[i];
    char what[64];

    if (!plan_name_ok(w->name))
        return bad(p, w->line, err,
                   "\"%.31s\" cannot be the name of a workload; use letters, digits and _",
                   w->name);
    snprintf(what, sizeof(what), "workload \"%s\"", w->name);
    if (w->region >= p->region_count)
        return bad(p, w->line, err, "%s is in no region; add region = \"heap\"", what);
    for (int j = 0; j < i; j++) {
        if (strcmp(p->workloads[j].name, w->name) == 0)
            return bad(p, w->line, err, "%s is defined twice; names must differ", what);
        if (p->workloads[j].region == w->region &&
            (is_native(w->kind) || is_native(p->workloads[j].kind)))
            return bad(p, w->line, err,
                       "%s is in region \"%s\", where \"%s\" already works; the heap of a program "
                       "needs a region of its own",
                       what, p->regions[w->region].name, p->workloads[j].name);
    }
    if ((unsigned)w->kind > PLAN_LUA)
        return bad(p, w->line, err, "%s: there is no such kind", what);
    int rc = check_fields(p, PLAN_OBJ_WORKLOAD, w, PLAN_ROLE_ANY, w->line, what, err);
    if (rc != FL_OK)
        return rc;
    return is_native(w->kind) ? check_native(p, w, what, err) : check_actor(p, w, what, err);
}

/** Device memory holds the pages that all threads of a node can need at the same moment. */
static int check_capacity(const struct plan *p, struct fl_errmsg *err)
{
    for (int n = 0; n < p->node_count; n++) {
        uint64_t threads = 0, pages = p->nodes[n].device_memory_bytes / FL_PAGE_BYTES;

        if (p->nodes[n].role != PLAN_COMPUTE)
            continue;
        for (int i = 0; i < p->workload_count; i++)
            if (p->regions[p->workloads[i].region].on == n)
                threads += p->workloads[i].threads;
        if (threads > WB_THREADS_MAX)
            return bad(p, p->nodes[n].line, err,
                       "node \"%s\" runs %" PRIu64 " threads; at most %d are possible",
                       p->nodes[n].name, threads, WB_THREADS_MAX);
        if (pages < threads * WB_PINS_PER_THREAD)
            return bad(p, p->nodes[n].line, err,
                       "node \"%s\" has device_memory for %" PRIu64 " pages, but %" PRIu64
                       " threads need at least %" PRIu64
                       " (%d each): raise device_memory to %" PRIu64 "K or lower threads",
                       p->nodes[n].name, pages, threads, threads * WB_PINS_PER_THREAD,
                       WB_PINS_PER_THREAD, threads * WB_PINS_PER_THREAD * 4);
    }
    return FL_OK;
}

/** What a step says beside its moment and its nodes. */
static int check_step_options(const struct plan *p, const struct plan_step *s,
                              const struct plan_step_info *k, struct fl_errmsg *err)
{
    if (s->for_ns == 0)
        return bad(p, s->line, err, "%s: for_ is 0, so nothing would happen; give a time", k->name);
    if (s->for_ns != FL_NEVER && (k->options & PLAN_OPT_FOR) == 0)
        return bad(p, s->line, err, "%s cannot be undone after a time; remove for_", k->name);
    if (s->for_ns != FL_NEVER && (s->for_ns > p->run_deadline_ns))
        return bad(p, s->line, err, "%s lasts longer than the run's deadline; shorten for_",
                   k->name);
    if ((k->needs & PLAN_OPT_BY) != 0 && s->by_ns == 0)
        return bad(p, s->line, err, "%s needs by = \"1ms\" or another time", k->name);
    if ((k->needs & PLAN_OPT_BPS) != 0 && s->rate_bps == 0)
        return bad(p, s->line, err, "%s needs bps = \"1M\" or another rate", k->name);
    if (s->by_ns > p->run_deadline_ns)
        return bad(p, s->line, err, "%s: %s is longer than the run's deadline; shorten it", k->name,
                   (k->options & PLAN_OPT_AFTER) != 0 ? "after" : "by");
    if (s->classes >= 1 << FL_CLASSES)
        return bad(p, s->line, err, "%s: there is no such class of traffic", k->name);
    return FL_OK;
}

/** A node comes back only when it died before: what of that can be known. */
static int check_restart(const struct plan *p, const struct plan_step *s, struct fl_errmsg *err)
{
    const char *name = p->nodes[s->target].name;
    bool killed = false, before = false;

    if (p->nodes[s->target].role != PLAN_MEMORY)
        return bad(p, s->line, err,
                   "restart: \"%s\" is a compute node, whose programs cannot go on where they "
                   "died; only memory nodes come back",
                   name);
    if (s->when == PLAN_AT_START || (s->when == PLAN_AT_SITE && s->node == s->target))
        return bad(p, s->line, err,
                   "restart: \"%s\" cannot be dead then (%s); name a later moment, such as "
                   "event (\"c0.peer_lost\", 1)",
                   name,
                   s->when == PLAN_AT_START ? "it is the start" : "a dead node passes no site");
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *k = &p->steps[i];

        if (k->action != PLAN_KILL || k->target != s->target)
            continue;
        killed = true;
        before =
            before || k->when != PLAN_AT_TIME || s->when != PLAN_AT_TIME || k->at_ns <= s->at_ns;
    }
    if (!killed)
        return bad(p, s->line, err,
                   "restart: nothing kills \"%s\", so it never comes back; add a kill before it",
                   name);
    if (!before)
        return bad(p, s->line, err,
                   "restart: \"%s\" is killed only after this moment; exchange the times", name);
    return FL_OK;
}

static int check_step(const struct plan *p, const struct plan_step *s, struct fl_errmsg *err)
{
    const struct plan_step_info *k = plan_step_info(plan_step_kind(s));

    if ((unsigned)s->when > PLAN_AT_TIME || k == NULL)
        return bad(p, s->line, err, "step with an unknown trigger or action");
    if (s->when == PLAN_AT_SITE) {
        if (s->node >= p->node_count)
            return bad(p, s->line, err, "event: there is no such node");
        if (fl_site_info((enum fl_site)s->site) == NULL)
            return bad(p, s->line, err, "event: there is no such site; `farline list sites`");
        if (s->nth == 0)
            return bad(p, s->line, err, "event: the first passing has number 1, not 0");
    }
    if (s->target >= p->node_count)
        return bad(p, s->line, err, "%s: there is no such node", k->name);
    if (k->pair && (s->target2 >= p->node_count || s->target2 == s->target))
        return bad(p, s->line, err, "%s needs two different nodes", k->name);
    if (s->when == PLAN_AT_TIME && s->at_ns > p->run_deadline_ns)
        return bad(p, s->line, err, "step lies after the run's deadline, so it would never happen");
    if (s->draw != 0 &&
        (s->when == PLAN_AT_START || s->to <= (s->when == PLAN_AT_SITE ? s->nth : s->at_ns)))
        return bad(p, s->line, err,
                   "the moment is drawn from a range whose end does not lie after its start");
    if (s->when == PLAN_AT_TIME && s->draw != 0 && s->to > p->run_deadline_ns)
        return bad(p, s->line, err, "step may lie after the run's deadline; shorten the range");
    if (s->action == PLAN_SLOTS_FULL && p->nodes[s->target].role != PLAN_COMPUTE)
        return bad(p, s->line, err, "fill_slots: \"%s\" is a memory node; name a compute node",
                   p->nodes[s->target].name);
    int rc = check_step_options(p, s, k, err);
    return rc == FL_OK && s->action == PLAN_RESTART ? check_restart(p, s, err) : rc;
}

static bool metric_ok(const char *m)
{
    size_t n = strnlen(m, sizeof(((struct plan_expect *)0)->metric));
    bool word = false;

    if (n == 0 || n >= sizeof(((struct plan_expect *)0)->metric))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (m[i] == '.' && !word)
            return false;
        if (m[i] != '.' && m[i] != '_' && !isalnum((unsigned char)m[i]))
            return false;
        word = m[i] != '.';
    }
    return word;
}

static int check_judgement(const struct plan *p, struct fl_errmsg *err)
{
    for (int i = 0; i < p->expect_count; i++) {
        const struct plan_expect *e = &p->expects[i];

        if (!metric_ok(e->metric))
            return bad(p, e->line, err,
                       "expect: \"%.63s\" is not the name of a figure; names look like "
                       "\"evictions\", \"c0.misses\", \"close.heap\"",
                       e->metric);
        if ((unsigned)e->cmp > PLAN_GE)
            return bad(p, e->line, err, "expect \"%s\": unknown comparison", e->metric);
        if (e->text[0] != '\0' && e->cmp != PLAN_EQ && e->cmp != PLAN_NE)
            return bad(p, e->line, err, "expect \"%s\": words can only be equal or not", e->metric);
    }
    for (int i = 0; i < p->check_count; i++) {
        if (!plan_check_known(p->checks[i]))
            return bad(p, 0, err, "check: there is no invariant \"%.7s\"; known are W1 to W9",
                       p->checks[i]);
        for (int j = 0; j < i; j++)
            if (strcmp(p->checks[i], p->checks[j]) == 0)
                return bad(p, 0, err, "check: \"%s\" is listed twice", p->checks[i]);
        if (strcmp(p->checks[i], "W9") == 0 && !p->same_image)
            return bad(p, 0, err,
                       "check: W9 compares the images of variants; add same_image() and "
                       "at least two variants");
    }
    return FL_OK;
}

static int check_plain(const struct plan *p, struct fl_errmsg *err)
{
    int rc;

    if ((rc = check_counts(p, err)) != FL_OK || (rc = check_run(p, err)) != FL_OK ||
        (rc = check_nodes(p, err)) != FL_OK || (rc = check_links(p, err)) != FL_OK ||
        (rc = check_regions(p, err)) != FL_OK || (rc = check_pools(p, err)) != FL_OK)
        return rc;
    for (int i = 0; i < p->workload_count; i++)
        if ((rc = check_workload(p, i, err)) != FL_OK)
            return rc;
    if ((rc = check_capacity(p, err)) != FL_OK)
        return rc;
    for (int i = 0; i < p->step_count; i++)
        if ((rc = check_step(p, &p->steps[i], err)) != FL_OK)
            return rc;
    return check_judgement(p, err);
}

static int check_variants(const struct plan *p, struct fl_errmsg *err)
{
    int rc = FL_OK;

    if (p->variant_count == 0)
        return p->same_image ? bad(p, 0, err, "same_image() compares variants; there is none")
                             : FL_OK;
    if (p->same_image && p->variant_count < 2)
        return bad(p, 0, err, "same_image() needs at least two variants");
    struct plan *v = malloc(sizeof(*v));
    if (v == NULL)
        return fl_fail(err, FL_ENOMEM, "no memory to check variants");
    for (int i = 0; i < p->variant_count && rc == FL_OK; i++) {
        const char *name = p->variants[i].name;

        if (!plan_name_ok(name))
            rc = bad(p, 0, err, "\"%.31s\" cannot be the name of a variant", name);
        for (int j = 0; j < i && rc == FL_OK; j++)
            if (strcmp(name, p->variants[j].name) == 0)
                rc = bad(p, 0, err, "variant \"%s\" is defined twice", name);
        if (rc == FL_OK && plan_variant_apply(p, i, v, err) != FL_OK)
            rc = fl_wrap(err, FL_EINVAL, "%.100s", p->file);
        struct fl_errmsg why;
        if (rc == FL_OK && check_plain(v, &why) != FL_OK)
            rc = fl_fail(err, FL_EINVAL, "%.440s (in variant \"%s\")", why.text, name);
    }
    free(v);
    return rc;
}

int plan_validate(const struct plan *p, struct fl_errmsg *err)
{
    int rc = check_plain(p, err);

    return rc != FL_OK ? rc : check_variants(p, err);
}
