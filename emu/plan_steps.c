/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/plan_steps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "emu/base/rng.h"

enum {
    FOR = PLAN_OPT_FOR,
    HITS = PLAN_OPT_CLASS | PLAN_OPT_EVERY | PLAN_OPT_COUNT,
    ONE_WAY = PLAN_OPT_ONE_WAY,
    BY = PLAN_OPT_BY,
    DRAW_NODE = 0xfffe, /* no node has this id */
};

static const struct plan_step_info actions[PLAN_FAULT] = {
    [PLAN_KILL] = {.name = "kill", .doc = "the process ends at once, inside the site"},
    [PLAN_PAUSE] = {.name = "pause", .options = FOR, .doc = "the process stands still"},
    [PLAN_RESUME] = {.name = "resume", .doc = "a paused process goes on"},
    [PLAN_CUT] = {.name = "cut",
                  .pair = true,
                  .both = true,
                  .options = FOR | ONE_WAY,
                  .doc = "nothing passes, heartbeats neither"},
    [PLAN_HEAL] = {.name = "heal",
                   .pair = true,
                   .both = true,
                   .options = ONE_WAY,
                   .doc = "ends every cut of the link"},
    [PLAN_RESTART] = {.name = "restart",
                      .options = PLAN_OPT_AFTER | PLAN_OPT_IMAGE,
                      .doc = "a killed memory node comes back, blank or with its image"},
    [PLAN_SLOW] = {.name = "slow",
                   .options = FOR | BY,
                   .needs = BY,
                   .doc = "each step of the node's device takes longer"},
    [PLAN_SLOTS_FULL] = {.name = "fill_slots",
                         .options = FOR,
                         .doc = "the device has no page buffer left"},
};

/* What a step of each filter can say; a filter without a line here does not compile. */
#define ON_LINK .pair = true, .both = true, .options = FOR | ONE_WAY
#define ON_SOME .pair = true, .options = FOR | ONE_WAY | HITS
#define SAYS_TP_FAULT_DELAY ON_LINK | HITS | BY, .needs = BY
#define SAYS_TP_FAULT_RATE ON_LINK | PLAN_OPT_CLASS | PLAN_OPT_BPS, .needs = PLAN_OPT_BPS
#define SAYS_TP_FAULT_CUT .pair = true /* steps say PLAN_CUT */
#define SAYS_TP_FAULT_CLOG ON_LINK | PLAN_OPT_CLASS
#define SAYS_TP_FAULT_DUPLICATE ON_SOME
#define SAYS_TP_FAULT_REORDER ON_SOME
#define SAYS_TP_FAULT_DROP ON_SOME
#define SAYS_TP_FAULT_TRUNCATE ON_SOME
#define SAYS_TP_FAULT_CORRUPT ON_SOME
#define SAYS_TP_FAULT_DONE_LOST ON_SOME
#define SAYS_TP_FAULT_DONE_LATE ON_SOME | BY, .needs = BY
#define SAYS_TP_FAULT_DONE_ERROR ON_SOME
#define SAYS_TP_FAULT_DONE_EARLY ON_SOME | BY, .needs = BY
#define SAYS_TP_FAULT_STUCK ON_SOME | BY, .needs = BY
#define SAYS_TP_FAULT_SHORT_READ ON_SOME
#define SAYS_TP_FAULT_STALE_READ ON_SOME
#define SAYS_TP_FAULT_BIT_FLIP ON_SOME
#define SAYS_TP_FAULT_REG_FAIL .options = FOR | PLAN_OPT_EVERY | PLAN_OPT_COUNT

static const struct plan_step_info filters[TP_FAULT_COUNT] = {
#define X(e, n, d) [e] = {.name = n, .doc = d, SAYS_##e},
    TP_FAULTS(X)
#undef X
};

const struct plan_step_info *plan_step_info(unsigned kind)
{
    unsigned f = kind - PLAN_FAULT;

    if (kind < PLAN_FAULT)
        return &actions[kind];
    return f < TP_FAULT_COUNT && f != TP_FAULT_CUT ? &filters[f] : NULL;
}

