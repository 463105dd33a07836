/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of what was acknowledged and what was under way, kept where it outlives the compute
 * node: what a crash may cost is decided from it, and nothing else (W-f7, and W-f1 with an image).
 *
 * Order of the writes here: bytes before the bit that makes them count. A process may be killed
 * between any two of them.
 */

#include "emu/base/assert.h"
#include "emu/base/zeroed.h"
#include "emu/mech/writeback.h"
#include "emu/oracle_priv.h"
#include "emu/plan_steps.h"

struct orecord {
    uint8_t acked[FL_PAGE_BYTES]; /* what the memory node must hold, but for what is under way */
    uint8_t sent[FL_PAGE_BYTES];  /* lines under way, or sent and failed */
    fl_mask sent_mask;
    fl_mask many_mask; /* several versions of the line were sent: any of them may be there */
    uint64_t batch;    /* of the last of them, log path */
    uint32_t tries;    /* writes of this page since the last acknowledgement */
    uint32_t known;    /* was fetched */
};

/** A compute node dies, or a memory node comes back with what it had: then this is asked for. */
static bool wanted(const struct plan *p, uint16_t self)
{
    if (p->nodes[self].role != PLAN_COMPUTE)
        return false;
    for (uint16_t i = 0; i < p->step_count; i++) {
        const struct plan_step *s = &p->steps[i];

        if ((s->action == PLAN_KILL && s->target == self) ||
            (s->action == PLAN_RESTART && !s->blank))
            return true;
    }
    return false;
}

size_t oracle_record_bytes(const struct plan *p, uint16_t self)
{
    size_t all = 0;

    for (uint16_t r = 0; wanted(p, self) && r < p->region_count; r++)
        if (p->regions[r].on == self)
            all += p->regions[r].size_bytes +
                   p->regions[r].size_bytes / FL_PAGE_BYTES * sizeof(struct orecord);
    return all;
}

void oracle_record(struct oracle *o, void *mem)
{
    uint8_t *at = mem;

    for (uint16_t r = 0; r < o->plan->region_count; r++) {
        struct oregion *g = &o->regions[r];

        if (o->plan->regions[r].on != o->self)
            continue;
        if (g->shadow != NULL) { /* the application's stores are seen through the record, too */
            fl_zeroed_free(g->shadow, g->shadow_bytes);
            g->shadow = at;
            g->shadow_shared = true;
        }
        at += g->cfg->size_bytes;
        g->record = (struct orecord *)(void *)at;
        at += g->page_count * sizeof(struct orecord);
    }
}

void oracle_record_install(struct oregion *g, uint32_t page, fl_mask mask, const uint8_t *src)
{
    struct orecord *e = g->record != NULL ? &g->record[page] : NULL;

    if (e == NULL)
        return;
    for (fl_mask m = mask; m != 0; m &= m - 1) {
        size_t off = (size_t)fl_mask_first(m) * FL_LINE_BYTES;

        memcpy(e->acked + off, src + off, FL_LINE_BYTES);
    }
    e->known = 1;
}

void oracle_on_hand(struct oracle *o, const struct fl_rma *op, const uint8_t *src)
{
    struct oregion *g = &o->regions[op->region];
    struct orecord *e = g->record != NULL ? &g->record[op->page] : NULL;

    if (e == NULL)
        return;
    e->tries++;
    e->batch = op->tag;
    for (fl_mask m = op->mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);
        size_t off = (size_t)i * FL_LINE_BYTES;

        if (((e->sent_mask >> i) & 1) && memcmp(e->sent + off, src + off, FL_LINE_BYTES) != 0)
            e->many_mask |= UINT64_C(1) << i;
        memcpy(e->sent + off, src + off, FL_LINE_BYTES);
        atomic_signal_fence(memory_order_seq_cst);
        e->sent_mask |= UINT64_C(1) << i;
    }
}

void oracle_record_acked(struct oregion *g, uint32_t page, fl_mask mask, const uint8_t *src)
{
    struct orecord *e = g->record != NULL ? &g->record[page] : NULL;

    if (e == NULL)
        return;
    oracle_record_install(g, page, mask, src);
    atomic_signal_fence(memory_order_seq_cst);
    e->sent_mask &= ~mask;
    e->many_mask &= ~mask;
    e->tries = 0;
}

/* --- after a crash -------------------------------------------------------------------------- */

