/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/swarm.h"

#include <stdio.h>
#include <string.h>

#include "emu/base/rng.h"
#include "emu/base/sites.h"

enum {
    FAULTS_MAX = 4,      /* drawn in one run; a cut of both ways counts once */
    QUIET_ONE_IN = 5,    /* seeds without any */
    RETRIES = 20,        /* with short deadlines, so that healed cuts are survived */
    OWN_STREAM = 0xfffe, /* no node has this id */
};

static const enum fl_site compute_sites[] = {
    FL_SITE_MISS,      FL_SITE_FETCH_POST,    FL_SITE_PAGE_FETCHED,  FL_SITE_DIRTY,
    FL_SITE_COARSEN,   FL_SITE_DCLB_OVERFLOW, FL_SITE_PERIOD,        FL_SITE_FLUSH_GATE,
    FL_SITE_SNAP,      FL_SITE_FLUSH_POST,    FL_SITE_FLUSH_ACK,     FL_SITE_FLUSH_FAIL,
    FL_SITE_EVICT,     FL_SITE_PAGE_DROP,     FL_SITE_FENCE_POST,    FL_SITE_FENCE_DONE,
    FL_SITE_PEER_LOST, FL_SITE_REGION_OPEN,   FL_SITE_REGION_CLOSING};
static const enum fl_site memory_sites[] = {FL_SITE_LEASE, FL_SITE_LOG_RX, FL_SITE_LOG_COMMIT,
                                            FL_SITE_LOG_APPLY, FL_SITE_LOG_STALE};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- drawing -------------------------------------------------------------------------------- */

struct draw {
    struct plan *p;
    struct fl_rng g;
    uint64_t storm_ns, storm_len_ns; /* faults at times lie in here: the rest is quiet */
    bool cut_for_good;               /* no later heal may bring back one half of it */
};

static uint64_t pick(struct draw *d, uint64_t lo, uint64_t hi)
{
    return lo + fl_rng_below(&d->g, hi - lo + 1);
}

/** Between @lo and @hi, each power of two as likely as the next. */
static uint64_t pick_log(struct draw *d, uint64_t lo, uint64_t hi)
{
    unsigned steps = 0;

    while (steps < 62 && lo << (steps + 1) <= hi)
        steps++;
    uint64_t from = lo << fl_rng_below(&d->g, steps + 1);
    uint64_t to = 2 * from - 1 < hi ? 2 * from - 1 : hi;
    return pick(d, from, to < from ? from : to);
}

void swarm_drop_check(struct plan *p, const char *id)
{
    for (uint16_t i = 0; i < p->check_count; i++)
        if (strcmp(p->checks[i], id) == 0) {
            p->check_count--;
            memmove(p->checks[i], p->checks[i + 1],
                    (size_t)(p->check_count - i) * sizeof(p->checks[0]));
            memset(p->checks[p->check_count], 0, sizeof(p->checks[0]));
            return;
        }
}

/** A compute node and a memory node that work for one region. */
static void pick_pair(struct draw *d, uint16_t *ret_c, uint16_t *ret_m)
{
    const struct plan_region *r = &d->p->regions[fl_rng_below(&d->g, d->p->region_count)];

    *ret_c = r->on;
    *ret_m = r->chunks[fl_rng_below(&d->g, r->chunk_count)].node;
}

static void pick_site(struct draw *d, struct plan_step *s)
{
    uint16_t c, m;

    pick_pair(d, &c, &m);
    bool memory = fl_rng_chance(&d->g, 1, 4);
    s->when = PLAN_AT_SITE;
    s->node = memory ? m : c;
    s->site = (uint16_t)(memory ? memory_sites[fl_rng_below(&d->g, COUNT(memory_sites))]
                                : compute_sites[fl_rng_below(&d->g, COUNT(compute_sites))]);
    s->nth = pick_log(d, 1, 500);
}

static void pick_when(struct draw *d, struct plan_step *s)
{
    if (fl_rng_chance(&d->g, 2, 3)) {
        pick_site(d, s);
        return;
    }
    s->when = PLAN_AT_TIME;
    s->at_ns = d->storm_ns + fl_rng_below(&d->g, d->storm_len_ns);
    if (s->at_ns > d->p->run_deadline_ns / 2)
        s->at_ns = d->p->run_deadline_ns / 2;
}

/** How long a pause or cut lasts: sometimes beyond the heartbeat bound, never beyond the run. */
static uint64_t pick_length(struct draw *d)
{
    uint64_t max = 2 * d->p->heartbeat_miss_ns;

    if (max > d->p->run_deadline_ns / 8)
        max = d->p->run_deadline_ns / 8;
    return pick_log(d, 10 * FL_NS_PER_US, max > 20 * FL_NS_PER_US ? max : 20 * FL_NS_PER_US);
}