unsigned plan_step_find(const char *name)
{
    for (unsigned k = 0; k < PLAN_STEP_KINDS; k++) {
        const struct plan_step_info *info = plan_step_info(k);

        if (info != NULL && strcmp(info->name, name) == 0)
            return k;
    }
    return PLAN_STEP_KINDS;
}

unsigned plan_step_kind(const struct plan_step *s)
{
    unsigned kind = (unsigned)s->action;

    if (kind > PLAN_FAULT)
        return PLAN_STEP_KINDS;
    if (kind == PLAN_FAULT)
        kind += s->fault;
    return plan_step_info(kind) != NULL ? kind : PLAN_STEP_KINDS;
}

void plan_step_set_kind(struct plan_step *s, unsigned kind)
{
    s->action = kind < PLAN_FAULT ? (enum plan_action)kind : PLAN_FAULT;
    s->fault = kind < PLAN_FAULT ? 0 : (uint8_t)(kind - PLAN_FAULT);
}

void plan_step_text(const struct plan *p, const struct plan_step *s, char *ret, size_t size)
{
    const struct plan_step_info *info = plan_step_info(plan_step_kind(s));

    if (info == NULL)
        snprintf(ret, size, "?");
    else if (info->pair)
        snprintf(ret, size, "%s %s,%s", info->name, p->nodes[s->target].name,
                 p->nodes[s->target2].name);
    else
        snprintf(ret, size, "%s %s", info->name, p->nodes[s->target].name);
}

void plan_step_when_text(const struct plan *p, const struct plan_step *s, char *ret, size_t size)
{
    const struct fl_site_info *site = fl_site_info((enum fl_site)s->site);

    char to[32] = "";

    if (s->draw != 0)
        snprintf(to, sizeof(to), "..%" PRIu64, s->to);
    if (s->when == PLAN_AT_SITE)
        snprintf(ret, size, "%s.%s#%" PRIu64 "%s", p->nodes[s->node].name,
                 site != NULL ? site->name : "?", s->nth, to);
    else if (s->when == PLAN_AT_TIME)
        snprintf(ret, size, "%" PRIu64 "%s ns", s->at_ns, to);
    else
        snprintf(ret, size, "start");
}

void plan_steps_draw(struct plan *p)
{
    for (uint16_t i = 0; i < p->step_count; i++) {
        struct plan_step *s = &p->steps[i];
        uint64_t *v = s->when == PLAN_AT_SITE ? &s->nth : &s->at_ns;
        struct fl_rng g;

        if (s->draw == 0)
            continue;
        fl_rng_init(&g, p->seed, DRAW_NODE, FL_RNG_FAULT, s->draw);
        *v += fl_rng_below(&g, s->to - *v + 1);
        s->draw = 0;
        s->to = 0;
    }
}

bool plan_step_counts_hits(const struct plan_step *s)
{
    if (s->action == PLAN_FAULT)
        return s->fault != TP_FAULT_CLOG;
    return s->action == PLAN_SLOW || s->action == PLAN_SLOTS_FULL;
}

bool plan_step_before_life(const struct plan_step *s)
{
    return s->action == PLAN_FAULT && s->fault == TP_FAULT_REG_FAIL;
}

bool plan_step_filters(const struct plan_step *s)
{
    return s->action == PLAN_CUT || s->action == PLAN_FAULT;
}

void plan_step_fault(const struct plan_step *s, struct tp_fault *ret)
{
    const struct plan_step_info *info = plan_step_info(plan_step_kind(s));
    bool cut = s->action == PLAN_CUT;

    *ret = (struct tp_fault){
        .kind = cut ? TP_FAULT_CUT : (enum tp_fault_kind)s->fault,
        .from = s->target,
        .to = info != NULL && info->pair ? s->target2 : s->target,
        .classes = s->classes,
        .every = s->every,
        .count = s->count,
        .by_ns = s->by_ns,
        .rate_bps = s->rate_bps,
    };
}
