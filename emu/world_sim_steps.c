/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of the plan in the simulator: at the start, at times, inside sites. */
#include <stdio.h>
#include <string.h>

#include "emu/plan_steps.h"
#include "emu/world_sim.h"

/* A restarted node is not connected sooner: its peers have to hear of its death first. */
#define RESTART_MIN_NS FL_NS_PER_MS

static void set_pause(struct ws *w, struct ws_node *n, bool paused)
{
    if (n->paused == paused)
        return;
    n->paused = paused;
    tp_simnet_pause(w->net, n->idx, paused);
    if (!paused)
        ws_resumed(n);
}

/* --- filters -------------------------------------------------------------------------------- */

static void arm_at(struct ws *w, struct ws_node *n, uint16_t step)
{
    struct tp_fault f;
    plan_step_fault(&w->p->steps[step], &f);
    if (!n->dead && n->filters && tp_filters_arm(n->filters, step + 1U, &f) != FL_OK)
        ws_trouble(w, "out of memory for a fault");
}

static void each_end(struct ws *w, uint16_t step,
                     void (*fn)(struct ws *w, struct ws_node *n, uint16_t step))
{
    struct tp_fault f;
    plan_step_fault(&w->p->steps[step], &f);
    fn(w, &w->nodes[f.from], step);
    if (f.to != f.from)
        fn(w, &w->nodes[f.to], step);
}

static void disarm_at(struct ws *w, struct ws_node *n, uint16_t step)
{
    (void)w;
    if (!n->dead && n->filters)
        tp_filters_disarm(n->filters, step + 1U);
}

void ws_filters_made(struct ws_node *n)
{
    struct ws *w = n->w;
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *s = &w->p->steps[i];
        struct tp_fault f;
        plan_step_fault(s, &f);
        if (s->action != PLAN_FAULT || (f.from != n->idx && f.to != n->idx))
            continue;
        if (plan_step_before_life(s) && s->when == PLAN_AT_START && n->incarnation == 1)
            w->fired[i] = w->in_force[i] = true; /* the start would be too late */
        if (w->in_force[i])
            arm_at(w, n, i);
    }
}

void ws_filters_over(struct ws_node *n)
{
    for (uint16_t i = 0; n->filters && i < n->w->p->step_count; i++)
        n->w->hits[i] += tp_filters_fired(n->filters, i + 1U);
    n->filters = NULL;
}

/* --- doing and undoing ---------------------------------------------------------------------- */

static uint64_t node_hits(const struct ws *w, const struct plan_step *s)
{
    const struct emu_node *n = w->nodes[s->target].node;
    return s->action == PLAN_SLOW ? emu_node_slow_hits(n) : emu_node_fill_hits(n);
}

/** Cuts and heals come in numbers: a link is cut while one cut of it is in force. */
static void set_cut(struct ws *w, const struct plan_step *s)
{
    bool any = false;
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *o = &w->p->steps[i];
        any = any || (w->in_force[i] && o->action == PLAN_CUT && o->target == s->target &&
                      o->target2 == s->target2);
    }
    tp_simnet_cut(w->net, s->target, s->target2, any);
}

static void end_step(struct ws *w, uint16_t i)
{
    const struct plan_step *s = &w->p->steps[i];
    struct ws_node *t = &w->nodes[s->target];
    if (!w->in_force[i])
        return;
    w->in_force[i] = false;
    if (s->action == PLAN_PAUSE) {
        set_pause(w, t, false);
    } else if (s->action == PLAN_CUT) {
        set_cut(w, s);
    } else if (s->action == PLAN_FAULT) {
        each_end(w, i, disarm_at);
    } else if (s->action == PLAN_SLOW || s->action == PLAN_SLOTS_FULL) {
        w->hits[i] += node_hits(w, s);
        if (!t->dead && s->action == PLAN_SLOW)
            emu_node_slow(t->node, 0);
        else if (!t->dead)
            emu_node_fill_slots(t->node, false);
    }
}

static void undo(void *arg, uint64_t step, uint64_t b)
{
    (void)b;
    end_step(arg, (uint16_t)step);
}

/** Ends what an earlier step began: all of it, whichever step that was. */
static void end_like(struct ws *w, const struct plan_step *s, enum plan_action what)
{
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *o = &w->p->steps[i];
        if (o->action == what && o->target == s->target &&
            (what != PLAN_CUT || o->target2 == s->target2))
            end_step(w, i);
    }
}

