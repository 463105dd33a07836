/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/oracle.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "emu/base/assert.h"

enum {
    MAX_CHUNKS = 64, /* per memory node, as MN_CHUNKS_MAX */
    TICKS_MAX = 64
};

enum check { W1, W2, W3, W4, W5, W6, W7, W8, CHECKS };

static const struct {
    const char *id, *unit;
    enum fl_plant blind;
} check_info[CHECKS] = {
    [W1] = {"W1", "bytes", FL_BLIND_W1},  [W2] = {"W2", "bytes", FL_BLIND_W2},
    [W3] = {"W3", "bytes", FL_BLIND_W3},  [W4] = {"W4", "lines", FL_BLIND_W4},
    [W5] = {"W5", "bytes", FL_BLIND_W5},  [W6] = {"W6", "flushes", FL_BLIND_W6},
    [W7] = {"W7", "writes", FL_BLIND_W7}, [W8] = {"W8", "states", FL_BLIND_W8},
};

struct tally {
    _Atomic uint64_t checked, violated;
    atomic_flag first_taken;
    char first[RESULT_FIRST_MAX];
};

/* What the oracle knows of one page of a compute node's region. */
struct opage {
    uint8_t acked[FL_PAGE_BYTES]; /* what the memory node must hold: fetched, or acknowledged */
    uint8_t view[FL_PAGE_BYTES]; /* live bytes when the page was dropped (regions without shadow) */
    uint64_t dirty_since_ns;     /* FL_NEVER: no store waits for write-back */
    uint64_t seq;                /* of the last write-back posted */
    uint8_t prot, cached, dropped, undecided;
};

/* A periodic write-back. */
struct otick {
    uint64_t at_ns;
    uint64_t late_ns; /* after the time its timer was set to */
};

struct oregion {
    const struct plan_region *cfg;
    uint32_t page_count;
    struct opage **pages;
    uint8_t *shadow;
    size_t shadow_bytes;
    struct otick ticks[TICKS_MAX]; /* the last ones, the oldest overwritten */
    uint64_t tick_count;
    bool closing; /* the drain is one long flush */
    uint64_t outstanding;
    uint64_t flush_from_ns, flush_max_ns; /* current and longest span with writes in flight */
};

struct oracle {
    const struct plan *plan;
    uint16_t self;
    struct coh_tracker *trk;
    uint64_t capacity, cached;
    uint64_t expected_bytes; /* W5: from the masks that were posted */
    uint64_t failed_bytes;   /* of these, what was answered with an error */
    struct oregion regions[PLAN_REGIONS_MAX];
    uint8_t *must_fence, *down; /* per node */
    uint64_t **applied;         /* memory node: last sequence number per chunk and page */
    uint32_t *applied_pages;
    struct tally tally[CHECKS];
};

static bool blind(const struct plan *p, enum check c)
{
    return fl_planted(&p->plants, check_info[c].blind);
}

static void count(struct oracle *o, enum check c, uint64_t n)
{
    if (!blind(o->plan, c)) {
        atomic_fetch_add_explicit(&o->tally[c].checked, n, memory_order_relaxed);
    }
}

