/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/shrink.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/clock.h"
#include "emu/plan_steps.h"
#include "emu/swarm.h"

struct job {
    struct shrink *s;
    struct plan *best, *trial;
    uint64_t end_ns;
    bool smaller; /* since this was last cleared */
};

static bool spent(const struct job *j)
{
    return j->s->runs >= j->s->runs_max || emu_interrupted || fl_clock_ns() > j->end_ns;
}

static bool fails(struct job *j, const struct plan *p)
{
    const struct run_opts o = {.fabric = "sim", .tracker = j->s->tracker, .quiet = true};
    struct fl_errmsg err;
    struct result *r = result_new();

    j->s->runs++;
    bool bad = r != NULL && emu_run_sim(p, &o, r, &err) == FL_OK && swarm_failed(p, r, j->s->key);
    result_free(&r);
    return bad;
}

/** Keeps the trial when it is a plan and fails in the same way. */
static bool keep_if(struct job *j)
{
    struct fl_errmsg err;

    if (spent(j) || plan_validate(j->trial, &err) != FL_OK || !fails(j, j->trial))
        return false;
    *j->best = *j->trial;
    j->smaller = true;
    return true;
}

/* --- steps: ddmin --------------------------------------------------------------------------- */

static bool without_steps(struct job *j, uint16_t first, uint16_t count)
{
    struct plan *t = j->trial;

    *t = *j->best;
    uint16_t rest = (uint16_t)(t->step_count - first - count);
    memmove(&t->steps[first], &t->steps[first + count], rest * sizeof(t->steps[0]));
    memset(&t->steps[first + rest], 0, count * sizeof(t->steps[0]));
    t->step_count = (uint16_t)(t->step_count - count);
    return keep_if(j);
}

static void shrink_steps(struct job *j)
{
    uint16_t size = j->best->step_count;

    while (size > 0 && !spent(j)) {
        bool any = false;
        for (uint16_t at = 0; at < j->best->step_count;) {
            uint16_t left = (uint16_t)(j->best->step_count - at);
            if (without_steps(j, at, size < left ? size : left))
                any = true; /* what follows is now here */
            else
                at = (uint16_t)(at + size);
        }
        if (!any || size > j->best->step_count)
            size /= 2;
    }
}

/* --- work ----------------------------------------------------------------------------------- */

static bool without_workload(struct job *j, uint16_t i)
{
    struct plan *t = j->trial;

    *t = *j->best;
    t->workload_count--;
    memmove(&t->workloads[i], &t->workloads[i + 1],
            (size_t)(t->workload_count - i) * sizeof(t->workloads[0]));
    memset(&t->workloads[t->workload_count], 0, sizeof(t->workloads[0]));
    return keep_if(j);
}

static void shrink_ops(struct job *j, uint16_t i)
{
    uint64_t low = 0; /* so few do not fail */

    while (j->best->workloads[i].ops - low > 1 && !spent(j)) {
        *j->trial = *j->best;
        uint64_t mid = low + (j->best->workloads[i].ops - low) / 2;
        j->trial->workloads[i].ops = mid;
        if (!keep_if(j))
            low = mid;
    }
}

static void shrink_work(struct job *j)
{
    for (uint16_t i = j->best->workload_count; i-- > 0 && j->best->workload_count > 1;)
        (void)without_workload(j, i);
    for (uint16_t i = 0; i < j->best->workload_count; i++) {
        for (uint32_t n = 1; n < j->best->workloads[i].threads && !spent(j); n *= 2) {
            *j->trial = *j->best;
            j->trial->workloads[i].threads = n;
            if (keep_if(j))
                break;
        }
        shrink_ops(j, i);
    }
}

/* --- regions and nodes ---------------------------------------------------------------------- */

/** A region without work goes, and all that names a later one is renumbered. */
static bool without_region(struct job *j, uint16_t i)
{
    struct plan *t = j->trial;

    *t = *j->best;
    for (uint16_t k = 0; k < t->workload_count; k++) {
        if (t->workloads[k].region == i)
            return false;
        t->workloads[k].region = (uint16_t)(t->workloads[k].region - (t->workloads[k].region > i));
    }
    t->region_count--;
    memmove(&t->regions[i], &t->regions[i + 1],
            (size_t)(t->region_count - i) * sizeof(t->regions[0]));
    memset(&t->regions[t->region_count], 0, sizeof(t->regions[0]));
    return keep_if(j);
}

static bool node_is_used(const struct plan *p, uint16_t i)
{
    for (uint16_t k = 0; k < p->region_count; k++) {
        if (p->regions[k].on == i)
            return true;
        for (uint16_t c = 0; c < p->regions[k].chunk_count; c++)
            if (p->regions[k].chunks[c].node == i)
                return true;
    }
    for (uint16_t k = 0; k < p->step_count; k++) {
        const struct plan_step *s = &p->steps[k];
        const struct plan_step_info *info = plan_step_info(plan_step_kind(s));
        bool pair = info != NULL && info->pair;
        if (s->target == i || (pair && s->target2 == i) ||
            (s->when == PLAN_AT_SITE && s->node == i))
            return true;
    }
    return false;
}

