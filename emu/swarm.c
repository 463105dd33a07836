/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/swarm.h"

#include <stdio.h>
#include <string.h>

#include "emu/base/rng.h"
#include "emu/base/sites.h"
#include "emu/mech/writeback.h"

enum {
    FAULTS_MAX = 5,      /* drawn in one run; a cut of both ways counts once */
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

#define MBPS UINT64_C(1000000)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- kinds ---------------------------------------------------------------------------------- */

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

static bool has_path(const struct plan *p, uint8_t path)
{
    for (uint16_t i = 0; i < p->region_count; i++)
        if (p->regions[i].path == path)
            return true;
    return false;
}

static bool hits_messages(unsigned kind)
{
    return kind == PLAN_FAULT + TP_FAULT_DUPLICATE || kind == PLAN_FAULT + TP_FAULT_REORDER ||
           kind == PLAN_FAULT + TP_FAULT_DROP || kind == PLAN_FAULT + TP_FAULT_TRUNCATE ||
           kind == PLAN_FAULT + TP_FAULT_CORRUPT;
}

/** How often, how much, for how long. */
static void draw_options(struct draw *d, const struct plan_step_info *k, struct plan_step *s)
{
    uint64_t deadline_ns = d->p->regions[0].op_deadline_ns;

    if ((k->options & PLAN_OPT_CLASS) != 0 && fl_rng_chance(&d->g, 1, 2))
        s->classes = (uint8_t)(1U << fl_rng_below(&d->g, FL_CLASSES));
    if ((k->options & PLAN_OPT_EVERY) != 0)
        s->every = (uint32_t)pick_log(d, 1, 8);
    if ((k->options & PLAN_OPT_COUNT) != 0 && fl_rng_chance(&d->g, 1, 2))
        s->count = pick_log(d, 1, 8);
    if (s->action == PLAN_SLOW)
        s->by_ns = pick_log(d, 100, 20 * FL_NS_PER_US);
    else if ((k->options & PLAN_OPT_BY) != 0)
        s->by_ns = pick_log(d, FL_NS_PER_US, 3 * deadline_ns);
    if (s->by_ns > d->p->run_deadline_ns / 8)
        s->by_ns = d->p->run_deadline_ns / 8;
    if ((k->options & PLAN_OPT_BPS) != 0)
        s->rate_bps = pick_log(d, MBPS, 10000 * MBPS);
    if ((k->options & PLAN_OPT_FOR) != 0)
        s->for_ns = pick_length(d);
    if ((k->options & PLAN_OPT_COUNT) != 0 && s->for_ns < FL_NS_PER_MS)
        s->for_ns = FL_NS_PER_MS; /* what hits single messages needs time until one comes */
}

/** A compute node that uses memory node @m; there is one, or @m would not have been drawn. */
static uint16_t user_of(const struct plan *p, uint16_t m)
{
    for (uint16_t r = 0; r < p->region_count; r++)
        for (uint16_t c = 0; c < p->regions[r].chunk_count; c++)
            if (p->regions[r].chunks[c].node == m)
                return p->regions[r].on;
    return p->regions[0].on;
}

/** A memory node dies and is there again a while later, with its image or without. It may die at a
 * site of its own; then the moment at which its loss was noticed is that of its return. */
static void add_restart(struct draw *d, struct plan_step s)
{
    uint16_t c, m;

    if (d->p->step_count + 2 > PLAN_STEPS_MAX)
        return;
    pick_pair(d, &c, &m);
    if (fl_rng_chance(&d->g, 1, 3)) { /* the worst moment: between two pages of a batch */
        s.when = PLAN_AT_SITE;
        s.node = m;
        s.site = FL_SITE_LOG_APPLY;
        s.nth = pick_log(d, 1, 100);
    }
    bool own = s.when == PLAN_AT_SITE && d->p->nodes[s.node].role == PLAN_MEMORY;
    s.target = own ? s.node : m;
    s.action = PLAN_KILL;
    d->p->steps[d->p->step_count++] = s;
    if (own) {
        s.node = user_of(d->p, s.target);
        s.site = FL_SITE_PEER_LOST;
        s.nth = 1;
    }
    s.action = PLAN_RESTART;
    s.by_ns = pick_log(d, FL_NS_PER_MS, 50 * FL_NS_PER_MS);
    s.blank = fl_rng_chance(&d->g, 1, 3);
    d->p->steps[d->p->step_count++] = s;
}

static void add_fault(struct draw *d, unsigned kind)
{
    const struct plan_step_info *k = plan_step_info(kind);
    struct plan_step s = {.for_ns = FL_NEVER};
    uint16_t c, m;

    plan_step_set_kind(&s, kind);
    pick_when(d, &s);
    if (kind == PLAN_CUT) {
        add_cut(d, s);
        return;
    }
    if (kind == PLAN_RESTART) {
        add_restart(d, s);
        return;
    }
    if (d->p->step_count == PLAN_STEPS_MAX)
        return;
    pick_pair(d, &c, &m);
    bool back = swarm_either_way(kind) && fl_rng_chance(&d->g, 1, 2);
    if (k->pair) {
        s.target = back ? m : c;
        s.target2 = back ? c : m;
    } else if (kind == PLAN_SLOTS_FULL) {
        s.target = c;
    } else {
        s.target = fl_rng_chance(&d->g, 1, kind == PLAN_KILL ? 8 : 3) ? c : m;
    }
    if (kind != PLAN_PAUSE)
        draw_options(d, k, &s);
    if (hits_messages(kind) && !has_path(d->p, WB_LOG) && fl_rng_chance(&d->g, 1, 2)) {
        s.when = PLAN_AT_START; /* the few messages there are open regions */
        s.classes = 0;
    }
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

/* Odds that a seed draws faults of a kind. Without checksums from end to end no mechanism survives
 * what lies: these are drawn on demand only. */
static const struct {
    unsigned kind;
    uint8_t one_in;
    bool lie;
} odds[] = {
    {PLAN_KILL, 6, false},
    {PLAN_PAUSE, 4, false},
    {PLAN_CUT, 4, false},
    {PLAN_RESTART, 8, false},
    {PLAN_SLOW, 6, false},
    {PLAN_SLOTS_FULL, 6, false},
    {PLAN_FAULT + TP_FAULT_DELAY, 6, false},
    {PLAN_FAULT + TP_FAULT_RATE, 6, false},
    {PLAN_FAULT + TP_FAULT_CLOG, 6, false},
    {PLAN_FAULT + TP_FAULT_DUPLICATE, 6, false},
    {PLAN_FAULT + TP_FAULT_REORDER, 6, false},
    {PLAN_FAULT + TP_FAULT_DROP, 8, false},
    {PLAN_FAULT + TP_FAULT_TRUNCATE, 8, false},
    {PLAN_FAULT + TP_FAULT_CORRUPT, 8, false},
    {PLAN_FAULT + TP_FAULT_DONE_LOST, 6, false},
    {PLAN_FAULT + TP_FAULT_DONE_LATE, 6, false},
    {PLAN_FAULT + TP_FAULT_DONE_ERROR, 6, false},
    {PLAN_FAULT + TP_FAULT_STUCK, 6, false},
    {PLAN_FAULT + TP_FAULT_DONE_EARLY, 3, true},
    {PLAN_FAULT + TP_FAULT_SHORT_READ, 3, true},
    {PLAN_FAULT + TP_FAULT_STALE_READ, 3, true},
    {PLAN_FAULT + TP_FAULT_BIT_FLIP, 3, true},
};

/** What is about one-sided writes has nothing to hit where all go by log. */
static bool can_hit(const struct plan *p, unsigned kind)
{
    if (kind != PLAN_FAULT + TP_FAULT_STUCK && kind != PLAN_FAULT + TP_FAULT_DONE_EARLY)
        return true;
    return has_path(p, WB_DIRECT);
}

static void draw_faults(struct draw *d, bool lies)
{
    unsigned kinds[COUNT(odds)], all[COUNT(odds)];
    size_t kind_count = 0, all_count = 0;

    for (size_t i = 0; i < COUNT(odds); i++) {
        if ((odds[i].lie && !lies) || !can_hit(d->p, odds[i].kind))
            continue;
        all[all_count++] = odds[i].kind;
        if (fl_rng_chance(&d->g, 1, odds[i].one_in))
            kinds[kind_count++] = odds[i].kind;
    }
    if (kind_count == 0)
        kinds[kind_count++] = all[fl_rng_below(&d->g, all_count)];
    draw_deadlines(d);
    d->storm_ns = pick_log(d, FL_NS_PER_US, 50 * FL_NS_PER_MS);
    d->storm_len_ns = pick_log(d, 10 * FL_NS_PER_US, 5 * FL_NS_PER_MS);
    for (uint64_t n = pick(d, 1, FAULTS_MAX); n > 0; n--)
        add_fault(d, kinds[fl_rng_below(&d->g, kind_count)]);
}

bool swarm_draw(const struct plan *base, uint64_t seed, bool lies, struct plan *ret)
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
    draw_faults(&d, lies);
    return true;
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

static void set_up_failed(int rc, const struct fl_errmsg *err, struct pool_note *ret)
{
    ret->verdict = rc == FL_EUNSUPPORTED ? EMU_SKIPPED : EMU_USAGE;
    snprintf(ret->key, sizeof(ret->key), "setup");
    snprintf(ret->why, sizeof(ret->why), "%.399s", err->text);
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
    if (rc != FL_OK)
        set_up_failed(rc, &err, ret);
    result_free(&r);
    result_free(&again);
}

/** What one more variant found is added; the first failure is the one that is told. */
static void add_variant(struct pool_note *all, const struct pool_note *one, const char *name)
{
    for (uint16_t i = 0; i < one->check_count; i++) {
        uint16_t k = 0;

        while (k < all->check_count && strcmp(all->checks[k].id, one->checks[i].id) != 0)
            k++;
        if (k == PLAN_CHECKS_MAX)
            continue;
        if (k == all->check_count)
            memcpy(all->checks[all->check_count++].id, one->checks[i].id,
                   sizeof(one->checks[i].id));
        all->checks[k].checked += one->checks[i].checked;
        all->checks[k].violated += one->checks[i].violated;
    }
    all->trace_hash = all->trace_hash * UINT64_C(0x9e3779b97f4a7c15) + one->trace_hash;
    if (all->verdict != EMU_HELD || one->verdict == EMU_HELD)
        return;
    all->verdict = one->verdict;
    memcpy(all->key, one->key, sizeof(all->key));
    snprintf(all->why, sizeof(all->why), "variant %s: %.340s", name, one->why);
}

static void compare_image(const struct plan *p, uint64_t first, uint64_t image, const char *name,
                          struct pool_note *n)
{
    if (first == 0 || image == 0)
        return;
    for (uint16_t i = 0; i < p->region_count; i++)
        n->checks[0].checked += p->regions[i].size_bytes;
    if (image == first)
        return;
    if (n->checks[0].violated++ > 0 || n->verdict == EMU_VIOLATED)
        return;
    n->verdict = EMU_VIOLATED;
    snprintf(n->key, sizeof(n->key), "W9");
    snprintf(n->why, sizeof(n->why), "variants %s and %s left different images",
             p->variants[0].name, name);
}

void swarm_run_variants(const struct plan *base, uint64_t seed, struct plan *scratch,
                        struct pool_note *ret)
{
    const struct run_opts o = {.fabric = "sim", .tracker = "actor", .quiet = true};
    struct fl_errmsg err = {"out of memory"};
    uint64_t first = 0;
    bool w9 = requested(base, "W9");

    ret->verdict = EMU_HELD;
    ret->check_count = w9;
    snprintf(ret->checks[0].id, sizeof(ret->checks[0].id), "W9");
    for (int v = 0; v < base->variant_count; v++) {
        struct pool_note n = {.verdict = EMU_HELD};
        struct result *r = result_new();
        int rc = r == NULL ? FL_ENOMEM : plan_variant_apply(base, v, scratch, &err);

        swarm_drop_check(scratch, "W9"); /* of all, not of one */
        scratch->seed = seed;
        plan_steps_draw(scratch);
        if (rc == FL_OK)
            rc = emu_run_sim(scratch, &o, r, &err);
        if (rc == FL_OK) {
            result_sum_metrics(r);
            swarm_judge(scratch, r, false, &n);
        } else {
            set_up_failed(rc, &err, &n);
        }
        add_variant(ret, &n, base->variants[v].name);
        if (w9 && rc == FL_OK && !fl_planted(&base->plants, FL_BLIND_W9))
            compare_image(base, first, r->image_digest, base->variants[v].name, ret);
        first = first == 0 && rc == FL_OK ? r->image_digest : first;
        result_free(&r);
    }
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
