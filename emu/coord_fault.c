/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults that node processes do themselves when they are told to, and nodes that come back. The
 * order at a site: its node arms its own end and asks; the other end arms and says so; then the
 * site goes on. An end that cannot answer now (it waits in a site itself, is stopped or gone) is
 * told, but not waited for.
 */
#include "emu/coord.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/node.h"
#include "emu/oracle.h"
#include "emu/plan_steps.h"

/* Source: assumed; from a process's end to its SIGCHLD here, on a busy host. */
#define DEATH_NEWS_NS (500 * FL_NS_PER_MS)

/* --- both ends of a step -------------------------------------------------------------------- */

/** Nodes that do step @i; how many. */
static int ends_of(const struct coord *c, int i, uint16_t ret[2])
{
    struct tp_fault f;
    plan_step_fault(&c->p->steps[i], &f);
    ret[0] = f.from;
    ret[1] = f.to;
    return f.from == f.to ? 1 : 2;
}

static bool waits_in_site(const struct coord *c, uint16_t node)
{
    for (int i = 0; i < c->p->step_count; i++)
        if (c->steps[i].begun && !c->steps[i].ended && c->steps[i].waiter == node)
            return true;
    return false;
}

static void tell(struct coord *c, int i, uint16_t node, bool on)
{
    struct coord_node *n = &c->nodes[node];
    if (n->conn)
        ctl_send(n->conn, json_pack("{s:s,s:i,s:b}", "t", "arm", "step", i, "on", on));
}

static void end_fault(struct coord *c, int i)
{
    uint16_t e[2];
    int count = ends_of(c, i, e);
    if (!c->steps[i].in_force)
        return;
    c->steps[i].in_force = false;
    for (int k = 0; k < count; k++)
        tell(c, i, e[k], false);
}

static void on_fault_over(evutil_socket_t fd, short what, void *arg)
{
    struct coord_step *s = arg;
    (void)fd;
    (void)what;
    end_fault(s->c, (int)(s - s->c->steps));
}

/** An end that is gone will not answer. */
static void drop_answers(struct coord *c, int i)
{
    uint16_t e[2];
    int count = ends_of(c, i, e);
    struct coord_step *s = &c->steps[i];
    for (int k = 0; k < count; k++)
        if ((s->awaits >> k & 1) && !c->nodes[e[k]].conn)
            s->awaits &= ~(1U << k);
    if (!s->awaits)
        coord_step_end(c, i, true);
}

static void begin_fault(struct coord *c, int i)
{
    const struct plan_step *ps = &c->p->steps[i];
    struct coord_step *s = &c->steps[i];
    uint16_t e[2];
    int count = ends_of(c, i, e);
    s->in_force = true;
    for (int k = 0; k < count; k++) {
        struct coord_node *n = &c->nodes[e[k]];
        if (e[k] == s->waiter || !n->conn)
            continue;
        tell(c, i, e[k], true);
        if (!n->stopped && !waits_in_site(c, e[k]))
            s->awaits |= 1U << k;
    }
    if (ps->for_ns != FL_NEVER)
        coord_step_timer(c, s, on_fault_over, ps->for_ns);
    drop_answers(c, i);
}

void coord_fault_armed(struct coord_node *n, int i)
{
    uint16_t e[2];
    int count = ends_of(n->c, i, e);
    for (int k = 0; k < count; k++)
        if (e[k] == n->idx)
            n->c->steps[i].awaits &= ~(1U << k);
    if (n->c->steps[i].begun && !n->c->steps[i].awaits)
        coord_step_end(n->c, i, true);
}

void coord_fault_hit(struct coord_node *n, int i, uint64_t hits)
{
    struct coord_step *s = &n->c->steps[i];
    struct result_fault *f = &n->c->r->faults[i];
    uint16_t e[2];
    int count = ends_of(n->c, i, e);
    for (int k = 0; k < count; k++)
        if (e[k] == n->idx)
            s->hits[k] = hits;
    if (plan_step_counts_hits(&n->c->p->steps[i]))
        f->fired = s->hits_before + s->hits[0] + s->hits[1];
}

static void heal(struct coord *c, int i)
{
    const struct plan_step *ps = &c->p->steps[i];
    for (int k = 0; k < c->p->step_count; k++) {
        const struct plan_step *o = &c->p->steps[k];
        if (o->action == PLAN_CUT && o->target == ps->target && o->target2 == ps->target2)
            end_fault(c, k);
    }
    coord_step_end(c, i, true);
}

/* --- restart -------------------------------------------------------------------------------- */

int coord_memory_new(struct coord_node *n)
{
    struct coord *c = n->c;
    size_t len = 0;
    n->memory_fd = -1;
    if (c->p->nodes[n->idx].role == PLAN_COMPUTE)
        len = oracle_record_bytes(c->p, n->idx);
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *s = &c->p->steps[i];
        if (s->action == PLAN_RESTART && s->target == n->idx && !s->blank)
            len = emu_node_image_bytes(c->p, n->idx);
    }
    if (!len || n->external)
        return FL_OK;
    n->memory_bytes = len;
    n->memory_fd = memfd_create(c->p->nodes[n->idx].name, MFD_CLOEXEC);
    if (n->memory_fd < 0 || ftruncate(n->memory_fd, (off_t)len))
        return fl_fail(c->err, fl_err_from_errno(errno), "no memory that outlives node %s: %s",
                       c->p->nodes[n->idx].name, strerror(errno));
    return FL_OK;
}

