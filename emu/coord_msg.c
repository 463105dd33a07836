/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/coord.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/plan_steps.h"

/* --- connections ---------------------------------------------------------------------------- */

static bool on_up(void *arg, struct ctl_conn *conn, const char *name)
{
    struct coord *c = arg;
    int idx = plan_node_find(c->p, name);
    for (int i = 0; i < c->stranger_max; i++)
        if (c->strangers[i] == conn)
            c->strangers[i] = NULL;
    /* One connection per life of a node: a second claim of the name is refused. */
    if (idx < 0 || c->nodes[idx].joined || (c->nodes[idx].pid <= 0 && !c->nodes[idx].external))
        return false;
    c->nodes[idx].conn = conn;
    c->nodes[idx].joined = true;
    c->nodes[idx].fail_status = 0; /* of another that came under its name */
    ctl_set_user(conn, &c->nodes[idx]);
    coord_send_plan(&c->nodes[idx]);
    return true;
}

static void on_down(void *arg, struct ctl_conn *conn, int cause, const char *why)
{
    struct coord *c = arg;
    struct coord_node *n = ctl_user(conn);
    if (!n) {
        coord_ext_stranger(c, ctl_name(conn), cause, why);
        for (int i = 0; i < c->stranger_max; i++)
            if (c->strangers[i] == conn)
                c->strangers[i] = NULL;
        return;
    }
    n->conn = NULL;
    if (n->external) {
        n->exited = true;
        snprintf(n->lost_how, sizeof(n->lost_how), "was lost: %.80s", why);
    }
    coord_reap(c);
    coord_judge_loss(n);
}

void coord_send_plan(struct coord_node *n)
{
    struct coord *c = n->c;
    char trace[600];
    char *text = plan_to_json(c->p);
    snprintf(trace, sizeof(trace), "%s/%s.trace", c->o->out_dir, c->p->nodes[n->idx].name);
    json_t *spent = json_array();  /* steps that an earlier life of the node has had */
    json_t *armed = json_array();  /* what has to be in force before it has an address */
    json_t *driver = json_array(); /* steps that no node does */
    uint16_t cut;
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *s = &c->p->steps[i];
        if (c->steps[i].begun)
            json_array_append_new(spent, json_integer(i));
        if (plan_step_before_life(s) && s->target == n->idx &&
            (c->steps[i].in_force || (s->when == PLAN_AT_START && n->incarnation == 1)))
            json_array_append_new(armed, json_integer(i));
        if (coord_ext_cuts(c, s, &cut))
            json_array_append_new(driver, json_integer(i));
    }
    bool again = n->incarnation > 1; /* the trace of its first life stays */
    if (!text ||
        ctl_send(n->conn,
                 json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:I,s:b,s:i,s:i,s:o,s:o,s:o}", "t", "plan",
                           "plan", text, "index", n->idx, "fabric", c->o->fabric, "bind",
                           c->o->bind ? c->o->bind : "", "wait",
                           c->o->wait ? c->o->wait : "adaptive", "trace",
                           n->external || again ? "" : trace, "epoch_ns", (json_int_t)c->epoch_ns,
                           "external", n->external, "incarnation", (int)n->incarnation, "memory_fd",
                           n->memory_fd >= 0 ? COORD_MEMORY_FD : -1, "spent", spent, "armed", armed,
                           "driver", driver)))
        coord_fail(c, "cannot send the plan to node %s: out of memory", c->p->nodes[n->idx].name);
    free(text);
}

void coord_broadcast(struct coord *c, json_t *m)
{
    for (uint16_t i = 0; m && i < c->p->node_count; i++)
        if (c->nodes[i].conn)
            ctl_send(c->nodes[i].conn, json_incref(m));
    if (!m)
        coord_fail(c, "out of memory");
    json_decref(m);
}

/* --- steps of the plan ---------------------------------------------------------------------- */

void coord_step_release(struct coord *c, int i)
{
    struct coord_step *s = &c->steps[i];
    if (s->waiter >= 0 && c->nodes[s->waiter].conn)
        ctl_send(c->nodes[s->waiter].conn, json_pack("{s:s,s:i}", "t", "fired", "step", i));
    s->waiter = -1;
}

