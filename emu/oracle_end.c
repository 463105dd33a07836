/* SPDX-License-Identifier: Apache-2.0 */
/* Oracles at the end: of a region, of a node, of the run. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "emu/oracle_priv.h"

const struct oracle_check oracle_checks[CHECKS] = {
    [W1] = {"W1", "bytes", FL_BLIND_W1},  [W2] = {"W2", "bytes", FL_BLIND_W2},
    [W3] = {"W3", "bytes", FL_BLIND_W3},  [W4] = {"W4", "lines", FL_BLIND_W4},
    [W5] = {"W5", "bytes", FL_BLIND_W5},  [W6] = {"W6", "flushes", FL_BLIND_W6},
    [W7] = {"W7", "writes", FL_BLIND_W7}, [W8] = {"W8", "states", FL_BLIND_W8},
};

bool oracle_expect_page(struct oracle *o, uint16_t region, uint32_t page,
                        uint8_t ret[FL_PAGE_BYTES])
{
    const struct oregion *g = &o->regions[region];
    const struct opage *p = page < g->page_count ? g->pages[page] : NULL;

    if (p == NULL || p->undecided || o->down[oracle_node_of(g, page)]) {
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
    uint8_t wanted[FL_PAGE_BYTES];

    if (status != FL_OK) {
        return;
    }
    count(o, W1, 1);
    if (g->outstanding != 0 || lost_lines != 0) {
        struct result_first *f = oracle_violate(
            o, W1, "close of region %s succeeded with %llu writes in flight, %llu lines lost",
            g->cfg->name, (unsigned long long)g->outstanding, (unsigned long long)lost_lines);

        oracle_want(f, "no write in flight and no line lost when close succeeds");
        oracle_saw(f, "%llu in flight, %llu lines lost", (unsigned long long)g->outstanding,
                   (unsigned long long)lost_lines);
    }
    for (uint32_t i = 0; i < g->page_count; i++) {
        if (g->pages[i] == NULL || !oracle_expect_page(o, region, i, wanted)) {
            continue;
        }
        count(o, W1, FL_PAGE_BYTES);
        if (g->pages[i]->cached) {
            struct result_first *f = oracle_violate(
                o, W1, "close of region %s succeeded with page %u still cached", g->cfg->name, i);

            oracle_want(f, "page %u has left device memory when close succeeds", i);
            oracle_saw(f, "it is still cached");
            oracle_written_by(o, f, region, (uint64_t)i * FL_PAGE_BYTES, FL_PAGE_BYTES);
        } else if (oracle_first_diff(wanted, g->pages[i]->acked, FL_MASK_ALL) >= 0) {
            oracle_differ(
                o,
                oracle_violate(
                    o, W1, "close of region %s succeeded with page %u not acknowledged as stored",
                    g->cfg->name, i),
                region, i, -1, wanted, g->pages[i]->acked);
        }
    }
}

/* A write that failed may have failed before the fabric ever posted it (its deadline passed in the
 * queue), and one without an answer may still wait for that: then fewer bytes were posted, by at
 * most these. */
void oracle_on_bytes(struct oracle *o, uint64_t posted_bytes, uint64_t own_bytes)
{
    count(o, W5, posted_bytes);
    if (posted_bytes > o->expected_bytes ||
        posted_bytes + o->failed_bytes + o->open_bytes < o->expected_bytes) {
        struct result_first *f = oracle_violate(
            o, W5, "%llu bytes posted, dirty lines and whole pages make %llu, %llu of it failed",
            (unsigned long long)posted_bytes, (unsigned long long)o->expected_bytes,
            (unsigned long long)o->failed_bytes);

        oracle_want(f, "%llu bytes posted, less at most %llu that failed",
                    (unsigned long long)o->expected_bytes, (unsigned long long)o->failed_bytes);
        oracle_saw(f, "%llu", (unsigned long long)posted_bytes);
    }
    if (own_bytes < posted_bytes ||
        (o->failed_bytes + o->open_bytes == 0 && own_bytes != posted_bytes)) {
        struct result_first *f =
            oracle_violate(o, W5, "the device counted %llu bytes sent, the transport posted %llu",
                           (unsigned long long)own_bytes, (unsigned long long)posted_bytes);

        oracle_want(f, "%llu bytes in the device's count", (unsigned long long)posted_bytes);
        oracle_saw(f, "%llu", (unsigned long long)own_bytes);
    }
}

void oracle_compare(struct oracle *o, uint16_t region, uint32_t page, const uint8_t *remote)
{
    const char *name = o->plan->regions[region].name;
    uint8_t wanted[FL_PAGE_BYTES];
    unsigned i = 0;

    if (!oracle_expect_page(o, region, page, wanted)) {
        return;
    }
    count(o, W1, FL_PAGE_BYTES);
    count(o, W3, FL_PAGE_BYTES);
    if (memcmp(wanted, remote, FL_PAGE_BYTES) == 0) {
        return;
    }
    while (wanted[i] == remote[i]) {
        i++;
    }
    oracle_differ(
        o,
        oracle_violate(o, W1,
                       "page %u of region %s after close: byte %u is 0x%02x, the application left "
                       "0x%02x",
                       page, name, i, remote[i], wanted[i]),
        region, page, -1, wanted, remote);
    oracle_differ(
        o,
        oracle_violate(o, W3,
                       "page %u of region %s at the memory node: byte %u is 0x%02x, last written "
                       "0x%02x",
                       page, name, i, remote[i], wanted[i]),
        region, page, -1, wanted, remote);
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

/* The earliest violation is the one that is told. */
static void merge(struct result *r, enum check c, const struct tally *t)
{
    struct result_check *k = result_check(r, oracle_checks[c].id, oracle_checks[c].unit);

    if (k == NULL) {
        return;
    }
    if (t->violated > 0 && (k->violated == 0 || t->what.t_ns < k->what.t_ns)) {
        memcpy(k->first, t->first, sizeof k->first);
        k->what = t->what;
    }
    k->checked += t->checked;
    k->violated += t->violated;
}

void oracle_report(struct oracle *o, struct result *r)
{
    for (enum check c = W1; c < CHECKS; c++) {
        if (asked(o->plan, oracle_checks[c].id)) {
            merge(r, c, &o->tally[c]);
        }
    }
}

void oracle_cross_bytes(const struct plan *p, struct result *r, uint64_t posted_bytes,
                        uint64_t arrived_bytes)
{
    struct tally t = {.checked = arrived_bytes, .violated = posted_bytes != arrived_bytes};

    if (!asked(p, "W5") || blind(p, W5)) {
        return;
    }
    snprintf(t.first, sizeof t.first, "%llu bytes posted by compute nodes, %llu arrived",
             (unsigned long long)posted_bytes, (unsigned long long)arrived_bytes);
    oracle_want(&t.what, "%llu bytes arrive: so many were posted",
                (unsigned long long)posted_bytes);
    oracle_saw(&t.what, "%llu", (unsigned long long)arrived_bytes);
    t.what.t_ns = r->duration_ns;
    merge(r, W5, &t);
}