/** Undone after @len, sometimes by a step of its own. */
static void add_undo(struct draw *d, struct plan_step *s, enum plan_action undo, uint64_t len)
{
    if (s->when != PLAN_AT_TIME || d->p->step_count == PLAN_STEPS_MAX ||
        fl_rng_chance(&d->g, 1, 2)) {
        s->for_ns = len;
        return;
    }
    struct plan_step *u = &d->p->steps[d->p->step_count++];
    *u = *s;
    u->action = undo;
    u->at_ns += len;
}

static bool has_cut(const struct plan *p)
{
    for (uint16_t i = 0; i < p->step_count; i++)
        if (p->steps[i].action == PLAN_CUT)
            return true;
    return false;
}

static void add_cut(struct draw *d, struct plan_step s)
{
    uint16_t c, m;
    bool for_good = fl_rng_chance(&d->g, 1, 8) && !has_cut(d->p);
    bool both = for_good || fl_rng_chance(&d->g, 1, 3), to_c = fl_rng_chance(&d->g, 1, 2);
    uint64_t len = pick_length(d);

    pick_pair(d, &c, &m);
    if (d->cut_for_good)
        return;
    d->cut_for_good = for_good;
    for (int way = 0; way < (both ? 2 : 1) && d->p->step_count < PLAN_STEPS_MAX; way++) {
        struct plan_step *n = &d->p->steps[d->p->step_count++];
        *n = s;
        n->action = PLAN_CUT;
        n->target = to_c ? m : c;
        n->target2 = to_c ? c : m;
        to_c = !to_c;
        if (!for_good)
            add_undo(d, n, PLAN_HEAL, len);
    }
}

static void add_fault(struct draw *d, enum plan_action kind)
{
    struct plan_step s = {.for_ns = FL_NEVER, .action = kind};
    uint16_t c, m;

    pick_when(d, &s);
    if (kind == PLAN_CUT) {
        add_cut(d, s);
        return;
    }
    if (d->p->step_count == PLAN_STEPS_MAX)
        return;
    pick_pair(d, &c, &m);
    s.target = fl_rng_chance(&d->g, 1, kind == PLAN_KILL ? 8 : 3) ? c : m;
    struct plan_step *n = &d->p->steps[d->p->step_count++];
    *n = s;
    if (kind == PLAN_PAUSE)
        add_undo(d, n, PLAN_RESUME, pick_length(d));
}

/** Half of the seeds have deadlines that cuts and pauses outlast: then writes are sent again. */
static void draw_deadlines(struct draw *d)
{
    if (fl_rng_chance(&d->g, 1, 2))
        return;
    for (uint16_t i = 0; i < d->p->region_count; i++)
        d->p->regions[i].op_deadline_ns = pick(d, 2, 20) * FL_NS_PER_MS;
    for (uint16_t i = 0; i < d->p->node_count; i++)
        if (d->p->nodes[i].role == PLAN_COMPUTE && d->p->nodes[i].retry_max < RETRIES)
            d->p->nodes[i].retry_max = RETRIES;
}

static void draw_faults(struct draw *d)
{
    static const enum plan_action all[] = {PLAN_KILL, PLAN_PAUSE, PLAN_CUT};
    enum plan_action kinds[COUNT(all)];
    size_t kind_count = 0;

    if (fl_rng_chance(&d->g, 1, 4))
        kinds[kind_count++] = PLAN_KILL;
    if (fl_rng_chance(&d->g, 1, 2))
        kinds[kind_count++] = PLAN_PAUSE;
    if (fl_rng_chance(&d->g, 1, 2))
        kinds[kind_count++] = PLAN_CUT;
    if (kind_count == 0)
        kinds[kind_count++] = all[fl_rng_below(&d->g, COUNT(all))];
    draw_deadlines(d);
    d->storm_ns = pick_log(d, FL_NS_PER_US, 50 * FL_NS_PER_MS);
    d->storm_len_ns = pick_log(d, 10 * FL_NS_PER_US, 5 * FL_NS_PER_MS);
    for (uint64_t n = pick(d, 1, FAULTS_MAX); n > 0; n--)
        add_fault(d, kinds[fl_rng_below(&d->g, kind_count)]);
}

bool swarm_draw(const struct plan *base, uint64_t seed, struct plan *ret)
{
    struct draw d = {.p = ret};
    struct fl_errmsg err;

    if (base->variant_count == 0 ||
        plan_variant_apply(base, (int)(seed % base->variant_count), ret, &err) != FL_OK)
        *ret = *base;
    ret->seed = seed;
    plan_steps_draw(ret);
    fl_rng_init(&d.g, seed, OWN_STREAM, FL_RNG_FAULT, 0);
    if (ret->region_count == 0 || fl_rng_chance(&d.g, 1, QUIET_ONE_IN))
        return false;
    ret->expect_count = 0;
    memset(ret->expects, 0, sizeof(ret->expects));
    swarm_drop_check(ret, "W6");
    draw_faults(&d);
    return true;
}

