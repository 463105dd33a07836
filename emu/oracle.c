/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/base/zeroed.h"
#include "emu/oracle_priv.h"

static bool has_shadow(const struct plan *p, uint16_t region)
{
    for (unsigned i = 0; i < p->workload_count; i++) {
        const struct plan_workload *w = &p->workloads[i];

        if (w->region == region && (w->kind == PLAN_SQLITE || w->kind == PLAN_LUA)) {
            return false;
        }
    }
    return true;
}

static void region_init(struct oracle *o, uint16_t r)
{
    struct oregion *g = &o->regions[r];

    g->cfg = &o->plan->regions[r];
    g->flush_from_ns = FL_NEVER;
    g->page_count = (uint32_t)(g->cfg->size_bytes / FL_PAGE_BYTES);
    g->pages = calloc(g->page_count, sizeof *g->pages);
    FL_ASSERT(g->pages != NULL);
    if (has_shadow(o->plan, r)) {
        g->shadow_bytes = g->cfg->size_bytes;
        g->shadow = fl_zeroed_new(g->shadow_bytes);
        FL_ASSERT(g->shadow != NULL);
        g->writers = writers_new(g->shadow_bytes);
        FL_ASSERT(g->writers != NULL);
    }
}

struct oracle *oracle_new(const struct plan *p, uint16_t self, struct coh_tracker *trk)
{
    struct oracle *o = calloc(1, sizeof *o);

    if (o == NULL) {
        return NULL;
    }
    o->plan = p;
    o->self = self;
    o->trk = trk;
    o->capacity = p->nodes[self].device_memory_bytes / FL_PAGE_BYTES;
    o->must_fence = calloc(p->node_count, 1);
    o->down = calloc(p->node_count, 1);
    o->applied = calloc(MAX_CHUNKS, sizeof *o->applied);
    o->applied_pages = calloc(MAX_CHUNKS, sizeof *o->applied_pages);
    FL_ASSERT(o->must_fence != NULL && o->down != NULL && o->applied != NULL &&
              o->applied_pages != NULL);
    for (uint16_t r = 0; r < p->region_count; r++) {
        if (p->regions[r].on == self) {
            region_init(o, r);
        }
        for (unsigned c = 0; c < p->regions[r].chunk_count; c++) {
            const struct plan_chunk *k = &p->regions[r].chunks[c];

            if (k->node == self && k->chunk < MAX_CHUNKS) {
                o->applied[k->chunk] = calloc(k->page_count, sizeof(uint64_t));
                FL_ASSERT(o->applied[k->chunk] != NULL);
                o->applied_pages[k->chunk] = k->page_count;
            }
        }
    }
    return o;
}

void oracle_free(struct oracle **po)
{
    struct oracle *o = po != NULL ? *po : NULL;

    if (o == NULL) {
        return;
    }
    for (unsigned r = 0; r < PLAN_REGIONS_MAX; r++) {
        struct oregion *g = &o->regions[r];

        for (uint32_t i = 0; g->pages != NULL && i < g->page_count; i++) {
            free(g->pages[i]);
        }
        free(g->pages);
        if (g->shadow != NULL) {
            if (!g->shadow_shared) {
                fl_zeroed_free(g->shadow, g->shadow_bytes);
            }
            writers_free(&g->writers);
        }
    }
    for (unsigned c = 0; c < MAX_CHUNKS; c++) {
        free(o->applied[c]);
    }
    free(o->applied);
    free(o->applied_pages);
    free(o->must_fence);
    free(o->down);
    free(o);
    *po = NULL;
}

/* A page is known from its first fetch on; a memory node's page starts as zeros. */
static struct opage *page_of(struct oracle *o, uint16_t region, uint32_t page)
{
    struct oregion *g = &o->regions[region];

    FL_ASSERT(page < g->page_count);
    if (g->pages[page] == NULL) {
        g->pages[page] = calloc(1, sizeof **g->pages);
        FL_ASSERT(g->pages[page] != NULL);
        g->pages[page]->dirty_since_ns = FL_NEVER;
    }
    return g->pages[page];
}

