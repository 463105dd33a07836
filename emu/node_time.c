/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of the core, the sampling diff and the latency histogram of a node. */
#include <stdlib.h>

#include "emu/base/assert.h"
#include "emu/node_priv.h"

enum { TAG_SAMPLE = 0 }; /* with NODE_OWN: a timer of the node itself */
#define NODE_OWN (UINT64_C(1) << 63)

static void wake(struct emu_node *n)
{
    uint64_t next = FL_NEVER;

    for (unsigned i = 0; i < n->timer_count; i++) {
        next = n->timers[i].at_ns < next ? n->timers[i].at_ns : next;
    }
    if (next != n->woken_for_ns) {
        n->woken_for_ns = next;
        n->cfg.loop.wake_at(n->cfg.loop.arg, n, next);
    }
}

void node_timers_arm(struct emu_node *n)
{
    n->woken_for_ns = 0;
    wake(n);
}

void node_timer_set(struct emu_node *n, uint64_t tag, uint64_t at_ns)
{
    unsigned i = 0;

    while (i < n->timer_count && n->timers[i].tag != tag) {
        i++;
    }
    if (at_ns == FL_NEVER) {
        if (i < n->timer_count) {
            n->timers[i] = n->timers[--n->timer_count];
        }
    } else {
        FL_ASSERT(i < NODE_TIMERS_MAX);
        n->timers[i] = (struct node_timer){tag, at_ns};
        n->timer_count += i == n->timer_count;
    }
    wake(n);
}

/* --- sampling ------------------------------------------------------------------------------- */

static bool sampled(const struct emu_node *n, struct node_ref r)
{
    return (n->sampled_bits[r.region][r.page / 8] >> (r.page % 8)) & 1;
}

void node_sample_add(struct emu_node *n, uint16_t region, uint32_t page)
{
    struct node_ref r = {region, page};

    if (n->sample_ns == FL_NEVER || n->sampled_bits[region] == NULL || sampled(n, r)) {
        return;
    }
    if (n->sampled_count == n->sampled_cap) {
        n->sampled_cap = n->sampled_cap ? n->sampled_cap * 2 : 256;
        n->sampled = realloc(n->sampled, n->sampled_cap * sizeof *n->sampled);
        FL_ASSERT(n->sampled != NULL);
    }
    n->sampled_bits[region][page / 8] |= (uint8_t)(1U << (page % 8));
    n->sampled[n->sampled_count++] = r;
    if (n->sampled_count == 1) {
        node_timer_set(n, NODE_OWN | TAG_SAMPLE, node_now(n) + n->sample_ns);
    }
}

void node_sample_remove(struct emu_node *n, uint16_t region, uint32_t page)
{
    /* The list entry goes when the next tick meets it. */
    if (n->sampled_bits[region] != NULL) {
        n->sampled_bits[region][page / 8] &= (uint8_t) ~(1U << (page % 8));
    }
}

/* Looks at a bounded number of open dirty pages; what differs from the twin by now is dirty. */
static void sample_tick(struct emu_node *n)
{
    uint32_t looked = 0;

    while (n->sampled_count > 0 && looked < NODE_SAMPLE_BUDGET && looked < n->sampled_count) {
        uint32_t i = n->sample_next % n->sampled_count;
        struct node_ref r = n->sampled[i];

        if (!sampled(n, r)) {
            n->sampled[i] = n->sampled[--n->sampled_count];
            continue;
        }
        fl_mask m = n->trk->ops->peek(n->trk, r.region, r.page);

        if (m != 0) {
            node_post(n, &(struct fl_event){
                             .kind = FL_EV_DIRTY, .region = r.region, .page = r.page, .mask = m});
        }
        n->sample_next = i + 1;
        looked++;
    }
    if (n->sampled_count > 0) {
        node_timer_set(n, NODE_OWN | TAG_SAMPLE, node_now(n) + n->sample_ns);
    }
}

uint64_t node_overdue_ns(const struct emu_node *n)
{
    uint64_t now = node_now(n), due = n->queued_due_ns;

    for (unsigned i = 0; i < n->timer_count; i++) {
        due = n->timers[i].at_ns < due ? n->timers[i].at_ns : due;
    }
    return due < now ? now - due : 0;
}

void node_timers_run(struct emu_node *n)
{
    uint64_t now = node_now(n);
    bool any = false;

    for (unsigned i = 0; i < n->timer_count;) {
        struct node_timer t = n->timers[i];

        if (t.at_ns > now) {
            i++;
            continue;
        }
        any = true;
        n->timers[i] = n->timers[--n->timer_count];
        if (t.tag & NODE_OWN) {
            sample_tick(n);
        } else {
            n->queued_due_ns = t.at_ns < n->queued_due_ns ? t.at_ns : n->queued_due_ns;
            node_post(n, &(struct fl_event){
                             .kind = FL_EV_TIMER, .tag = t.tag, .a = now - t.at_ns, .b = t.at_ns});
        }
    }
    if (any) {
        n->woken_for_ns = 0; /* that wake-up is used up: ask again */
        wake(n);
    }
}

/* --- latencies: buckets of an eighth of a power of two -------------------------------------- */

void node_latency_add(struct emu_node *n, uint64_t ns)
{
    unsigned top = 63U - (unsigned)__builtin_clzll(ns | 8);
    unsigned b = top * 8 + (unsigned)((ns >> (top - 3)) & 7);

    n->latency[b]++;
    n->latency_count++;
}

uint64_t node_latency_quantile(const struct emu_node *n, double q)
{
    uint64_t want = (uint64_t)(q * (double)n->latency_count), seen = 0;

    for (unsigned b = 0; b < NODE_LATENCY_BUCKETS; b++) {
        seen += n->latency[b];
        if (seen > want) {
            return ((UINT64_C(8) + b % 8 + 1) << (b / 8)) >> 3;
        }
    }
    return 0;
}
