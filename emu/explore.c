/* SPDX-License-Identifier: Apache-2.0 */
/* Depth-first search over everything that can happen. */
#include "emu/explore.h"

#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/explore_env.h"

enum { DEPTH_MAX = 4000 };

/* --- set of visited states: hashes in an open table ------------------------------------------- */

struct seen {
    uint64_t *at, count, mask;
};

static bool seen_new(struct seen *v, uint64_t states_max)
{
    uint64_t n = 1024;

    while (n < 2 * states_max) {
        n *= 2;
    }
    *v = (struct seen){.at = calloc(n, sizeof(uint64_t)), .mask = n - 1};
    return v->at != NULL;
}

/* True when the hash is new. */
static bool seen_add(struct seen *v, uint64_t h)
{
    uint64_t i;

    h += h == 0;
    for (i = h & v->mask; v->at[i] != 0; i = (i + 1) & v->mask) {
        if (v->at[i] == h) {
            return false;
        }
    }
    v->at[i] = h;
    v->count++;
    return true;
}

/* --- search ----------------------------------------------------------------------------------- */

struct frame {
    struct xw_state *state;
    struct xw_action actions[XW_ACTIONS];
    uint32_t count, next;
};

struct search {
    struct xw x;
    struct seen seen;
    struct frame *stack; /* DEPTH_MAX */
    uint32_t depth, depth_max;
    uint64_t transitions;
    struct xw_state *scratch;
    bool cut;
};

struct xw_state *xw_state_new(const struct xw *x)
{
    struct xw_state *s = aligned_alloc(64, x->size);

    if (s != NULL) {
        memset(s, 0, x->size);
    }
    return s;
}

static void search_free(struct search *q)
{
    for (uint32_t i = 0; q->stack != NULL && i < DEPTH_MAX; i++) {
        free(q->stack[i].state);
    }
    free(q->stack);
    free(q->scratch);
    free(q->seen.at);
}

/* Puts the state of the new top frame to work: counts its actions, checks an end. */
static void enter(struct search *q)
{
    struct frame *f = &q->stack[q->depth];

    f->next = 0;
    f->count = xw_actions(&q->x, f->state, f->actions);
    if (f->count == 0) {
        xw_check_end(&q->x, f->state);
    }
    q->depth_max = q->depth > q->depth_max ? q->depth : q->depth_max;
}

static int search_new(struct search *q, const struct xw_cfg *cfg)
{
    struct fl_errmsg err;

    memset(q, 0, sizeof *q);
    FL_ASSERT(xw_init(&q->x, cfg, &err) == FL_OK);
    q->stack = calloc(DEPTH_MAX, sizeof q->stack[0]);
    q->scratch = xw_state_new(&q->x);
    if (!seen_new(&q->seen, cfg->states_max) || q->stack == NULL || q->scratch == NULL) {
        return FL_ENOMEM;
    }
    return FL_OK;
}

/* The next transition; false when the search is over. */
static int advance(struct search *q, bool *ret_more)
{
    struct frame *f = &q->stack[q->depth], *g = f + 1;

    *ret_more = true;
    if (f->next == f->count) {
        *ret_more = q->depth > 0;
        q->depth -= q->depth > 0;
        return FL_OK;
    }
    if (q->depth + 1 == DEPTH_MAX || q->seen.count >= q->x.cfg.states_max) {
        q->cut = true;
        f->next = f->count;
        return FL_OK;
    }
    if (g->state == NULL && (g->state = xw_state_new(&q->x)) == NULL) {
        return FL_ENOMEM;
    }
    memcpy(g->state, f->state, q->x.size);
    xw_apply(&q->x, g->state, f->actions[f->next++]);
    q->transitions++;
    if (q->x.violated || seen_add(&q->seen, xw_hash(&q->x, g->state, q->scratch))) {
        q->depth++;
        enter(q);
    }
    return FL_OK;
}

static void print_path(struct search *q, FILE *out)
{
    char text[256];

    for (uint32_t i = 0; i < q->depth; i++) {
        struct frame *f = &q->stack[i];

        xw_describe(&q->x, f->state, f->actions[f->next - 1], text, sizeof text);
        fprintf(out, "    %3u  %s\n", i + 1, text);
    }
}

static void print_budget(const struct xw_cfg *c, FILE *out)
{
    const struct xw_budget *b = &c->budget;

    fprintf(out,
            "%s: %s path, T=%u, dclb %u, %s tracker\n"
            "  at most %u stores, %u loads, %u errors, %u duplicates, %u refusals, %u pressure, "
            "%u samples, %u deadlines, %u crashes, %u close\n",
            c->name, c->path == WB_LOG ? "log" : "direct", c->threshold, c->dclb_lines,
            c->exact ? "exact" : "sampling", b->stores, b->loads, b->errors, b->dups, b->refusals,
            b->pressure, b->samples, b->deadlines, b->crashes, b->closes);
}

void xw_collect(struct explore_result *r, const struct xw *x)
{
    for (int i = 0; i < WB_ROW_COUNT; i++) {
        r->rows[i] += x->rows[i];
    }
    if (x->violated && !r->violated) {
        r->violated = true;
        memcpy(r->check, x->check, sizeof r->check);
        memcpy(r->what, x->what, sizeof r->what);
    }
}

/* Opening has its own configuration; the others begin with an open region. */
static void skip_open(struct search *q)
{
    struct xw_state *s = q->stack[0].state;
    struct xw_action a[XW_ACTIONS];

    while (q->x.cfg.skip_open && (s->open == 0 || s->op_count > 0)) {
        FL_ASSERT(xw_actions(&q->x, s, a) > 0 && (a[0].kind == XW_A_OK || a[0].kind == XW_A_MSG));
        xw_apply(&q->x, s, a[0]);
    }
}