uint8_t *oracle_shadow(struct oracle *o, uint16_t region)
{
    return o->regions[region].shadow;
}

void oracle_bad_load(struct oracle *o, uint16_t region, uint64_t off, uint64_t expected,
                     uint64_t seen)
{
    struct result_first *f =
        oracle_violate(o, W3, "load at offset 0x%llx of region %s: expected 0x%llx, seen 0x%llx",
                       (unsigned long long)off, o->plan->regions[region].name,
                       (unsigned long long)expected, (unsigned long long)seen);

    oracle_want(f, "bytes from offset 0x%llx of region %s: 0x%llx", (unsigned long long)off,
                o->plan->regions[region].name, (unsigned long long)expected);
    oracle_saw(f, "0x%llx", (unsigned long long)seen);
    oracle_written_by(o, f, region, off, 1);
}

void oracle_good_loads(struct oracle *o, uint64_t bytes)
{
    count(o, W3, bytes);
}

void oracle_on_program(struct oracle *o, uint16_t region, bool deceived, const char *text)
{
    count(o, W3, 8);
    if (deceived) {
        const char *name = o->plan->regions[region].name;
        struct result_first *f = oracle_violate(
            o, W3, "the program in region %s did not give what it gives on plain memory%s%s", name,
            text[0] ? ": " : "", text);

        oracle_want(f, "what the program gives on plain memory, in region %s", name);
        oracle_saw(f, "%s", text[0] ? text : "another sum over its data");
    }
}

void oracle_undecided(struct oracle *o, uint16_t region, uint64_t off, uint64_t len_bytes)
{
    struct oregion *g = &o->regions[region];

    /* The pages exist already or the access never reached them; existing entries only, so that
     * no allocation races with the device thread. */
    for (uint64_t p = off / FL_PAGE_BYTES; p * FL_PAGE_BYTES < off + len_bytes; p++) {
        if (p < g->page_count && g->pages[p] != NULL) {
            __atomic_store_n(&g->pages[p]->undecided, 1, __ATOMIC_RELAXED);
        }
    }
}

void oracle_on_gate(struct oracle *o, uint16_t region, uint32_t page, uint32_t cnt,
                    enum fl_prot prot)
{
    for (uint32_t i = 0; i < cnt; i++) {
        page_of(o, region, page + i)->prot = (uint8_t)prot;
    }
}

void oracle_on_install(struct oracle *o, uint16_t region, uint32_t page, fl_mask mask,
                       const uint8_t *src)
{
    struct opage *p = page_of(o, region, page);
    int bad = oracle_first_diff(src, p->acked, mask);

    oracle_record_install(&o->regions[region], page, mask, src);
    /* W3: what comes back is what was acknowledged before, zeros at first. */
    count(o, W3, (uint64_t)fl_mask_count(mask) * FL_LINE_BYTES);
    if (bad >= 0) {
        oracle_differ(
            o,
            oracle_violate(
                o, W3, "page %u of region %s came back with line %d unlike what was acknowledged",
                page, o->plan->regions[region].name, bad),
            region, page, bad, p->acked, src);
        memcpy(p->acked, src, FL_PAGE_BYTES);
    }
    if (!p->cached) {
        p->cached = 1;
        o->cached++;
    }
    count(o, W8, 1);
    if (o->cached > o->capacity) {
        struct result_first *f =
            oracle_violate(o, W8, "%llu pages cached, device memory holds %llu",
                           (unsigned long long)o->cached, (unsigned long long)o->capacity);

        oracle_want(f, "at most %llu pages cached", (unsigned long long)o->capacity);
        oracle_saw(f, "%llu", (unsigned long long)o->cached);
    }
    p->dropped = 0;
}

void oracle_on_dirty(struct oracle *o, uint16_t region, uint32_t page, uint64_t since_ns)
{
    struct opage *p = page_of(o, region, page);

    if (p->dirty_since_ns == FL_NEVER) {
        p->dirty_since_ns = since_ns;
    }
}