static void violate(struct oracle *o, enum check c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void violate(struct oracle *o, enum check c, const char *fmt, ...)
{
    struct tally *t = &o->tally[c];
    va_list ap;

    if (blind(o->plan, c)) {
        return;
    }
    atomic_fetch_add(&t->violated, 1);
    if (!atomic_flag_test_and_set(&t->first_taken)) {
        va_start(ap, fmt);
        vsnprintf(t->first, sizeof t->first, fmt, ap);
        va_end(ap);
    }
}

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
        g->shadow = mmap(NULL, g->shadow_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        FL_ASSERT(g->shadow != MAP_FAILED);
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
            munmap(g->shadow, g->shadow_bytes);
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

static uint16_t node_of(const struct oregion *g, uint32_t page)
{
    for (unsigned c = 0; c < g->cfg->chunk_count; c++) {
        if (page < g->cfg->chunks[c].page_count) {
            return g->cfg->chunks[c].node;
        }
        page -= g->cfg->chunks[c].page_count;
    }
    return FL_NO_NODE;
}

uint8_t *oracle_shadow(struct oracle *o, uint16_t region)
{
    return o->regions[region].shadow;
}

void oracle_bad_load(struct oracle *o, uint16_t region, uint64_t off, uint64_t expected,
                     uint64_t seen)
{
    violate(o, W3, "load at offset 0x%llx of region %s: expected 0x%llx, seen 0x%llx",
            (unsigned long long)off, o->plan->regions[region].name, (unsigned long long)expected,
            (unsigned long long)seen);
}

void oracle_good_loads(struct oracle *o, uint64_t bytes)
{
    count(o, W3, bytes);
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

/* First line of @mask in which the two pages differ, -1 when none. */
static int first_diff(const uint8_t *x, const uint8_t *y, fl_mask mask)
{
    for (fl_mask m = mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        if (memcmp(x + i * FL_LINE_BYTES, y + i * FL_LINE_BYTES, FL_LINE_BYTES) != 0) {
            return (int)i;
        }
    }
    return -1;
}

void oracle_on_install(struct oracle *o, uint16_t region, uint32_t page, fl_mask mask,
                       const uint8_t *src)
{
    struct opage *p = page_of(o, region, page);
    int bad = first_diff(src, p->acked, mask);

    /* W3: what comes back is what was acknowledged before, zeros at first. */
    count(o, W3, (uint64_t)fl_mask_count(mask) * FL_LINE_BYTES);
    if (bad >= 0) {
        violate(o, W3, "page %u of region %s came back with line %d unlike what was acknowledged",
                page, o->plan->regions[region].name, bad);
        memcpy(p->acked, src, FL_PAGE_BYTES);
    }
    if (!p->cached) {
        p->cached = 1;
        o->cached++;
    }
    count(o, W8, 1);
    if (o->cached > o->capacity) {
        violate(o, W8, "%llu pages cached, device memory holds %llu", (unsigned long long)o->cached,
                (unsigned long long)o->capacity);
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
        violate(o, W6,
                "page %u of region %s: a store waited %llu ns, the period is %llu ns and no flush "
                "took longer than %llu ns",
                page, o->plan->regions[region].name, (unsigned long long)waited_ns,
                (unsigned long long)period_ns, (unsigned long long)flush_ns);
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
        violate(o, W7, "page %u of region %s: write-back %llu posted after %llu", op->page,
                o->plan->regions[op->region].name, (unsigned long long)op->seq,
                (unsigned long long)p->seq);
    }
    p->seq = op->seq;
    if (o->must_fence[op->slot.node]) {
        violate(o, W7, "page %u of region %s: written to %s without a fence after an error",
                op->page, o->plan->regions[op->region].name, o->plan->nodes[op->slot.node].name);
    }
}

void oracle_on_post(struct oracle *o, const struct fl_rma *op, const uint8_t *src)
{
    struct opage *p = page_of(o, op->region, op->page);

    o->regions[op->region].outstanding++;
    o->expected_bytes += payload_of(op);
    check_order(o, op, p);
    count(o, W4, fl_mask_count(op->mask));
    if (op->whole) {
        return;
    }
    for (fl_mask m = op->mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        if (memcmp(src + i * FL_LINE_BYTES, p->acked + i * FL_LINE_BYTES, FL_LINE_BYTES) == 0 &&
            !(p->undecided & 2)) {
            violate(o, W4, "line %u of page %u of region %s was sent although clean", i, op->page,
                    o->plan->regions[op->region].name);
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
            violate(o, W4,
                    "bytes of line %llu beside the dirty lines of page %u of region %s "
                    "were written",
                    (unsigned long long)line, op->page, o->plan->regions[op->region].name);
        }
    }
}

void oracle_on_done(struct oracle *o, const struct fl_rma *op, const uint8_t *src, int status,
                    uint64_t now_ns)
{
    struct oregion *g = &o->regions[op->region];
    struct opage *p = page_of(o, op->region, op->page);

    FL_ASSERT(g->outstanding > 0);
    if (--g->outstanding == 0 && g->flush_from_ns != FL_NEVER) {
        if (now_ns - g->flush_from_ns > g->flush_max_ns) {
            g->flush_max_ns = now_ns - g->flush_from_ns;
        }
        g->flush_from_ns = FL_NEVER;
    }
    if (status != FL_OK) {
        o->failed_bytes += payload_of(op);
        o->must_fence[op->slot.node] = 1;
        p->undecided |= 2; /* each line of the mask is old or new there: it may be sent again */
        return;
    }
    p->undecided &= (uint8_t)~2U;
    for (fl_mask m = op->mask; m != 0; m &= m - 1) {
        unsigned i = fl_mask_first(m);

        memcpy(p->acked + i * FL_LINE_BYTES, src + i * FL_LINE_BYTES, FL_LINE_BYTES);
    }
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
    if (o->down[node_of(g, page)]) {
        return; /* its lines are lost with the node; close reports them */
    }
    count(o, W2, FL_PAGE_BYTES);
    bad = first_diff(live, p->acked, FL_MASK_ALL);
    if (p->prot != FL_PROT_NONE) {
        violate(o, W2, "page %u of region %s was dropped while threads can reach it", page,
                o->plan->regions[region].name);
    } else if (bad >= 0) {
        violate(o, W2, "page %u of region %s was dropped with line %d not acknowledged", page,
                o->plan->regions[region].name, bad);
    }
}

bool oracle_expect_page(struct oracle *o, uint16_t region, uint32_t page,
                        uint8_t ret[FL_PAGE_BYTES])
{
    const struct oregion *g = &o->regions[region];
    const struct opage *p = page < g->page_count ? g->pages[page] : NULL;

    if (p == NULL || p->undecided || o->down[node_of(g, page)]) {
        return false;
    }
    if (g->shadow != NULL) {
        memcpy(ret, g->shadow + (uint64_t)page * FL_PAGE_BYTES, FL_PAGE_BYTES);
    } else {
        memcpy(ret, p->view, FL_PAGE_BYTES);
    }
    return true;
}

bool oracle_expect_digest(struct oracle *o, uint16_t region, uint32_t page, uint64_t *ret_xxh64)
{
    uint8_t bytes[FL_PAGE_BYTES];

    if (!oracle_expect_page(o, region, page, bytes)) {
        return false;
    }
    *ret_xxh64 = XXH64(bytes, sizeof bytes, 0);
    return true;
}

void oracle_on_close(struct oracle *o, uint16_t region, int status, uint64_t lost_lines)
{
    struct oregion *g = &o->regions[region];
    uint8_t want[FL_PAGE_BYTES];

    if (status != FL_OK) {
        return;
    }
    count(o, W1, 1);
    if (g->outstanding != 0 || lost_lines != 0) {
        violate(o, W1, "close of region %s succeeded with %llu writes in flight, %llu lines lost",
                g->cfg->name, (unsigned long long)g->outstanding, (unsigned long long)lost_lines);
    }
    for (uint32_t i = 0; i < g->page_count; i++) {
        if (g->pages[i] == NULL || !oracle_expect_page(o, region, i, want)) {
            continue;
        }
        count(o, W1, FL_PAGE_BYTES);
        if (g->pages[i]->cached) {
            violate(o, W1, "close of region %s succeeded with page %u still cached", g->cfg->name,
                    i);
        } else if (first_diff(want, g->pages[i]->acked, FL_MASK_ALL) >= 0) {
            violate(o, W1, "close of region %s succeeded with page %u not acknowledged as stored",
                    g->cfg->name, i);
        }
    }
}

void oracle_on_apply(struct oracle *o, uint16_t chunk, uint32_t page, uint64_t seq)
{
    if (chunk >= MAX_CHUNKS || page >= o->applied_pages[chunk]) {
        return;
    }
    count(o, W7, 1);
    if (seq <= o->applied[chunk][page]) {
        violate(o, W7, "page %u of chunk %u: write-back %llu applied after %llu", page, chunk,
                (unsigned long long)seq, (unsigned long long)o->applied[chunk][page]);
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
        violate(o, W7, "page %u of chunk %u: bytes of write-back %llu landed after %llu", page,
                chunk, (unsigned long long)seq, (unsigned long long)o->applied[chunk][page]);
    } else {
        o->applied[chunk][page] = seq;
    }
}

/* A write that failed may have failed before the fabric ever posted it (its deadline passed in the
 * queue): then fewer bytes were posted, by at most what failed. */
void oracle_on_bytes(struct oracle *o, uint64_t posted_bytes, uint64_t own_bytes)
{
    count(o, W5, posted_bytes);
    if (posted_bytes > o->expected_bytes || posted_bytes + o->failed_bytes < o->expected_bytes) {
        violate(o, W5,
                "%llu bytes posted, dirty lines and whole pages make %llu, %llu of it failed",
                (unsigned long long)posted_bytes, (unsigned long long)o->expected_bytes,
                (unsigned long long)o->failed_bytes);
    }
    if (own_bytes < posted_bytes || (o->failed_bytes == 0 && own_bytes != posted_bytes)) {
        violate(o, W5, "the device counted %llu bytes sent, the transport posted %llu",
                (unsigned long long)own_bytes, (unsigned long long)posted_bytes);
    }
}

void oracle_compare(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote)
{
    uint8_t want[FL_PAGE_BYTES];
    unsigned i = 0;

    if (!oracle_expect_page(o, region, page, want)) {
        return;
    }
    count(o, W1, FL_PAGE_BYTES);
    count(o, W3, FL_PAGE_BYTES);
    if (memcmp(want, remote, FL_PAGE_BYTES) == 0) {
        return;
    }
    while (want[i] == remote[i]) {
        i++;
    }
    violate(o, W1,
            "page %u of region %s after close: byte %u is 0x%02x, the application left 0x%02x",
            page, o->plan->regions[region].name, i, remote[i], want[i]);
    violate(o, W3,
            "page %u of region %s at the memory node: byte %u is 0x%02x, last written 0x%02x", page,
            o->plan->regions[region].name, i, remote[i], want[i]);
}

static bool asked(const struct plan *p, const char *id)
{
    for (unsigned i = 0; i < p->check_count; i++) {
        if (strcmp(p->checks[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static void merge(struct result *r, enum check c, uint64_t checked, uint64_t violated,
                  const char *first)
{
    struct result_check *k = result_check(r, check_info[c].id, check_info[c].unit);

    if (k == NULL) {
        return;
    }
    if (k->violated == 0 && violated > 0) {
        snprintf(k->first, sizeof k->first, "%s", first);
    }
    k->checked += checked;
    k->violated += violated;
}

void oracle_report(struct oracle *o, struct result *r)
{
    for (enum check c = W1; c < CHECKS; c++) {
        if (asked(o->plan, check_info[c].id)) {
            merge(r, c, o->tally[c].checked, o->tally[c].violated, o->tally[c].first);
        }
    }
}

void oracle_cross_bytes(const struct plan *p, struct result *r, uint64_t posted_bytes,
                        uint64_t arrived_bytes)
{
    char first[RESULT_FIRST_MAX];

    if (!asked(p, "W5") || blind(p, W5)) {
        return;
    }
    snprintf(first, sizeof first, "%llu bytes posted by compute nodes, %llu arrived",
             (unsigned long long)posted_bytes, (unsigned long long)arrived_bytes);
    merge(r, W5, arrived_bytes, posted_bytes != arrived_bytes, first);
}
