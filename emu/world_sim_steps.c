/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of the plan in the simulator: at the start, at times, inside sites. */
#include <stdio.h>
#include <string.h>

#include "emu/plan_steps.h"
#include "emu/world_sim.h"

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
    case PLAN_RESTART:
    case PLAN_SLOW:
    case PLAN_SLOTS_FULL:
    case PLAN_FAULT:
        break; /* refused before the start */
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
                               .code = (uint16_t)plan_step_kind(s),
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