void oracle_on_period(struct oracle *o, uint16_t region, uint64_t now_ns, uint64_t late_ns)
{
    struct oregion *g = &o->regions[region];

    if (g->outstanding == 0) {
        g->flush_from_ns = now_ns; /* what follows until all is answered is flush time */
    }
    g->ticks[g->tick_count++ % TICKS_MAX] = (struct otick){now_ns, late_ns};
}

void oracle_on_closing(struct oracle *o, uint16_t region, uint64_t now_ns, uint64_t late_ns)
{
    oracle_on_period(o, region, now_ns, late_ns);
    o->regions[region].closing = true;
}

/* The first periodic write-back that began after @since_ns; NULL when none has. */
static const struct otick *first_tick(const struct oregion *g, uint64_t since_ns)
{
    const struct otick *found = NULL;

    for (uint64_t i = 1; i <= TICKS_MAX && i <= g->tick_count; i++) {
        const struct otick *t = &g->ticks[(g->tick_count - i) % TICKS_MAX];

        if (t->at_ns <= since_ns) {
            break;
        }
        found = t;
    }
    return found;
}

/* W6: a store waits at most one period for the write-back that takes it along, longer only by what
 * the timer of that write-back was late, and by the flush before it when it came in the midst of
 * one. What is flushed for another reason before a periodic write-back began has no timer to be
 * late: there a whole second period is allowed. */
static void check_staleness(struct oracle *o, uint16_t region, uint32_t page, struct opage *p,
                            uint64_t now_ns)
{
    const struct oregion *g = &o->regions[region];
    uint64_t period_ns = g->cfg->period_ns, flush_ns = g->flush_max_ns, waited_ns, bound_ns;
    const struct otick *t;

    if (p->dirty_since_ns == FL_NEVER || period_ns == FL_NEVER) {
        return;
    }
    t = first_tick(g, p->dirty_since_ns);
    if (t == NULL && g->closing) {
        return;
    }
    if (g->flush_from_ns != FL_NEVER && now_ns > g->flush_from_ns &&
        now_ns - g->flush_from_ns > flush_ns) {
        flush_ns = now_ns - g->flush_from_ns;
    }
    if (t != NULL) {
        waited_ns = t->at_ns - p->dirty_since_ns;
        bound_ns = period_ns + t->late_ns + flush_ns;
    } else {
        waited_ns = now_ns > p->dirty_since_ns ? now_ns - p->dirty_since_ns : 0;
        bound_ns = 2 * period_ns + flush_ns;
    }
    count(o, W6, 1);
    if (waited_ns > bound_ns) {
        struct result_first *f = oracle_violate(
            o, W6,
            "page %u of region %s: a store waited %llu ns, the period is %llu ns and no "
            "flush took longer than %llu ns",
            page, o->plan->regions[region].name, (unsigned long long)waited_ns,
            (unsigned long long)period_ns, (unsigned long long)flush_ns);

        oracle_want(f, "page %u of region %s waits at most %llu ns", page,
                    o->plan->regions[region].name, (unsigned long long)bound_ns);
        oracle_saw(f, "%llu ns", (unsigned long long)waited_ns);
        oracle_written_by(o, f, region, (uint64_t)page * FL_PAGE_BYTES, FL_PAGE_BYTES);
    }
}

void oracle_on_snap(struct oracle *o, uint16_t region, uint32_t page, uint64_t now_ns)
{
    struct opage *p = page_of(o, region, page);

    check_staleness(o, region, page, p, now_ns);
    p->dirty_since_ns = FL_NEVER;
}

static uint64_t payload_of(const struct fl_rma *op)
{
    return op->whole ? FL_PAGE_BYTES : (uint64_t)fl_mask_count(op->mask) * FL_LINE_BYTES;
}