enum fate { OLD, NEW, MIXED, OTHER, SAME, FATES };

/** What became of a line that was under way. */
static enum fate fate_of(const struct orecord *e, unsigned line, const uint8_t *seen)
{
    const uint8_t *old = e->acked + line * FL_LINE_BYTES, *sent = e->sent + line * FL_LINE_BYTES;

    if (memcmp(seen, sent, FL_LINE_BYTES) == 0)
        return memcmp(old, sent, FL_LINE_BYTES) == 0 ? SAME : NEW;
    if (memcmp(seen, old, FL_LINE_BYTES) == 0)
        return OLD;
    for (unsigned i = 0; i < FL_LINE_BYTES; i++)
        if (seen[i] != old[i] && seen[i] != sent[i])
            return OTHER;
    return MIXED;
}

static void lost_line(struct oracle *o, uint16_t region, uint32_t page, unsigned line,
                      const uint8_t *seen)
{
    struct oregion *g = &o->regions[region];
    struct result_first *f =
        oracle_violate(o, W3,
                       "after the crash line %u of page %u of region %s is neither what was "
                       "acknowledged last nor what was under way",
                       line, page, g->cfg->name);

    oracle_differ(o, f, region, page, (int)line, g->record[page].acked, seen);
}

static void torn_batch(struct oracle *o, uint16_t region, uint32_t page, uint32_t other)
{
    struct result_first *f = oracle_violate(
        o, W3, "after the crash page %u of region %s holds what a log batch brought, page %u not",
        page, o->plan->regions[region].name, other);

    oracle_want(f, "all pages as the batch had them, or none");
    oracle_saw(f, "some");
}

/** A batch applies whole or not at all: every page of it says the same. */
static void batch_seen(struct oracle *o, uint16_t region, uint32_t page, bool new)
{
    struct oregion *g = &o->regions[region];
    uint64_t batch = g->record[page].batch;
    uint16_t node = oracle_node_of(g, page);

    for (unsigned i = 0; i < o->crashed_count; i++) {
        if (o->crashed[i].batch != batch || o->crashed[i].node != node)
            continue;
        if (o->crashed[i].new != new)
            torn_batch(o, region, new ? page : o->crashed[i].page, new ? o->crashed[i].page : page);
        return;
    }
    if (o->crashed_count < CRASHED_MAX) {
        o->crashed[o->crashed_count].batch = batch;
        o->crashed[o->crashed_count].page = page;
        o->crashed[o->crashed_count].node = node;
        o->crashed[o->crashed_count++].new = new;
    }
}

bool oracle_crash_known(const struct oracle *o, uint16_t region, uint32_t page)
{
    const struct oregion *g = &o->regions[region];

    return g->record != NULL && page < g->page_count && g->record[page].known != 0;
}

uint64_t oracle_crash_page(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote)
{
    struct oregion *g = &o->regions[region];
    const struct orecord *e = g->record != NULL ? &g->record[page] : NULL;
    const uint8_t *shadow = g->shadow != NULL ? g->shadow + (size_t)page * FL_PAGE_BYTES : NULL;
    unsigned seen[FATES] = {0};
    uint64_t lost = 0;

    if (e == NULL || !e->known)
        return 0;
    count(o, W3, FL_PAGE_BYTES);
    for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
        const uint8_t *line = remote + (size_t)i * FL_LINE_BYTES;
        bool same = memcmp(line, e->acked + (size_t)i * FL_LINE_BYTES, FL_LINE_BYTES) == 0;

        lost +=
            shadow != NULL && memcmp(line, shadow + (size_t)i * FL_LINE_BYTES, FL_LINE_BYTES) != 0;
        if (!((e->sent_mask >> i) & 1)) {
            if (!same)
                lost_line(o, region, page, i, remote);
        } else if (!((e->many_mask >> i) & 1)) {
            enum fate what = fate_of(e, i, line);

            seen[what]++;
            if (what == OTHER)
                lost_line(o, region, page, i, remote);
        }
    }
    if (g->cfg->path == WB_LOG && e->tries == 1) {
        if (seen[MIXED] > 0 || (seen[OLD] > 0 && seen[NEW] > 0))
            torn_batch(o, region, page, page);
        else if (seen[OLD] + seen[NEW] > 0)
            batch_seen(o, region, page, seen[NEW] > 0);
    }
    return lost;
}