bool swarm_either_way(unsigned kind)
{
    switch (kind < PLAN_FAULT ? TP_FAULT_COUNT : kind - PLAN_FAULT) {
    case TP_FAULT_DELAY:
    case TP_FAULT_RATE:
    case TP_FAULT_CLOG:
    case TP_FAULT_DUPLICATE:
    case TP_FAULT_REORDER:
    case TP_FAULT_DROP:
    case TP_FAULT_TRUNCATE:
    case TP_FAULT_CORRUPT:
        return true;
    default:
        return kind == PLAN_CUT || kind == PLAN_HEAL;
    }
}

/* --- judging -------------------------------------------------------------------------------- */

static bool requested(const struct plan *p, const char *id)
{
    for (int i = 0; i < p->check_count; i++)
        if (strcmp(p->checks[i], id) == 0)
            return true;
    return false;
}

bool swarm_failed(const struct plan *p, const struct result *r, const char *key)
{
    if (strcmp(key, "no-progress") == 0)
        return r->no_progress;
    if (strcmp(key, "deadline") == 0)
        return r->timed_out;
    if (strcmp(key, "node") == 0)
        return r->node_failed;
    for (size_t i = 0; i < r->check_count; i++)
        if (strcmp(r->checks[i].id, key) == 0)
            return r->checks[i].violated > 0 && requested(p, key);
    return false;
}

static void count(const struct plan *p, const struct result *r, struct pool_note *n)
{
    for (uint16_t i = 0; i < p->step_count && i < r->fault_count; i++) {
        unsigned kind = plan_step_kind(&p->steps[i]);

        n->asked[kind] += (uint32_t)r->faults[i].asked;
        n->fired[kind] += r->faults[i].fired > 0; /* a filter may hit often */
    }
    for (size_t i = 0; i < r->check_count; i++) {
        if (!requested(p, r->checks[i].id))
            continue;
        memcpy(n->checks[n->check_count].id, r->checks[i].id, sizeof(n->checks[0].id));
        n->checks[n->check_count].checked = r->checks[i].checked;
        n->checks[n->check_count++].violated = r->checks[i].violated;
    }
}

void swarm_judge(const struct plan *p, const struct result *r, bool drawn, struct pool_note *n)
{
    struct fl_errmsg why = {""};

    count(p, r, n);
    n->trace_hash = r->trace_hash;
    n->verdict = result_judge(p, r, &why);
    /* A drawn point that the run did not reach, and a check that a dead node could not exercise:
     * these are counted over all runs. */
    if (drawn && n->verdict == EMU_UNDECIDED && !r->timed_out)
        n->verdict = EMU_HELD;
    if (n->verdict == EMU_HELD)
        return;
    snprintf(n->why, sizeof(n->why), "%.399s", why.text);
    if (n->verdict == EMU_NO_PROGRESS)
        snprintf(n->key, sizeof(n->key), "no-progress");
    else if (n->verdict == EMU_UNDECIDED)
        snprintf(n->key, sizeof(n->key), r->timed_out ? "deadline" : "undecided");
    else if (n->verdict == EMU_VIOLATED)
        snprintf(n->key, sizeof(n->key), r->node_failed ? "node" : "expect");
    for (size_t i = r->check_count; n->verdict == EMU_VIOLATED && i > 0; i--)
        if (swarm_failed(p, r, r->checks[i - 1].id))
            snprintf(n->key, sizeof(n->key), "%s", r->checks[i - 1].id);
}

void swarm_run(const struct plan *p, bool drawn, bool twice, struct pool_note *ret)
{
    const struct run_opts o = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct fl_errmsg err = {"out of memory"};
    struct result *r = result_new(), *again = twice ? result_new() : NULL;
    int rc = r == NULL || (twice && again == NULL) ? FL_ENOMEM : emu_run_sim(p, &o, r, &err);

    if (rc == FL_OK) {
        result_sum_metrics(r);
        swarm_judge(p, r, drawn, ret);
    }
    if (rc == FL_OK && twice) {
        ret->twice = true;
        rc = emu_run_sim(p, &o, again, &err);
        if (rc == FL_OK &&
            (again->trace_hash != r->trace_hash || again->image_digest != r->image_digest)) {
            ret->verdict = EMU_VIOLATED;
            snprintf(ret->key, sizeof(ret->key), "determinism");
            snprintf(ret->why, sizeof(ret->why), "the same seed gave two traces: %016llx, %016llx",
                     (unsigned long long)r->trace_hash, (unsigned long long)again->trace_hash);
        }
    }
    if (rc != FL_OK) {
        ret->verdict = rc == FL_EUNSUPPORTED ? EMU_SKIPPED : EMU_USAGE;
        snprintf(ret->key, sizeof(ret->key), "setup");
        snprintf(ret->why, sizeof(ret->why), "%.399s", err.text);
    }
    result_free(&r);
    result_free(&again);
}

void swarm_drop_unfired(struct plan *p, const struct result *r)
{
    uint16_t kept = 0;

    for (uint16_t i = 0; i < p->step_count; i++)
        if (i >= r->fault_count || r->faults[i].fired > 0)
            p->steps[kept++] = p->steps[i];
    memset(&p->steps[kept], 0, (size_t)(p->step_count - kept) * sizeof(p->steps[0]));
    p->step_count = kept;
}