static void check_order(struct oracle *o, const struct fl_rma *op, struct opage *p)
{
    count(o, W7, 1);
    if (op->seq <= p->seq) {
        struct result_first *f =
            oracle_violate(o, W7, "page %u of region %s: write-back %llu posted after %llu",
                           op->page, o->plan->regions[op->region].name, (unsigned long long)op->seq,
                           (unsigned long long)p->seq);

        oracle_want(f, "a write-back of page %u numbered above %llu", op->page,
                    (unsigned long long)p->seq);
        oracle_saw(f, "%llu", (unsigned long long)op->seq);
    }
    p->seq = op->seq;
    if (o->must_fence[op->slot.node]) {
        struct result_first *f = oracle_violate(
            o, W7, "page %u of region %s: written to %s without a fence after an error", op->page,
            o->plan->regions[op->region].name, o->plan->nodes[op->slot.node].name);

        oracle_want(f, "a fence at %s before page %u is written again",
                    o->plan->nodes[op->slot.node].name, op->page);
        oracle_saw(f, "none");
        oracle_written_by(o, f, op->region, (uint64_t)op->page * FL_PAGE_BYTES, FL_PAGE_BYTES);
    }
}

void oracle_on_post(struct oracle *o, const struct fl_rma *op, const uint8_t *src)
{
    struct opage *p = page_of(o, op->region, op->page);

    o->regions[op->region].outstanding++;
    o->expected_bytes += payload_of(op);
    o->open_bytes += payload_of(op);
    check_order(o, op, p);
    count(o, W4, fl_mask_count(op->mask));
    if (op->whole) {
        return;
    }
    for (fl_mask m = op->mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        if (memcmp(src + i * FL_LINE_BYTES, p->acked + i * FL_LINE_BYTES, FL_LINE_BYTES) == 0 &&
            !(p->undecided & 2) && !p->doubt) {
            struct result_first *f =
                oracle_violate(o, W4, "line %u of page %u of region %s was sent although clean", i,
                               op->page, o->plan->regions[op->region].name);

            oracle_want(f, "line %u of page %u stays here: it did not change", i, op->page);
            oracle_saw(f, "it was sent");
            oracle_written_by(o, f, op->region,
                              (uint64_t)op->page * FL_PAGE_BYTES + i * FL_LINE_BYTES,
                              FL_LINE_BYTES);
        }
    }
}

void oracle_on_span(struct oracle *o, const struct fl_rma *op, uint64_t page_off,
                    uint64_t len_bytes)
{
    uint64_t end = page_off + len_bytes;

    for (uint64_t b = page_off; b < end; b += FL_LINE_BYTES - b % FL_LINE_BYTES) {
        uint64_t line = b / FL_LINE_BYTES;

        if (line >= FL_PAGE_LINES || !((op->mask >> line) & 1)) {
            struct result_first *f = oracle_violate(
                o, W4,
                "bytes of line %llu beside the dirty lines of page %u of region %s "
                "were written",
                (unsigned long long)line, op->page, o->plan->regions[op->region].name);

            oracle_want(f, "no byte of line %llu of page %u is written", (unsigned long long)line,
                        op->page);
            oracle_saw(f, "bytes %llu to %llu of the page were", (unsigned long long)page_off,
                       (unsigned long long)end - 1);
        }
    }
}

void oracle_on_done(struct oracle *o, const struct fl_rma *op, const uint8_t *src, int status,
                    uint64_t now_ns)
{
    struct oregion *g = &o->regions[op->region];
    struct opage *p = page_of(o, op->region, op->page);

    FL_ASSERT(g->outstanding > 0);
    o->open_bytes -= payload_of(op);
    if (--g->outstanding == 0 && g->flush_from_ns != FL_NEVER) {
        if (now_ns - g->flush_from_ns > g->flush_max_ns) {
            g->flush_max_ns = now_ns - g->flush_from_ns;
        }
        g->flush_from_ns = FL_NEVER;
    }
    if (status != FL_OK) {
        o->failed_bytes += payload_of(op);
        p->undecided |= 2; /* each line of the mask is old or new there: it may be sent again */
        return;
    }
    p->undecided &= (uint8_t)~2U;
    p->doubt = 0;
    oracle_record_acked(g, op->page, op->mask, src);
    for (fl_mask m = op->mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        memcpy(p->acked + i * FL_LINE_BYTES, src + i * FL_LINE_BYTES, FL_LINE_BYTES);
    }
}