void coord_step_end(struct coord *c, int i, bool fired)
{
    struct coord_step *s = &c->steps[i];
    struct result_fault *f = &c->r->faults[i];
    if (s->ended)
        return;
    s->ended = true;
    if (fired) {
        f->fired = plan_step_counts_hits(&c->p->steps[i]) ? f->fired : 1;
        f->t_ns = c->t0_ns ? fl_clock_ns() - c->t0_ns : 0;
    }
    coord_step_release(c, i);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct coord_step *s = arg;
    struct coord *c = s->c;
    const struct plan_step *ps = &c->p->steps[s - c->steps];
    struct coord_node *t = &c->nodes[ps->target];
    uint16_t cut;
    (void)fd;
    (void)what;
    if (coord_ext_cuts(c, ps, &cut)) {
        if (!coord_driver_call(c, cut, COORD_HEAL, -1))
            coord_fail(c, "the driver %s cannot be started", c->o->driver);
    } else if (t->external) {
        if (!coord_driver_call(c, t->idx, COORD_RESUME, -1))
            coord_fail(c, "the driver %s cannot be started", c->o->driver);
    } else if (t->pid > 0) {
        kill(t->pid, SIGCONT);
    }
}

void coord_step_timer(struct coord *c, struct coord_step *s, event_callback_fn fn,
                      uint64_t after_ns)
{
    struct timeval tv = {(time_t)(after_ns / FL_NS_PER_S),
                         (suseconds_t)(after_ns % FL_NS_PER_S / FL_NS_PER_US)};
    if (s->timer)
        event_free(s->timer);
    s->timer = evtimer_new(c->base, fn, s);
    if (!s->timer || evtimer_add(s->timer, &tv))
        coord_fail(c, "cannot arm a timer for a step of the plan");
}

static bool lasts(const struct plan_step *ps)
{
    return ps->for_ns != FL_NEVER && ps->for_ns > 0;
}

/** The container that step @i acts on, if it is the driver's; else -1. */
static int driven(const struct coord *c, int i, enum coord_verb *ret_verb)
{
    static const struct {
        enum plan_action action;
        enum coord_verb verb;
    } verbs[] = {{PLAN_KILL, COORD_KILL},
                 {PLAN_PAUSE, COORD_PAUSE},
                 {PLAN_RESUME, COORD_RESUME},
                 {PLAN_CUT, COORD_CUT},
                 {PLAN_HEAL, COORD_HEAL}};
    const struct plan_step *ps = &c->p->steps[i];
    uint16_t node = ps->target;
    bool cut = coord_ext_cuts(c, ps, &node);
    for (size_t k = 0; k < sizeof(verbs) / sizeof(verbs[0]); k++) {
        if (verbs[k].action != ps->action)
            continue;
        *ret_verb = verbs[k].verb;
        bool of_node = ps->action < PLAN_CUT && c->nodes[node].external && c->o->driver;
        return cut || of_node ? node : -1;
    }
    return -1;
}

void coord_driver_done(struct coord *c, uint16_t node, enum coord_verb verb, int step, bool good)
{
    struct coord_node *n = &c->nodes[node];
    enum coord_verb of = verb;
    if (verb == COORD_KILL && good) { /* it is gone, whether its goodbye came through or not */
        ctl_close(&n->conn);
        n->exited = true;
    }
    if (verb == COORD_PAUSE || verb == COORD_RESUME)
        n->stopped = verb == COORD_PAUSE ? good : n->stopped && !good;
    if (verb == COORD_CUT || verb == COORD_HEAL)
        n->down = verb == COORD_CUT ? good : n->down && !good;
    if (verb == COORD_KILL && !good)
        n->planned_death = false;
    /* Both directions of a cut are steps, and one call. */
    for (int i = 0; i < c->p->step_count; i++)
        if (c->steps[i].begun && driven(c, i, &of) == node && of == verb)
            coord_step_end(c, i, good);
    if (good && step >= 0 && verb != COORD_KILL && lasts(&c->p->steps[step]))
        coord_step_timer(c, &c->steps[step], on_pause_over, c->p->steps[step].for_ns);
    coord_steps_check(c);
    coord_judge_loss(n);
}