static void lower(uint16_t *id, uint16_t gone)
{
    *id = (uint16_t)(*id - (*id > gone));
}

static void renumber(struct plan *p, uint16_t gone)
{
    uint16_t kept = 0;

    for (uint16_t k = 0; k < p->link_count; k++)
        if (p->links[k].a != gone && p->links[k].b != gone)
            p->links[kept++] = p->links[k];
    memset(&p->links[kept], 0, (size_t)(p->link_count - kept) * sizeof(p->links[0]));
    p->link_count = kept;
    for (uint16_t k = 0; k < p->link_count; k++) {
        lower(&p->links[k].a, gone);
        lower(&p->links[k].b, gone);
    }
    for (uint16_t k = 0; k < p->region_count; k++) {
        lower(&p->regions[k].on, gone);
        for (uint16_t c = 0; c < p->regions[k].chunk_count; c++)
            lower(&p->regions[k].chunks[c].node, gone);
    }
    for (uint16_t k = 0; k < p->step_count; k++) {
        lower(&p->steps[k].node, gone);
        lower(&p->steps[k].target, gone);
        lower(&p->steps[k].target2, gone);
    }
}

static bool without_node(struct job *j, uint16_t i)
{
    struct plan *t = j->trial;

    if (node_is_used(j->best, i))
        return false;
    *t = *j->best;
    t->node_count--;
    memmove(&t->nodes[i], &t->nodes[i + 1], (size_t)(t->node_count - i) * sizeof(t->nodes[0]));
    memset(&t->nodes[t->node_count], 0, sizeof(t->nodes[0]));
    renumber(t, i);
    return keep_if(j);
}

/** The pages of the last chunk go; pages before it keep their places. */
static bool without_chunk(struct job *j, uint16_t region)
{
    struct plan *t = j->trial;

    *t = *j->best;
    struct plan_region *r = &t->regions[region];
    if (r->chunk_count < 2)
        return false;
    r->chunk_count--;
    r->size_bytes -= (uint64_t)r->chunks[r->chunk_count].page_count * FL_PAGE_BYTES;
    memset(&r->chunks[r->chunk_count], 0, sizeof(r->chunks[0]));
    for (uint16_t k = 0; k < t->workload_count; k++)
        if (t->workloads[k].region == region && t->workloads[k].span_bytes > r->size_bytes)
            t->workloads[k].span_bytes = r->size_bytes;
    return keep_if(j);
}

static void shrink_places(struct job *j)
{
    for (uint16_t i = j->best->region_count; i-- > 0 && j->best->region_count > 1;)
        (void)without_region(j, i);
    for (uint16_t i = 0; i < j->best->region_count; i++)
        while (without_chunk(j, i))
            ;
    for (uint16_t i = j->best->node_count; i-- > 0;)
        (void)without_node(j, i);
}

/* --- the whole ------------------------------------------------------------------------------ */

int shrink_plan(struct plan *p, struct shrink *s, struct fl_errmsg *err)
{
    struct job j = {.s = s, .best = p, .trial = malloc(sizeof(*p))};

    s->runs = 0;
    j.end_ns = fl_clock_ns() + s->wall_ns;
    if (j.trial == NULL)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    if (!fails(&j, p)) {
        free(j.trial);
        return fl_fail(err, FL_EINVAL, "%s does not fail in a run of this plan", s->key);
    }
    do { /* what one pass removes can make room for the next */
        j.smaller = false;
        shrink_steps(&j);
        shrink_work(&j);
        shrink_places(&j);
    } while (j.smaller && !spent(&j));
    free(j.trial);
    return FL_OK;
}

static void add(char *ret, size_t size, uint64_t a, uint64_t b, const char *what)
{
    size_t len = strlen(ret);

    if (a != b && len < size)
        snprintf(ret + len, size - len, "%s%" PRIu64 " %s to %" PRIu64, len > 0 ? ", " : "", a,
                 what, b);
}

struct sums {
    uint64_t ops, threads, pages;
};

static struct sums sums_of(const struct plan *p)
{
    struct sums s = {0, 0, 0};

    for (uint16_t i = 0; i < p->workload_count; i++) {
        s.ops += p->workloads[i].ops;
        s.threads += p->workloads[i].threads;
    }
    for (uint16_t i = 0; i < p->region_count; i++)
        s.pages += p->regions[i].size_bytes / FL_PAGE_BYTES;
    return s;
}

void shrink_describe(const struct plan *before, const struct plan *after, char *ret, size_t size)
{
    struct sums a = sums_of(before), b = sums_of(after);

    ret[0] = '\0';
    add(ret, size, before->step_count, after->step_count, "steps");
    add(ret, size, a.ops, b.ops, "accesses");
    add(ret, size, a.threads, b.threads, "threads");
    add(ret, size, before->workload_count, after->workload_count, "workloads");
    add(ret, size, a.pages, b.pages, "pages");
    add(ret, size, before->region_count, after->region_count, "regions");
    add(ret, size, before->node_count, after->node_count, "nodes");
    if (ret[0] == '\0')
        snprintf(ret, size, "nothing could be removed");
}