void oracle_on_doubt(struct oracle *o, const struct fl_rma *op)
{
    page_of(o, op->region, op->page)->doubt = 1;
}

void oracle_on_error(struct oracle *o, uint16_t node)
{
    o->must_fence[node] = 1;
}

void oracle_on_fence(struct oracle *o, uint16_t node, int status)
{
    if (status == FL_OK) {
        o->must_fence[node] = 0;
    }
}

void oracle_on_peer_down(struct oracle *o, uint16_t node)
{
    o->down[node] = 1;
}

void oracle_on_drop(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *live)
{
    struct oregion *g = &o->regions[region];
    struct opage *p = page_of(o, region, page);
    int bad;

    if (p->cached) {
        p->cached = 0;
        o->cached--;
    }
    p->dropped = 1;
    p->dirty_since_ns = FL_NEVER;
    if (g->shadow == NULL) {
        memcpy(p->view, live, FL_PAGE_BYTES);
    }
    if (o->down[oracle_node_of(g, page)]) {
        return; /* its lines are lost with the node; close reports them */
    }
    count(o, W2, FL_PAGE_BYTES);
    bad = oracle_first_diff(live, p->acked, FL_MASK_ALL);
    if (p->prot != FL_PROT_NONE) {
        struct result_first *f =
            oracle_violate(o, W2, "page %u of region %s was dropped while threads can reach it",
                           page, o->plan->regions[region].name);

        oracle_want(f, "page %u is closed to threads before it is dropped", page);
        oracle_saw(f, p->prot == FL_PROT_RW ? "open for stores" : "open for loads");
        oracle_written_by(o, f, region, (uint64_t)page * FL_PAGE_BYTES, FL_PAGE_BYTES);
    } else if (bad >= 0) {
        oracle_differ(
            o,
            oracle_violate(o, W2, "page %u of region %s was dropped with line %d not acknowledged",
                           page, o->plan->regions[region].name, bad),
            region, page, bad, live, p->acked);
    }
}

void oracle_on_apply(struct oracle *o, uint16_t chunk, uint32_t page, uint64_t seq)
{
    if (chunk >= MAX_CHUNKS || page >= o->applied_pages[chunk]) {
        return;
    }
    count(o, W7, 1);
    if (seq <= o->applied[chunk][page]) {
        struct result_first *f = oracle_violate(
            o, W7, "page %u of chunk %u: write-back %llu applied after %llu", page, chunk,
            (unsigned long long)seq, (unsigned long long)o->applied[chunk][page]);

        oracle_want(f, "a write-back of page %u numbered above %llu", page,
                    (unsigned long long)o->applied[chunk][page]);
        oracle_saw(f, "%llu", (unsigned long long)seq);
    }
    o->applied[chunk][page] = seq;
}

void oracle_on_land(struct oracle *o, uint16_t chunk, uint32_t page, uint64_t seq)
{
    if (chunk >= MAX_CHUNKS || page >= o->applied_pages[chunk]) {
        return;
    }
    count(o, W7, 1);
    if (seq < o->applied[chunk][page]) {
        struct result_first *f = oracle_violate(
            o, W7, "page %u of chunk %u: bytes of write-back %llu landed after %llu", page, chunk,
            (unsigned long long)seq, (unsigned long long)o->applied[chunk][page]);

        oracle_want(f, "nothing of write-backs before %llu lands in page %u any more",
                    (unsigned long long)o->applied[chunk][page], page);
        oracle_saw(f, "bytes of %llu", (unsigned long long)seq);
    } else {
        o->applied[chunk][page] = seq;
    }
}