static int explore_one(const struct xw_cfg *cfg, FILE *out, struct explore_result *r)
{
    struct search q;
    bool more = true;
    int rc = search_new(&q, cfg);

    if (rc == FL_OK && (q.stack[0].state = xw_state_new(&q.x)) == NULL) {
        rc = FL_ENOMEM;
    }
    if (rc == FL_OK) {
        xw_start(&q.x, q.stack[0].state);
        skip_open(&q);
        seen_add(&q.seen, xw_hash(&q.x, q.stack[0].state, q.scratch));
        enter(&q);
    }
    while (rc == FL_OK && more && !q.x.violated) {
        rc = advance(&q, &more);
    }
    xw_collect(r, &q.x);
    r->configs++;
    r->complete += rc == FL_OK && !q.cut && !q.x.violated;
    r->states += q.seen.count;
    r->transitions += q.transitions;
    if (out != NULL) {
        print_budget(cfg, out);
        fprintf(out, "  %llu states, %llu transitions, depth %u, %s\n",
                (unsigned long long)q.seen.count, (unsigned long long)q.transitions, q.depth_max,
                q.x.violated ? "violated"
                : q.cut      ? "cut"
                             : "complete");
        if (q.x.violated) {
            fprintf(out, "  %s: %s\n", q.x.check, q.x.what);
            print_path(&q, out);
        }
    }
    search_free(&q);
    return rc;
}

static void print_rows(const struct explore_result *r, FILE *out)
{
    for (int i = 0; i < WB_ROW_COUNT; i++) {
        const struct wb_row_info *w = wb_row_info((enum wb_row)i);

        fprintf(out, "  %-7s %-10s %-50s %-10s %llu\n", w->id,
                w->region ? wb_region_state_name((enum wb_region_state)w->from)
                          : wb_page_state_name((enum wb_page_state)w->from),
                w->event,
                w->region ? wb_region_state_name((enum wb_region_state)w->to)
                          : wb_page_state_name((enum wb_page_state)w->to),
                (unsigned long long)r->rows[i]);
    }
}

/* Planted bugs that no configuration can show. tests/sim/test_explore_plants.c finds the others. */
static const char *const hidden[FL_PLANT_COUNT] = {
    [FL_PLANT_NO_RECORD] = "no node dies within a step, and no pool outlives its node",
    [FL_PLANT_NEIGHBOUR] = "the mistake is in a node's spans of bytes; a write has lines here",
};

const char *emu_explore_hides(enum fl_plant x)
{
    return (unsigned)x < FL_PLANT_COUNT ? hidden[x] : NULL;
}

static void print_hidden(const struct fl_plants *plants, FILE *out)
{
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        if (fl_planted(plants, (enum fl_plant)i) && hidden[i] != NULL) {
            fprintf(out, "%s cannot show here: %s\n", fl_plant_info((enum fl_plant)i)->id,
                    hidden[i]);
        }
    }
}

/* Which configurations: all of them; without the large ones; the one of a name. */
struct choice {
    bool quick;
    const char *name;
};

static bool chosen(const struct choice *h, const struct xw_cfg *c)
{
    return !(h->quick && c->large) && (h->name == NULL || strcmp(h->name, c->name) == 0);
}

static int explore_chosen(const struct choice *h, const struct fl_plants *plants, FILE *out,
                          struct explore_result *ret)
{
    int rc = FL_OK;

    memset(ret, 0, sizeof *ret);
    if (out != NULL) {
        print_hidden(plants, out);
    }
    for (int i = 0; rc == FL_OK && i < xw_config_count && !ret->violated; i++) {
        struct xw_cfg c = xw_config(i);

        if (!chosen(h, &c)) {
            continue;
        }
        c.plants = *plants;
        ret->config = c.name;
        rc = explore_one(&c, out, ret);
    }
    for (int i = 0; i < WB_ROW_COUNT; i++) {
        ret->rows_missing += ret->rows[i] == 0;
    }
    if (out != NULL) {
        print_rows(ret, out);
        fprintf(out,
                "%llu states, %llu transitions, %u of %u configurations complete, "
                "%u rows never taken, %s\n",
                (unsigned long long)ret->states, (unsigned long long)ret->transitions,
                ret->complete, ret->configs, ret->rows_missing,
                ret->violated ? "violated" : "held");
    }
    return rc;
}

static bool known(const char *mechanism)
{
    return strcmp(mechanism, "writeback") == 0;
}

int emu_explore(const char *mechanism, const struct fl_plants *plants, FILE *out,
                struct explore_result *ret)
{
    memset(ret, 0, sizeof *ret);
    return known(mechanism) ? explore_chosen(&(struct choice){0}, plants, out, ret) : FL_EINVAL;
}

int emu_explore_quick(const char *mechanism, const struct fl_plants *plants, FILE *out,
                      struct explore_result *ret)
{
    memset(ret, 0, sizeof *ret);
    return known(mechanism) ? explore_chosen(&(struct choice){.quick = true}, plants, out, ret)
                            : FL_EINVAL;
}

int emu_explore_config(const char *name, const struct fl_plants *plants, FILE *out,
                       struct explore_result *ret)
{
    int rc = explore_chosen(&(struct choice){.name = name}, plants, out, ret);

    return rc == FL_OK && ret->configs == 0 ? FL_EINVAL : rc;
}
