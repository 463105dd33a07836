/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the nodes report, and the final compare: expected digests come from the compute nodes'
 * oracles, the others from the memory nodes' own memory; only pages that differ travel.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/coord.h"
#include "emu/image.h"
#include "emu/oracle.h"

enum { RANGE_PAGES = 2048, DIGEST_HEX = 16, MISMATCHES_MAX = 4 };

/* --- reports -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));
    return s ? s : "";
}

static void take_metrics(struct coord_node *n, const json_t *metrics)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)metrics, key, v)
    {
        char name[64];
        snprintf(name, sizeof(name), "%s.%s", n->c->p->nodes[n->idx].name, key);
        if (json_is_number(v))
            result_metric(n->c->r, name, json_number_value(v));
    }
}

/** Figures of the run, not of one node: "close.heap", "sqlite.rows". */
static void take_run_metrics(struct coord_node *n, const json_t *metrics)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)metrics, key, v)
    {
        if (json_is_number(v))
            result_metric(n->c->r, key, json_number_value(v));
        else if (json_is_string(v))
            result_metric_text(n->c->r, key, json_string_value(v));
    }
}

/** What a node told of the first violation of a check, in times after the start. */
static void take_first(const struct coord *c, const json_t *k, struct result_first *ret)
{
    *ret = (struct result_first){.writer_ns =
                                     (uint64_t)json_integer_value(json_object_get(k, "writer_ns")),
                                 .t_ns = (uint64_t)json_integer_value(json_object_get(k, "t_ns"))};
    snprintf(ret->expected, sizeof(ret->expected), "%s", text_of(k, "expected"));
    snprintf(ret->seen, sizeof(ret->seen), "%s", text_of(k, "seen"));
    snprintf(ret->writer, sizeof(ret->writer), "%s", text_of(k, "writer"));
    result_first_rebase(ret, c->t0_ns - c->epoch_ns);
}

static void take_checks(struct coord_node *n, const json_t *checks)
{
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *k = json_array_get(checks, i);
        struct result_check *rc = result_check(n->c->r, text_of(k, "id"), text_of(k, "unit"));
        if (!rc)
            continue;
        uint64_t violated = (uint64_t)json_integer_value(json_object_get(k, "violated"));
        struct result_first what;
        take_first(n->c, k, &what);
        if (violated && (!rc->violated || what.t_ns < rc->what.t_ns)) {
            snprintf(rc->first, sizeof(rc->first), "%s: %.470s", n->c->p->nodes[n->idx].name,
                     text_of(k, "first"));
            rc->what = what;
        }
        rc->checked += (uint64_t)json_integer_value(json_object_get(k, "checked"));
        rc->violated += violated;
    }
}

void coord_take_report(struct coord_node *n, const json_t *m)
{
    take_metrics(n, json_object_get(m, "metrics"));
    take_run_metrics(n, json_object_get(m, "run"));
    take_checks(n, json_object_get(m, "checks"));
    const char *trouble = text_of(m, "trouble");
    /* Without a fault in the plan every access and every close has to succeed. */
    if (trouble[0] && n->c->p->step_count == 0)
        coord_fail(n->c, "node %s: %s", n->c->p->nodes[n->idx].name, trouble);
}

/* --- questions ------------------------------------------------------------------------------ */

static bool answered(const struct coord *c)
{
    for (int i = 0; i < COORD_QUERIES; i++)
        if (c->queries[i].id && !c->queries[i].reply && c->nodes[c->queries[i].node].conn)
            return false;
    return true;
}

static bool alive(const struct coord *c, uint16_t node)
{
    const struct coord_node *n = &c->nodes[node];
    return n->conn && !n->exited && !n->stopped && !n->down;
}

/** Asks one node in slot @q; the answer is there after coord_wait(answered). */
static void ask(struct coord *c, int q, uint16_t node, const char *type, const char *what,
                uint32_t index, uint32_t first, uint32_t count)
{
    c->queries[q].id = ++c->last_query;
    c->queries[q].node = node;
    ctl_send(c->nodes[node].conn,
             json_pack("{s:s,s:I,s:I,s:I,s:I}", "t", type, "id", (json_int_t)c->last_query, what,
                       (json_int_t)index, "first", (json_int_t)first, "count", (json_int_t)count));
}

static void queries_free(struct coord *c)
{
    for (int i = 0; i < COORD_QUERIES; i++) {
        json_decref(c->queries[i].reply);
        memset(&c->queries[i], 0, sizeof(c->queries[i]));
    }
}

/** Hex of slot @q's answer if it is @digits long, else NULL. */
static const char *answer(const struct coord *c, int q, size_t digits)
{
    const char *hex = text_of(c->queries[q].reply, "hex");
    return strlen(hex) == digits ? hex : NULL;
}

/* --- the final compare ---------------------------------------------------------------------- */