static void restart(void *arg, uint64_t step, uint64_t b)
{
    struct ws *w = arg;
    const struct plan_step *s = &w->p->steps[step];
    (void)b;
    w->in_force[step] = false;
    if (!w->nodes[s->target].dead)
        return; /* nothing to bring back */
    w->r->faults[step].fired = 1;
    w->r->faults[step].t_ns = ws_now(w) - w->t0_ns;
    ws_restart(&w->nodes[s->target], s->blank);
}

static void act(struct ws *w, uint16_t i)
{
    const struct plan_step *s = &w->p->steps[i];
    struct ws_node *t = &w->nodes[s->target];
    w->in_force[i] = true;
    switch (s->action) {
    case PLAN_KILL:
        w->in_force[i] = false; /* what its peers do about it has no cause to wait */
        ws_kill(t);
        break;
    case PLAN_PAUSE:
        set_pause(w, t, true);
        break;
    case PLAN_RESUME:
        w->in_force[i] = false;
        end_like(w, s, PLAN_PAUSE);
        break;
    case PLAN_CUT:
        set_cut(w, s);
        break;
    case PLAN_HEAL:
        w->in_force[i] = false;
        end_like(w, s, PLAN_CUT);
        break;
    case PLAN_RESTART:
        fl_evq_at(w->q, ws_now(w) + (s->by_ns > RESTART_MIN_NS ? s->by_ns : RESTART_MIN_NS),
                  restart, w, i, 0);
        break;
    case PLAN_SLOW:
        w->hits[i] = -node_hits(w, s);
        emu_node_slow(t->node, s->by_ns);
        break;
    case PLAN_SLOTS_FULL:
        w->hits[i] = -node_hits(w, s);
        emu_node_fill_slots(t->node, true);
        break;
    case PLAN_FAULT:
        each_end(w, i, arm_at);
        break;
    }
}

/* --- moments -------------------------------------------------------------------------------- */

static void fire(struct ws *w, uint16_t i)
{
    const struct plan_step *s = &w->p->steps[i];
    const struct plan_step_info *k = plan_step_info(plan_step_kind(s));
    struct result_fault *f = &w->r->faults[i];
    if (w->fired[i])
        return;
    w->fired[i] = true;
    if (!k->pair && s->action != PLAN_RESTART && !plan_step_before_life(s) &&
        w->nodes[s->target].dead)
        return; /* it is gone already: the fault cannot fire */
    f->fired = !plan_step_counts_hits(s) && s->action != PLAN_RESTART;
    f->t_ns = ws_now(w) - w->t0_ns;
    struct fl_trace_rec rec = {.t_ns = ws_now(w),
                               .node = s->target,
                               .kind = FL_TR_FAULT,
                               .code = (uint16_t)plan_step_kind(s),
                               .a = i,
                               .b = s->target2};
    fl_trace_add(w->trace, &rec);
    act(w, i);
    if (s->for_ns != FL_NEVER)
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

/* --- the end -------------------------------------------------------------------------------- */

/** Hits of a fault so far, at both ends. */
static uint64_t hits_of(const struct ws *w, uint16_t i)
{
    const struct plan_step *s = &w->p->steps[i];
    struct tp_fault f;
    uint64_t n = w->hits[i];
    if (s->action == PLAN_FAULT) {
        plan_step_fault(s, &f);
        if (w->nodes[f.from].filters)
            n += tp_filters_fired(w->nodes[f.from].filters, i + 1U);
        if (f.to != f.from && w->nodes[f.to].filters)
            n += tp_filters_fired(w->nodes[f.to].filters, i + 1U);
    } else if (w->in_force[i]) {
        n += node_hits(w, s);
    }
    return n;
}

void ws_steps_count(struct ws *w)
{
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        if (w->fired[i] && plan_step_counts_hits(&w->p->steps[i]))
            w->r->faults[i].fired = hits_of(w, i);
    }
}

bool ws_in_force(const struct ws *w)
{
    for (uint16_t i = 0; i < w->p->step_count; i++) {
        const struct plan_step *s = &w->p->steps[i];
        bool spent = s->action == PLAN_FAULT && s->count > 0 && hits_of(w, i) >= s->count;
        if (w->in_force[i] && !spent)
            return true;
    }
    return false;
}
