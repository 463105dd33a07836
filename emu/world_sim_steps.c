/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of the plan in the simulator: at the start, at times, inside sites. */
#include <stdio.h>
#include <string.h>

#include "emu/world_sim.h"

static const char *const action_name[] = {[PLAN_KILL] = "kill",
                                          [PLAN_PAUSE] = "pause",
                                          [PLAN_RESUME] = "resume",
                                          [PLAN_CUT] = "cut",
                                          [PLAN_HEAL] = "heal"};

void ws_steps_init(struct ws *w)
{
    const struct plan *p = w->p;
    for (uint16_t i = 0; i < p->step_count; i++) {
        const struct plan_step *s = &p->steps[i];
        struct result_fault *f = &w->r->faults[i];
        memset(f, 0, sizeof *f);
        bool pair = s->action == PLAN_CUT || s->action == PLAN_HEAL;
        snprintf(f->kind, sizeof f->kind, "%s %.11s%s%.11s", action_name[s->action],
                 p->nodes[s->target].name, pair ? "," : "", pair ? p->nodes[s->target2].name : "");
        if (s->when == PLAN_AT_SITE)
            snprintf(f->at, sizeof f->at, "%.24s.%s#%llu", p->nodes[s->node].name,
                     fl_site_info((enum fl_site)s->site)->name, (unsigned long long)s->nth);
        else if (s->when == PLAN_AT_TIME)
            snprintf(f->at, sizeof f->at, "%llu ns", (unsigned long long)s->at_ns);
        else
            snprintf(f->at, sizeof f->at, "start");
        f->asked = 1;
    }
    w->r->fault_count = p->step_count;
}

static void set_pause(struct ws *w, struct ws_node *n, bool paused)
{
    if (n->paused == paused)
        return;
    n->paused = paused;
    if (paused)
        w->not_healed++;
    else
        w->not_healed -= w->not_healed > 0;
    tp_simnet_pause(w->net, n->idx, paused);
    if (!paused)
        ws_resumed(n);
}

static void undo(void *arg, uint64_t step, uint64_t b)
{
    struct ws *w = arg;
    const struct plan_step *s = &w->p->steps[step];
    (void)b;
    if (s->action == PLAN_PAUSE) {
        set_pause(w, &w->nodes[s->target], false);
    } else {
        w->not_healed -= w->not_healed > 0;
        tp_simnet_cut(w->net, s->target, s->target2, false);
    }
}

static void cut(struct ws *w, const struct plan_step *s, bool on)
{
    if (on)
        w->not_healed++;
    else
        w->not_healed -= w->not_healed > 0;
    tp_simnet_cut(w->net, s->target, s->target2, on);
}

static void act(struct ws *w, const struct plan_step *s)
{
    struct ws_node *t = &w->nodes[s->target];
    switch (s->action) {
    case PLAN_KILL:
        t->dead = true;
        tp_simnet_kill(w->net, t->idx);
        break;
    case PLAN_PAUSE:
        set_pause(w, t, true);
        break;
    case PLAN_RESUME:
        set_pause(w, t, false);
        break;
    case PLAN_CUT:
        cut(w, s, true);
        break;
    case PLAN_HEAL:
        cut(w, s, false);
        break;
    }
}

static void fire(struct ws *w, uint16_t i)
{
    const struct plan_step *s = &w->p->steps[i];
    struct result_fault *f = &w->r->faults[i];
    bool pair = s->action == PLAN_CUT || s->action == PLAN_HEAL;
    if (w->fired[i])
        return;
    w->fired[i] = true;
    if (!pair && w->nodes[s->target].dead)
        return; /* it is gone already: the fault cannot fire */
    f->fired = 1;
    f->t_ns = ws_now(w) - w->t0_ns;
    struct fl_trace_rec rec = {.t_ns = ws_now(w),
                               .node = s->target,
                               .kind = FL_TR_FAULT,
                               .code = (uint16_t)s->action,
                               .a = i,
                               .b = s->target2};
    fl_trace_add(w->trace, &rec);
    act(w, s);
    if (s->for_ns != FL_NEVER && (s->action == PLAN_PAUSE || s->action == PLAN_CUT))
        fl_evq_at(w->q, ws_now(w) + s->for_ns, undo, w, i, 0);
}

static void at_time(void *arg, uint64_t step, uint64_t b)
{
    (void)b;
    fire(arg, (uint16_t)step);
}

void ws_steps_when(struct ws *w, enum plan_when when)
{
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *s = &w->p->steps[i];
        if (s->when != when)
            continue;
        if (when == PLAN_AT_START)
            fire(w, i);
        else if (when == PLAN_AT_TIME)
            fl_evq_at(w->q, ws_now(w) + s->at_ns, at_time, w, i, 0);
    }
}

void ws_site(void *arg, struct emu_node *node, enum fl_site site, uint64_t nth)
{
    struct ws *w = arg;
    struct ws_node *n = ws_node_of(w, node);
    if (w->site_counts && w->site_counts[n->idx * FL_SITE_COUNT + site] < nth)
        w->site_counts[n->idx * FL_SITE_COUNT + site] = nth;
    for (uint16_t i = 0; i < w->p->step_count && !n->dead; i++) {
        const struct plan_step *s = &w->p->steps[i];
        if (s->when == PLAN_AT_SITE && s->node == n->idx && s->site == site && s->nth == nth)
            fire(w, i);
    }
}