static bool asked(const struct plan *p, const char *id)
{
    for (int i = 0; i < p->check_count; i++)
        if (!strcmp(p->checks[i], id))
            return true;
    return false;
}

static const struct {
    const char *id, *what;
    enum fl_plant blind;
} compared[] = {
    {"W1", "after close", FL_BLIND_W1},
    {"W3", "at the memory node", FL_BLIND_W3},
};

static void count(struct coord *c, uint64_t bytes, const char *violation,
                  const struct result_first *what)
{
    for (size_t i = 0; i < sizeof(compared) / sizeof(compared[0]); i++) {
        if (!asked(c->p, compared[i].id) || fl_planted(&c->p->plants, compared[i].blind))
            continue;
        struct result_check *k = result_check(c->r, compared[i].id, "bytes");
        if (!k)
            continue;
        k->checked += bytes;
        if (violation && !k->violated++) {
            snprintf(k->first, sizeof(k->first), "%s %.440s", compared[i].what, violation);
            k->what = *what;
        }
    }
}

/** Only the application's node knows who stored there. */
static void ask_writer(struct coord *c, uint16_t region, uint32_t page, unsigned byte,
                       struct result_first *ret)
{
    struct result_first f;
    ask(c, 0, c->p->regions[region].on, "writer", "region", region, page, byte + 1);
    if (!coord_wait(c, answered, coord_ms_from_now(COORD_FINAL_MS)) && c->queries[0].reply) {
        take_first(c, c->queries[0].reply, &f);
        memcpy(ret->writer, f.writer, sizeof(ret->writer));
        ret->writer_ns = f.writer_ns;
    }
    queries_free(c);
}

/** Fetches both versions of a page and tells where they differ. */
static void mismatch(struct coord *c, uint16_t region, uint16_t chunk_idx, uint32_t page,
                     uint32_t chunk_page)
{
    const struct plan_region *g = &c->p->regions[region];
    const struct plan_chunk *k = &g->chunks[chunk_idx];
    char text[RESULT_FIRST_MAX];
    uint8_t want[FL_PAGE_BYTES], seen[FL_PAGE_BYTES];
    ask(c, 0, g->on, "expect_page", "region", region, page, 1);
    ask(c, 1, k->node, "image_page", "chunk", k->chunk, chunk_page, 1);
    int rv = coord_wait(c, answered, coord_ms_from_now(COORD_FINAL_MS));
    const char *a = rv ? NULL : answer(c, 0, 2 * FL_PAGE_BYTES);
    const char *b = rv ? NULL : answer(c, 1, 2 * FL_PAGE_BYTES);
    struct result_first what = {.t_ns = fl_clock_ns() - c->t0_ns};
    unsigned i = 0;
    bool known = false;
    if (a && b && ctl_unhex(a, want, FL_PAGE_BYTES) && ctl_unhex(b, seen, FL_PAGE_BYTES)) {
        while (i + 1 < FL_PAGE_BYTES && want[i] == seen[i])
            i++;
        snprintf(text, sizeof(text),
                 "page %u of region %s on %s: byte %u is 0x%02x, the application left 0x%02x", page,
                 g->name, c->p->nodes[k->node].name, i, seen[i], want[i]);
        snprintf(what.expected, sizeof(what.expected), "byte %u of page %u of region %s: 0x%02x", i,
                 page, g->name, want[i]);
        snprintf(what.seen, sizeof(what.seen), "0x%02x", seen[i]);
        known = true;
    } else {
        snprintf(text, sizeof(text), "page %u of region %s on %s differs", page, g->name,
                 c->p->nodes[k->node].name);
    }
    queries_free(c);
    if (known)
        ask_writer(c, region, page, i, &what);
    count(c, 0, text, &what);
}

struct range {
    uint16_t region, chunk_idx;
    uint32_t first;       /* page of the region */
    uint32_t chunk_first; /* page of the chunk */
    uint32_t count;
};

/** Compares digests; pages that differ are remembered in @bad. Returns how many. */
static unsigned compare_range(struct coord *c, const struct range *g, struct emu_image *img,
                              const char *want, const char *seen, uint32_t bad[MISMATCHES_MAX])
{
    unsigned n = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        char one[DIGEST_HEX + 1] = {0};
        memcpy(one, seen + (size_t)i * DIGEST_HEX, DIGEST_HEX);
        emu_image_add(img, strtoull(one, NULL, 16));
        if (!want || want[(size_t)i * DIGEST_HEX] == '-')
            continue; /* never touched, or lost with a node: nothing to expect */
        bytes += FL_PAGE_BYTES;
        if (memcmp(want + (size_t)i * DIGEST_HEX, one, DIGEST_HEX) != 0) {
            if (n < MISMATCHES_MAX)
                bad[n] = i;
            n++;
        }
    }
    count(c, bytes, NULL, NULL);
    return n;
}

