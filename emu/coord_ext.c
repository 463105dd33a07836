/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that somebody else starts: containers, guests, other hosts. The coordinator awaits them
 * under a deadline and knows them by their control connections only. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/units.h"
#include "emu/coord.h"
#include "emu/plan_steps.h"

/* --- which nodes, and the key --------------------------------------------------------------- */

/** One item of --external: NAME or NAME=CONTAINER. */
static int take_item(struct coord *c, const char *item)
{
    const char *eq = strchr(item, '=');
    char name[PLAN_NAME_MAX];
    size_t len = eq ? (size_t)(eq - item) : strlen(item);
    snprintf(name, sizeof(name), "%.*s", (int)len, item);
    int i = len < sizeof(name) ? plan_node_find(c->p, name) : -1;
    if (i < 0)
        return fl_fail(c->err, FL_EINVAL, "--external %.64s: the scenario has no such node; %s",
                       item, "see `farline plan`");
    if (eq && (!eq[1] || strlen(eq + 1) >= COORD_WHO_MAX))
        return fl_fail(c->err, FL_EINVAL, "--external %.64s: write NAME=CONTAINER", item);
    c->nodes[i].external = true;
    snprintf(c->nodes[i].who, COORD_WHO_MAX, "%s", eq ? eq + 1 : name);
    return FL_OK;
}

static int take_list(struct coord *c)
{
    char *list = strdup(c->o->external), *rest = list;
    int rv = list ? FL_OK : fl_fail(c->err, FL_ENOMEM, "out of memory");
    for (char *item; !rv && (item = strsep(&rest, ",")) != NULL;)
        rv = take_item(c, item);
    free(list);
    return rv;
}

int coord_ext_init(struct coord *c)
{
    int rv = FL_OK;
    if (!c->o->external)
        return FL_OK;
    if (!c->o->token_file)
        return fl_fail(c->err, FL_EINVAL,
                       "external nodes have to know the run's key: name its file with "
                       "--token-file, here and at each node");
    if (strcmp(c->o->external, "all") != 0)
        rv = take_list(c);
    else
        for (uint16_t i = 0; !rv && i < c->p->node_count; i++)
            rv = take_item(c, c->p->nodes[i].name);
    return rv ? rv : ctl_key_file(c->o->token_file, c->key, c->err);
}

/* --- steps ---------------------------------------------------------------------------------- */

/** The driver takes a container off its network: both ways at once. */
static bool both_ways(const struct plan *p, const struct plan_step *s)
{
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *t = &p->steps[i];
        if (t->action == s->action && t->target == s->target2 && t->target2 == s->target &&
            t->when == s->when && t->node == s->node && t->site == s->site && t->nth == s->nth &&
            t->at_ns == s->at_ns)
            return true;
    }
    return false;
}

bool coord_ext_cuts(const struct coord *c, const struct plan_step *s, uint16_t *ret_node)
{
    if ((s->action != PLAN_CUT && s->action != PLAN_HEAL) || !c->o->driver || !c->o->driver_network)
        return false;
    bool second = c->p->nodes[s->target2].role == PLAN_MEMORY;
    bool first = c->p->nodes[s->target].role == PLAN_MEMORY;
    *ret_node = second == first ? (s->target > s->target2 ? s->target : s->target2)
                : second        ? s->target2
                                : s->target;
    return c->nodes[*ret_node].external;
}

int coord_ext_refuse(const struct coord *c)
{
    for (int i = 0; i < c->p->step_count; i++) {
        const struct plan_step *s = &c->p->steps[i];
        uint16_t cut;
        if (coord_ext_cuts(c, s, &cut) && !both_ways(c->p, s))
            return fl_fail(c->err, FL_EINVAL,
                           "%s:%d: a container leaves its network both ways at once; cut both "
                           "directions, or run without --driver-network",
                           c->p->file, s->line);
        bool stops = s->action == PLAN_PAUSE || s->action == PLAN_RESUME;
        if (stops && c->nodes[s->target].external && !c->o->driver)
            return fl_fail(c->err, FL_EINVAL,
                           "%s:%d: node %s is started by others; name what stops and continues it "
                           "with --driver podman or --driver docker",
                           c->p->file, s->line, c->p->nodes[s->target].name);
    }
    return FL_OK;
}

/* --- joining -------------------------------------------------------------------------------- */

bool coord_ext_joined(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (c->nodes[i].external && !c->nodes[i].joined)
            return false;
    return true;
}

static size_t name_missing(const struct coord *c, char *ret, size_t cap)
{
    size_t len = 0;
    ret[0] = 0;
    for (uint16_t i = 0; i < c->p->node_count && len + PLAN_NAME_MAX + 2 < cap; i++)
        if (c->nodes[i].external && !c->nodes[i].joined)
            len += (size_t)snprintf(ret + len, cap - len, "%s%s", len ? ", " : "",
                                    c->p->nodes[i].name);
    return len;
}

void coord_ext_announce(const struct coord *c)
{
    char names[256];
    if (name_missing(c, names, sizeof(names)))
        fprintf(stderr, "farline: waiting at %s for %s\n", c->addr, names);
}

int coord_ext_missing(struct coord *c)
{
    char names[160], why[240] = "";
    int rv = FL_ETIMEDOUT;
    name_missing(c, names, sizeof(names));
    for (uint16_t i = 0; i < c->p->node_count && !why[0]; i++) {
        const struct coord_node *n = &c->nodes[i];
        if (n->external && !n->joined && n->fail_status) {
            rv = n->fail_status;
            snprintf(why, sizeof(why), "; %s was turned away: %.200s", c->p->nodes[i].name,
                     n->fail_cause);
        }
    }
    return fl_fail(c->err, rv, "nodes did not join within %llu s: %s%s%s",
                   (unsigned long long)c->join_ms / 1000, names, why,
                   why[0] ? ""
                          : "; is `farline node --join ADDR:PORT --name NAME --token-file FILE` "
                            "running for each, and does it reach this address?");
}

void coord_ext_stranger(struct coord *c, const char *name, int cause, const char *why)
{
    int i = plan_node_find(c->p, name);
    if (i < 0 || !c->nodes[i].external || c->nodes[i].joined)
        return;
    bool left = cause == FL_ECONN; /* it saw that we do not hold its key, and went */
    c->nodes[i].fail_status = left ? FL_EAUTH : cause;
    snprintf(c->nodes[i].fail_cause, sizeof(c->nodes[i].fail_cause), "%s",
             left ? "it left without a proof; does its --token-file hold this run's key?" : why);
}