/** Steps on nodes that others started. False: not one of those. */
static bool step_begin_external(struct coord *c, int i)
{
    const struct plan_step *ps = &c->p->steps[i];
    enum coord_verb verb = COORD_KILL;
    int node = driven(c, i, &verb);
    if (node < 0 && (!c->nodes[ps->target].external || ps->action >= PLAN_CUT))
        return false; /* faults that nodes do themselves are the same everywhere */
    struct coord_node *t = &c->nodes[node < 0 ? ps->target : node];
    if (t->exited || !t->conn) { /* gone already: the fault cannot fire, the site goes on */
        coord_step_end(c, i, false);
        return true;
    }
    t->planned_death = t->planned_death || ps->action == PLAN_KILL;
    if (node < 0) { /* without a driver it can only be asked to die: others were refused */
        if (ps->action != PLAN_KILL || ctl_send(t->conn, json_pack("{s:s}", "t", "die")))
            coord_step_end(c, i, false);
        return true;
    }
    if ((verb == COORD_CUT && t->down) || (verb == COORD_HEAL && !t->down)) {
        coord_step_end(c, i, true); /* the other direction has done it */
        return true;
    }
    if (coord_driver_busy(c, t->idx, verb) || coord_driver_call(c, t->idx, verb, i))
        return true;
    coord_fail(c, "the driver %s cannot be started", c->o->driver);
    return true;
}

static void step_begin(struct coord *c, int i, int waiter)
{
    const struct plan_step *ps = &c->p->steps[i];
    struct coord_step *s = &c->steps[i];
    struct coord_node *t = &c->nodes[ps->target];
    if (s->begun)
        return;
    s->begun = true;
    s->waiter = waiter;
    if (step_begin_external(c, i))
        return;
    if (ps->action >= PLAN_CUT &&
        (plan_step_info(plan_step_kind(ps))->pair || t->pid > 0 || t->conn ||
         ps->action == PLAN_RESTART || plan_step_before_life(ps))) {
        coord_fault_begin(c, i);
        return;
    }
    if (t->pid <= 0) { /* it is gone already: the fault cannot fire, the site goes on */
        coord_step_end(c, i, false);
        return;
    }
    switch (ps->action) {
    case PLAN_KILL:
        t->planned_death = true;
        kill(t->pid, SIGKILL);
        break;
    case PLAN_PAUSE:
        kill(t->pid, SIGSTOP);
        if (ps->for_ns != FL_NEVER && ps->for_ns > 0)
            coord_step_timer(c, s, on_pause_over, ps->for_ns);
        break;
    case PLAN_RESUME:
        kill(t->pid, SIGCONT);
        coord_step_end(c, i, true);
        break;
    default:
        break;
    }
}

void coord_steps_check(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *ps = &c->p->steps[i];
        const struct coord_node *t = &c->nodes[ps->target];
        if (!c->steps[i].begun || c->steps[i].ended)
            continue;
        if (ps->action == PLAN_KILL && t->exited)
            coord_step_end(c, i, true);
        else if (ps->action == PLAN_PAUSE && (t->stopped || t->exited))
            coord_step_end(c, i, t->stopped);
    }
    coord_fault_check(c);
}

static void on_step_time(evutil_socket_t fd, short what, void *arg)
{
    struct coord_step *s = arg;
    (void)fd;
    (void)what;
    step_begin(s->c, (int)(s - s->c->steps), -1);
}

void coord_steps_init(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++) {
        c->steps[i].c = c;
        c->steps[i].waiter = -1;
    }
    result_ask_faults(c->p, c->r);
}

void coord_steps_start(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++)
        if (c->p->steps[i].when == PLAN_AT_START)
            step_begin(c, i, -1);
}

void coord_steps_running(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++)
        if (c->p->steps[i].when == PLAN_AT_TIME)
            coord_step_timer(c, &c->steps[i], on_step_time, c->p->steps[i].at_ns);
}

void coord_steps_done(struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++)
        if (c->steps[i].timer)
            event_free(c->steps[i].timer);
}

/* --- messages of nodes ---------------------------------------------------------------------- */

static void take_ready(struct coord_node *n, const json_t *m)
{
    const char *addr = json_string_value(json_object_get(m, "addr"));
    if (!addr || strlen(addr) >= sizeof(n->addr)) {
        coord_fail(n->c, "node %s sent no fabric address", n->c->p->nodes[n->idx].name);
        return;
    }
    memcpy(n->addr, addr, strlen(addr) + 1);
    struct in_addr in;
    const char *ip = json_string_value(json_object_get(m, "host"));
    if (ip && inet_pton(AF_INET, ip, &in) == 1)
        snprintf(n->ip, sizeof(n->ip), "%s", ip);
    if (n->external)
        n->c->r->nodes[n->idx].pid = (int)json_integer_value(json_object_get(m, "pid"));
    n->ready = true;
    if (n->incarnation > 1)
        coord_node_back(n);
}