static int one_range(struct coord *c, const struct range *g, struct emu_image *img)
{
    const struct plan_region *reg = &c->p->regions[g->region];
    const struct plan_chunk *k = &reg->chunks[g->chunk_idx];
    uint32_t bad[MISMATCHES_MAX];
    bool expect = alive(c, reg->on);
    ask(c, 1, k->node, "image", "chunk", k->chunk, g->chunk_first, g->count);
    if (expect)
        ask(c, 0, reg->on, "expect", "region", g->region, g->first, g->count);
    int rv = coord_wait(c, answered, coord_ms_from_now(COORD_FINAL_MS));
    const char *seen = rv ? NULL : answer(c, 1, (size_t)g->count * DIGEST_HEX);
    const char *want = rv ? NULL : answer(c, 0, (size_t)g->count * DIGEST_HEX);
    unsigned n = 0;
    if (!seen || (expect && !want)) {
        coord_fail(c, "final compare: no answer about pages %u.. of region %s", g->first,
                   reg->name);
        rv = rv ? rv : FL_EIO;
    } else {
        n = compare_range(c, g, img, want, seen, bad);
    }
    queries_free(c);
    for (unsigned i = 0; !rv && i < n; i++)
        if (i < MISMATCHES_MAX)
            mismatch(c, g->region, g->chunk_idx, g->first + bad[i], g->chunk_first + bad[i]);
        else
            count(c, 0, "more pages differ", &(struct result_first){.writer = ""});
    return rv;
}

static int one_chunk(struct coord *c, uint16_t region, uint16_t chunk_idx, uint32_t first,
                     struct emu_image *img)
{
    const struct plan_chunk *k = &c->p->regions[region].chunks[chunk_idx];
    int rv = FL_OK;
    if (!alive(c, k->node)) {
        emu_image_add_lost(img, k->page_count);
        return FL_OK;
    }
    for (uint32_t done = 0; !rv && done < k->page_count; done += RANGE_PAGES) {
        uint32_t left = k->page_count - done;
        struct range g = {.region = region,
                          .chunk_idx = chunk_idx,
                          .first = first + done,
                          .chunk_first = done,
                          .count = left < RANGE_PAGES ? left : RANGE_PAGES};
        rv = one_range(c, &g, img);
    }
    return rv;
}

static bool all_reported(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (c->p->nodes[i].role == PLAN_MEMORY && alive(c, i) && !c->nodes[i].reported)
            return false;
    return true;
}

static double metric_of(const struct coord *c, uint16_t node, const char *what)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.%s", c->p->nodes[node].name, what);
    for (size_t i = 0; i < c->r->metric_count; i++)
        if (!strcmp(c->r->metrics[i].name, name))
            return c->r->metrics[i].value;
    return 0;
}

/** What left the compute nodes has to have arrived, unless something was meant to go wrong. */
static void cross_bytes(struct coord *c)
{
    double posted = 0, arrived = 0, errors = 0;
    for (uint16_t i = 0; i < c->p->node_count; i++) {
        posted += c->p->nodes[i].role == PLAN_COMPUTE ? metric_of(c, i, "bytes_posted") : 0;
        arrived += c->p->nodes[i].role == PLAN_MEMORY ? metric_of(c, i, "bytes_arrived") : 0;
        errors += metric_of(c, i, "op_errors") + metric_of(c, i, "fences");
    }
    if (c->p->step_count == 0 && errors == 0)
        oracle_cross_bytes(c->p, c->r, (uint64_t)posted, (uint64_t)arrived);
}

bool coord_image_page(struct coord *c, uint16_t node, uint16_t chunk, uint32_t page,
                      uint8_t ret[FL_PAGE_BYTES])
{
    ask(c, 1, node, "image_page", "chunk", chunk, page, 1);
    int rv = coord_wait(c, answered, coord_ms_from_now(COORD_FINAL_MS));
    const char *hex = rv ? NULL : answer(c, 1, 2 * FL_PAGE_BYTES);
    bool good = hex && ctl_unhex(hex, ret, FL_PAGE_BYTES);
    queries_free(c);
    return good;
}

void coord_final(struct coord *c)
{
    struct emu_image img = {0};
    int rv = FL_OK;
    for (uint16_t r = 0; !rv && r < c->p->region_count; r++) {
        uint32_t first = 0;
        for (uint16_t k = 0; !rv && k < c->p->regions[r].chunk_count; k++) {
            rv = one_chunk(c, r, k, first, &img);
            first += c->p->regions[r].chunks[k].page_count;
        }
    }
    c->r->image_digest = img.digest;
    if (!rv)
        coord_crash(c);
    if (!rv)
        coord_broadcast(c, json_pack("{s:s}", "t", "finish"));
    if (!rv)
        rv = coord_wait(c, all_reported, coord_ms_from_now(COORD_FINAL_MS));
    if (rv == FL_ETIMEDOUT)
        coord_fail(c, "memory nodes did not report within %d ms", COORD_FINAL_MS);
    if (!rv)
        cross_bytes(c);
}