/** What an earlier life has left is cleared; what outlives it stays. */
static void forget_life(struct coord_node *n)
{
    struct coord *c = n->c;
    if (n->grace)
        event_free(n->grace);
    n->grace = NULL;
    n->exited = n->lost_judged = n->planned_death = n->stopped = false;
    n->joined = n->ready = n->connected = n->running = n->done = n->reported = false;
    n->fail_status = 0;
    n->incarnation++;
    for (int i = 0; i < c->p->step_count; i++) {
        struct coord_step *s = &c->steps[i];
        uint16_t e[2];
        int count = ends_of(c, i, e);
        for (int k = 0; k < count; k++)
            if (e[k] == n->idx) {
                s->hits_before += s->hits[k];
                s->hits[k] = 0;
            }
    }
}

static void respawn(struct coord *c, int i)
{
    const struct plan_step *ps = &c->p->steps[i];
    struct coord_node *n = &c->nodes[ps->target];
    forget_life(n);
    n->blank = ps->blank;
    if (ps->blank && n->memory_fd >= 0 &&
        (ftruncate(n->memory_fd, 0) || ftruncate(n->memory_fd, (off_t)n->memory_bytes)))
        coord_fail(c, "the image of %s cannot be cleared: %s", c->p->nodes[n->idx].name,
                   strerror(errno));
    if (coord_spawn(c, n->idx))
        coord_fail(c, "%s", c->err->text);
    c->steps[i].respawned = true;
}

static void on_restart_due(evutil_socket_t fd, short what, void *arg);

/** Peers hear of a death before we do: one that seems to live gets a moment to be dead. */
static void restart_due(struct coord_step *s)
{
    struct coord *c = s->c;
    int i = (int)(s - c->steps);
    const struct coord_node *n = &c->nodes[c->p->steps[i].target];
    bool seen_alive = s->due && n->pid > 0 && !n->planned_death;
    s->due = true;
    coord_fault_check(c);
    if (s->ended || s->respawned || n->planned_death || n->exited)
        return;
    if (seen_alive)
        coord_step_end(c, i, false);
    else
        coord_step_timer(c, s, on_restart_due, DEATH_NEWS_NS);
}

static void on_restart_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    restart_due(arg);
}

static void begin_restart(struct coord *c, int i)
{
    const struct plan_step *ps = &c->p->steps[i];
    coord_step_release(c, i);
    coord_step_timer(c, &c->steps[i], on_restart_due, ps->by_ns + FL_NS_PER_MS);
}

bool coord_fault_bars(const struct coord_node *n)
{
    for (int i = 0; n->incarnation > 1 && !n->ready && i < n->c->p->step_count; i++) {
        const struct plan_step *s = &n->c->p->steps[i];
        if (plan_step_before_life(s) && s->target == n->idx && n->c->r->faults[i].fired > 0)
            return true;
    }
    return false;
}

/** Everybody who works with it is told where it is; it is told of faults in force on its links. */
void coord_node_back(struct coord_node *n)
{
    struct coord *c = n->c;
    json_t *addrs = json_array();
    for (uint16_t i = 0; i < c->p->node_count; i++)
        json_array_append_new(addrs, json_string(c->nodes[i].addr));
    for (int i = 0; i < c->p->step_count; i++) {
        uint16_t e[2];
        int count = ends_of(c, i, e);
        if (c->steps[i].in_force && (e[0] == n->idx || (count == 2 && e[1] == n->idx)))
            tell(c, i, n->idx, true);
    }
    ctl_send(n->conn, json_pack("{s:s,s:o}", "t", "peers", "addrs", addrs));
    coord_broadcast(c,
                    json_pack("{s:s,s:i,s:s}", "t", "peer", "node", (int)n->idx, "addr", n->addr));
}

/* --- steps ---------------------------------------------------------------------------------- */

void coord_fault_begin(struct coord *c, int i)
{
    switch (c->p->steps[i].action) {
    case PLAN_HEAL:
        heal(c, i);
        break;
    case PLAN_RESTART:
        begin_restart(c, i);
        break;
    default:
        begin_fault(c, i);
        break;
    }
}

void coord_fault_check(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *ps = &c->p->steps[i];
        struct coord_step *s = &c->steps[i];
        const struct coord_node *n = &c->nodes[ps->target];
        if (!s->begun || s->ended)
            continue;
        if (ps->action != PLAN_RESTART && ps->action >= PLAN_CUT && s->awaits)
            drop_answers(c, i);
        if (ps->action != PLAN_RESTART || !s->due)
            continue;
        if (!s->respawned && n->exited && !n->conn && n->lost_judged)
            respawn(c, i);
        if (s->respawned && (n->connected || n->exited))
            coord_step_end(c, i, true);
    }
}

bool coord_in_force(const struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *ps = &c->p->steps[i];
        const struct coord_step *s = &c->steps[i];
        bool spent =
            ps->action == PLAN_FAULT && ps->count > 0 && c->r->faults[i].fired >= ps->count;
        bool paused = ps->action == PLAN_PAUSE && c->nodes[ps->target].stopped;
        bool pending = ps->action == PLAN_RESTART && s->begun && !s->ended;
        if ((s->in_force && !spent) || paused || pending)
            return true;
    }
    return false;
}

bool coord_restarts_pending(const struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++)
        if (c->p->steps[i].action == PLAN_RESTART && c->steps[i].begun && !c->steps[i].ended)
            return true;
    return false;
}

void coord_fault_done(struct coord *c)
{
    for (uint16_t i = 0; c->nodes && i < c->p->node_count; i++)
        if (c->nodes[i].memory_fd > 0)
            close(c->nodes[i].memory_fd);
}