static void take_site(struct coord_node *n, const json_t *m)
{
    const json_t *k = json_object_get(m, "step");
    json_int_t i = json_is_integer(k) ? json_integer_value(k) : -1;
    if (i < 0 || i >= n->c->p->step_count || n->c->p->steps[i].node != n->idx) {
        coord_fail(n->c, "node %s passed the site of a step that is not its own",
                   n->c->p->nodes[n->idx].name);
        return;
    }
    step_begin(n->c, (int)i, n->idx);
}

/** A node dies in its own site, as the plan says; without a pid nobody would see by what. */
static void take_dying(struct coord_node *n, const json_t *m)
{
    const json_t *k = json_object_get(m, "step");
    json_int_t i = json_is_integer(k) ? json_integer_value(k) : -1;
    if (i < 0 || i >= n->c->p->step_count || n->c->p->steps[i].action != PLAN_KILL ||
        n->c->p->steps[i].target != n->idx || n->c->p->steps[i].node != n->idx)
        return; /* then it is a crash */
    n->c->steps[i].begun = true;
    n->planned_death = true;
}

static void take_fault(struct coord_node *n, const char *type, const json_t *m)
{
    const json_t *k = json_object_get(m, "step");
    json_int_t i = json_is_integer(k) ? json_integer_value(k) : -1;
    json_int_t hits = json_integer_value(json_object_get(m, "hits"));
    if (i < 0 || i >= n->c->p->step_count || hits < 0)
        coord_fail(n->c, "node %s tells of a step that is none", n->c->p->nodes[n->idx].name);
    else if (!strcmp(type, "armed"))
        coord_fault_armed(n, (int)i);
    else
        coord_fault_hit(n, (int)i, (uint64_t)hits);
}

static void take_failed(struct coord_node *n, const json_t *m)
{
    const char *cause = json_string_value(json_object_get(m, "cause"));
    json_int_t status = json_integer_value(json_object_get(m, "status"));
    n->fail_status = status < 0 && status > -1000 ? (int)status : FL_EIO;
    snprintf(n->fail_cause, sizeof(n->fail_cause), "%s",
             cause ? cause : fl_strerror(n->fail_status));
}

static void take_answer(struct coord_node *n, const json_t *m)
{
    json_int_t id = json_integer_value(json_object_get(m, "id"));
    for (int i = 0; i < COORD_QUERIES; i++) {
        struct coord_query *q = &n->c->queries[i];
        if (q->id && q->id == id && q->node == n->idx && !q->reply)
            q->reply = json_incref((json_t *)m); /* a reference, its content is not changed */
    }
}

static void on_msg(void *arg, struct ctl_conn *conn, const char *type, const json_t *m)
{
    struct coord_node *n = ctl_user(conn);
    (void)arg;
    if (!n)
        return;
    if (!strcmp(type, "ready")) {
        take_ready(n, m);
    } else if (!strcmp(type, "connected")) {
        n->connected = true;
        coord_fault_check(n->c);
    } else if (!strcmp(type, "running")) {
        n->running = true;
    } else if (!strcmp(type, "site")) {
        take_site(n, m);
    } else if (!strcmp(type, "armed") || !strcmp(type, "hit")) {
        take_fault(n, type, m);
    } else if (!strcmp(type, "done")) {
        n->running = n->done = true;
        coord_take_report(n, m);
    } else if (!strcmp(type, "report")) {
        n->reported = true;
        coord_take_report(n, m);
    } else if (!strcmp(type, "digests") || !strcmp(type, "page") || !strcmp(type, "writer")) {
        take_answer(n, m);
    } else if (!strcmp(type, "dying")) {
        take_dying(n, m);
    } else if (!strcmp(type, "failed")) {
        take_failed(n, m);
    } else {
        coord_fail(n->c, "node %s sent an unknown message", n->c->p->nodes[n->idx].name);
    }
}

void coord_take(struct coord *c, int fd)
{
    const struct ctl_handler h = {.arg = c, .up = on_up, .msg = on_msg, .down = on_down};
    for (int i = 0; i < c->stranger_max; i++) {
        if (!c->strangers[i]) {
            c->strangers[i] = ctl_new(c->base, fd, NULL, CTL_VERSION, c->key, &h);
            return;
        }
    }
    evutil_closesocket(fd);
}
