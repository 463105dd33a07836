/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated run found: the final compare with the memory nodes' own memory, figures, checks,
 * digests. */
#include <stdio.h>
#include <string.h>

#include "emu/image.h"
#include "emu/world_sim.h"

static bool alive(const struct ws_node *n)
{
    return !n->dead && !n->paused;
}

/* --- final compare -------------------------------------------------------------------------- */

static void compare_chunk(struct ws *w, uint16_t region, uint32_t first, const struct plan_chunk *k,
                          struct emu_image *img)
{
    struct ws_node *on = &w->nodes[w->p->regions[region].on];
    struct oracle *o = emu_node_oracle(on->node);
    const struct ws_region *g = &w->regions[region];
    uint32_t pages = 0;
    const uint8_t *mem = emu_node_chunk(w->nodes[k->node].node, k->chunk, &pages);
    if (!alive(&w->nodes[k->node]) || !mem || pages < k->page_count) {
        emu_image_add_lost(img, k->page_count);
        return;
    }
    /* A close that failed has said that the image is not the application's. */
    bool expect = o && alive(on) && on->done && g->close_asked && !g->close_status;
    /* The application is gone, or its memory node came back: what was acknowledged is there. */
    bool crash = o && on->record && !expect && (on->dead || w->nodes[k->node].incarnation > 1) &&
                 !w->nodes[k->node].blank;
    bool programs = ws_has_programs(w->p);
    for (uint32_t i = 0; i < k->page_count; i++) {
        const uint8_t *page = mem + (size_t)i * FL_PAGE_BYTES;
        if (!programs) /* they leave pointers */
            emu_image_add(img, emu_image_page(page));
        if (expect)
            oracle_compare(o, region, first + i, page);
        if (crash)
            on->lost_lines += oracle_crash_page(o, region, first + i, page);
    }
}

static void compare_all(struct ws *w)
{
    struct emu_image img = {0};
    for (uint16_t r = 0; r < w->p->region_count; r++) {
        uint32_t first = 0;
        for (uint16_t c = 0; c < w->p->regions[r].chunk_count; c++) {
            const struct plan_chunk *k = &w->p->regions[r].chunks[c];
            compare_chunk(w, r, first, k, &img);
            first += k->page_count;
        }
    }
    w->r->image_digest = img.digest;
}

/* --- figures -------------------------------------------------------------------------------- */

struct sums {
    struct ws_node *n;
    double posted, arrived, errors;
};

static void add_metric(void *arg, const char *name, double value)
{
    struct sums *s = arg;
    const struct plan_node *pn = &s->n->w->p->nodes[s->n->idx];
    char full[64];
    snprintf(full, sizeof full, "%s.%.30s", pn->name, name);
    result_metric(s->n->w->r, full, value);
    if (pn->role == PLAN_COMPUTE && strcmp(name, "bytes_posted") == 0)
        s->posted += value;
    if (pn->role == PLAN_MEMORY && strcmp(name, "bytes_arrived") == 0)
        s->arrived += value;
    if (strcmp(name, "op_errors") == 0 || strcmp(name, "fences") == 0)
        s->errors += value;
}

static void text_metric(struct ws *w, const char *what, const char *name, int status)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%.31s", what, name);
    result_metric_text(w->r, key, fl_errname(status));
}

static void report_regions(struct ws *w)
{
    for (uint16_t r = 0; r < w->p->region_count; r++) {
        const struct ws_region *g = &w->regions[r];
        const char *name = w->p->regions[r].name;
        char key[64];
        if (w->nodes[w->p->regions[r].on].dead)
            continue; /* nobody was told anything */
        text_metric(w, "open", name, g->open_status);
        text_metric(w, "access", name, g->access_status);
        if (!g->close_asked)
            continue;
        text_metric(w, "close", name, g->close_status);
        snprintf(key, sizeof key, "close_ns.%.31s", name);
        result_metric(w->r, key, (double)g->close_ns);
    }
}

static void report_workloads(struct ws *w)
{
    for (uint16_t i = 0; i < w->p->workload_count; i++) {
        int status = FL_OK;
        for (uint32_t t = 0; t < w->thread_count; t++)
            if (w->threads[t].workload == i && status == FL_OK)
                status = w->threads[t].status;
        text_metric(w, "error", w->p->workloads[i].name, status);
    }
}

static void report_crash(struct sums *s)
{
    struct ws_node *n = s->n;
    add_metric(s, "lost_lines", (double)n->lost_lines);
    add_metric(s, "lost_bytes", (double)n->lost_lines * FL_LINE_BYTES);
    if (emu_node_oracle(n->node))
        oracle_report(emu_node_oracle(n->node), n->w->r);
}

static void report_nodes(struct ws *w, struct sums *s)
{
    for (uint16_t i = 0; i < w->p->node_count; i++) {
        struct ws_node *n = &w->nodes[i];
        struct result_node *rn = &w->r->nodes[i];
        bool compute = w->p->nodes[i].role == PLAN_COMPUTE;
        memset(rn, 0, sizeof *rn);
        snprintf(rn->name, sizeof rn->name, "%s", w->p->nodes[i].name);
        snprintf(rn->role, sizeof rn->role, "%s", compute ? "compute" : "memory");
        s->n = n;
        if (n->dead && compute && n->record) /* nobody else can tell what its end has cost */
            report_crash(s);
        if (n->dead)
            continue; /* as a killed process, it reports nothing */
        emu_node_metrics(n->node, add_metric, s);
        if (compute) {
            add_metric(s, "accesses", (double)n->accesses);
            add_metric(s, "access_errors", (double)n->access_errors);
        }
        if (emu_node_oracle(n->node))
            oracle_report(emu_node_oracle(n->node), w->r);
    }
    w->r->node_count = w->p->node_count;
}

void ws_final(struct ws *w)
{
    struct sums s = {0};
    ws_steps_count(w);
    compare_all(w);
    report_nodes(w, &s);
    report_regions(w);
    report_workloads(w);
    for (size_t i = 0; i < w->r->check_count; i++)
        result_first_rebase(&w->r->checks[i].what, w->t0_ns);
    ws_coro_report(w);
    /* What left the compute nodes has to have arrived, unless something was meant to go wrong. */
    if (w->p->step_count == 0 && s.errors < 1)
        oracle_cross_bytes(w->p, w->r, (uint64_t)s.posted, (uint64_t)s.arrived);
    /* Without a fault in the plan every access and every close has to succeed. */
    if (w->p->step_count == 0 && w->trouble[0] && !w->r->timed_out) {
        w->r->node_failed = true;
        snprintf(w->r->why, sizeof w->r->why, "%s", w->trouble);
    }
    w->r->trace_hash = fl_trace_hash(w->trace);
}
