/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/workload.h"

#include <string.h>

/* Results must be the same on every machine: plain IEEE operations only, none fused. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

enum { HAMMER_WORD_BYTES = 8, ZETA_EXACT_TERMS = 64, STAMP_BYTES = 16 };

/* Layout of the number behind a value: unique over workloads, threads and stores of a run. */
enum { VALUE_COUNT_BITS = 44, VALUE_THREAD_BITS = 12 };
static const uint64_t VALUE_STAMP = UINT64_C(1) << 63;
static const uint64_t VALUE_MASK = (UINT64_C(1) << 63) - 1;

/* --- powers without libm -------------------------------------------------------------------- */

/** log2(x) for normal x > 0; error below 1e-13. */
static double det_log2(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    double e = (double)((int)((bits >> 52) & 0x7ff) - 1023);
    bits = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3ff0000000000000);
    memcpy(&x, &bits, sizeof x);
    if (x > 1.4142135623730951) {
        x = x / 2;
        e = e + 1;
    }
    double z = (x - 1) / (x + 1), z2 = z * z, sum = 0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * z2 + 1.0 / k;
    return e + sum * z * 2.8853900817779268; /* 2 / ln 2 */
}

/** 2^x for -1000 < x < 1000; relative error below 1e-13. */
static double det_exp2(double x)
{
    int whole = (int)x;
    if (x < whole)
        whole--;
    double f = (x - whole) * 0.69314718055994531, sum = 1;
    for (int k = 18; k >= 1; k--)
        sum = 1 + sum * f / k;
    uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

static double det_pow(double x, double y)
{
    return x <= 0 ? 0 : det_exp2(y * det_log2(x));
}

/** Sum of i^-theta for i = 1..n: exact terms first, Euler-Maclaurin for the rest. */
static double zeta(uint64_t n, double theta)
{
    double sum = 0;
    uint64_t m = n < ZETA_EXACT_TERMS ? n : ZETA_EXACT_TERMS;
    for (uint64_t i = 1; i <= m; i++)
        sum = sum + det_pow((double)i, -theta);
    if (n == m)
        return sum;
    double a = (double)m, b = (double)n;
    double rest = (det_pow(b, 1 - theta) - det_pow(a, 1 - theta)) / (1 - theta);
    return sum + rest + (det_pow(b, -theta) - det_pow(a, -theta)) / 2;
}

/* --- generators ----------------------------------------------------------------------------- */

bool work_is_actor(enum plan_work_kind k)
{
    return k == PLAN_SEQUENTIAL || k == PLAN_RANDOM || k == PLAN_ZIPF || k == PLAN_STAMP ||
           k == PLAN_HAMMER;
}

/** The part of the region that workload @w may touch. Actor workloads that share a region divide
 * it evenly, so that every byte keeps one writer. */
static void share_of(const struct plan *p, const struct plan_workload *w, uint64_t region_bytes,
                     uint64_t *ret_lo, uint64_t *ret_hi)
{
    uint64_t count = 0, before = 0;
    for (uint16_t i = 0; i < p->workload_count; i++) {
        const struct plan_workload *o = &p->workloads[i];
        if (o->region != w->region || !work_is_actor(o->kind))
            continue;
        if (o < w)
            before++;
        count++;
    }
    if (count == 0)
        count = 1;
    uint64_t each = count > 1 ? region_bytes / count & ~UINT64_C(7) : region_bytes;
    *ret_lo = each * before;
    *ret_hi = *ret_lo + each;
    if (w->span_bytes && w->span_bytes < *ret_hi - *ret_lo)
        *ret_hi = *ret_lo + w->span_bytes;
}

static uint32_t index_of(const struct plan *p, const struct plan_workload *w)
{
    for (uint16_t i = 0; i < p->workload_count; i++)
        if (&p->workloads[i] == w)
            return i;
    return 0;
}

static uint64_t zipf_items(const struct work_gen *g)
{
    uint64_t n = (g->hi - g->lo) / g->w->len_bytes;
    return n ? n : 1;
}

static void zipf_init(struct work_gen *g)
{
    double n = (double)zipf_items(g), theta = g->w->zipf_theta;
    double zn = zeta(zipf_items(g), theta), z2 = zeta(2, theta);
    g->zeta[0] = zn;
    g->zeta[1] = 1 / (1 - theta);                                 /* alpha */
    g->zeta[2] = (1 - det_pow(2 / n, 1 - theta)) / (1 - z2 / zn); /* eta */
}

void work_init(struct work_gen *g, const struct plan *p, const struct plan_workload *w,
               uint32_t thread, uint64_t region_bytes)
{
    uint64_t threads = w->threads ? w->threads : 1, lo, hi;
    uint32_t idx = index_of(p, w);
    memset(g, 0, sizeof *g);
    g->w = w;
    fl_rng_init(&g->rng, p->seed, p->regions[w->region].on, FL_RNG_WORK, idx << 16 | thread);
    share_of(p, w, region_bytes, &lo, &hi);
    g->ops = w->ops / threads + (thread < w->ops % threads);
    g->lane = (uint32_t)(idx << VALUE_THREAD_BITS | thread);
    if (w->kind == PLAN_HAMMER) {
        g->stride = (uint32_t)(HAMMER_WORD_BYTES * threads);
        g->lo = lo + HAMMER_WORD_BYTES * thread;
        g->hi = hi;
    } else {
        uint64_t span = hi - lo;
        g->lo = lo + span / threads * thread + span % threads * thread / threads;
        g->hi = lo + span / threads * (thread + 1) + span % threads * (thread + 1) / threads;
    }
    if (w->kind == PLAN_ZIPF)
        zipf_init(g);
}

/** Rank by the method of Gray and others as YCSB uses it, then scattered over the items. */
static uint64_t zipf_item(struct work_gen *g)
{
    uint64_t n = zipf_items(g), rank;
    double u = (double)(fl_rng_next(&g->rng) >> 11) / 9007199254740992.0; /* 2^53 */
    double uz = u * g->zeta[0];
    if (uz < 1)
        rank = 0;
    else if (uz < 1 + det_pow(0.5, g->w->zipf_theta))
        rank = 1;
    else
        rank = (uint64_t)((double)n * det_pow(g->zeta[2] * u - g->zeta[2] + 1, g->zeta[1]));
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a over the rank's bytes */
    for (int i = 0; i < 8; i++)
        h = (h ^ (rank >> (8 * i) & 0xff)) * UINT64_C(0x100000001b3);
    return h % n;
}

static void pick_hammer(struct work_gen *g, struct work_op *op)
{
    uint64_t words = (g->hi - g->lo + g->stride - HAMMER_WORD_BYTES) / g->stride;
    op->off = g->lo + fl_rng_below(&g->rng, words) * g->stride;
    op->len_bytes = HAMMER_WORD_BYTES;
}

/** Passes over the slice from start to end; the last access of a pass may be shorter. */
static void pick_sequential(struct work_gen *g, struct work_op *op)
{
    uint64_t len = g->w->len_bytes, span = g->hi - g->lo;
    uint64_t per_pass = (span + len - 1) / len;
    uint64_t at = g->done % per_pass * len;
    op->off = g->lo + at;
    op->len_bytes = (uint32_t)(span - at < len ? span - at : len);
}

static void pick(struct work_gen *g, struct work_op *op)
{
    uint64_t span = g->hi - g->lo;
    if (g->w->kind == PLAN_HAMMER) {
        pick_hammer(g, op);
        return;
    }
    if (g->w->kind == PLAN_SEQUENTIAL) {
        pick_sequential(g, op);
        return;
    }
    op->len_bytes = (uint32_t)(span < g->w->len_bytes ? span : g->w->len_bytes);
    if (g->w->kind == PLAN_ZIPF)
        op->off = g->lo + zipf_item(g) * op->len_bytes;
    else
        op->off = g->lo + fl_rng_below(&g->rng, span - op->len_bytes + 1);
}

/** Bijective on 63 bits: two different numbers never give the same value. */
static uint64_t scramble63(uint64_t x)
{
    x = (x ^ (x >> 31)) * UINT64_C(0x9e3779b97f4a7c15) & VALUE_MASK;
    x = (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9) & VALUE_MASK;
    return x ^ (x >> 32);
}

bool work_next(struct work_gen *g, struct work_op *ret)
{
    uint64_t least = g->w->kind == PLAN_HAMMER ? HAMMER_WORD_BYTES : 1;
    if (g->done >= g->ops || g->w->len_bytes == 0 || g->lo + least > g->hi)
        return false;
    ret->store = fl_rng_below(&g->rng, 100) < g->w->write_percent;
    pick(g, ret);
    uint64_t number = (uint64_t)g->lane << VALUE_COUNT_BITS | g->done;
    ret->value = g->w->kind == PLAN_STAMP ? VALUE_STAMP | number : scramble63(number);
    g->done++;
    return true;
}

/* --- bytes ---------------------------------------------------------------------------------- */

/** The aligned word at @at that a store of @value leaves there. A stamp describes itself: each 16
 * bytes hold their own offset, then the writer (workload, thread) and its counter. */
static uint64_t word_at(uint64_t value, uint64_t at)
{
    if (value & VALUE_STAMP)
        return at % STAMP_BYTES ? value : at;
    uint64_t x = value ^ (at * UINT64_C(0xd6e8feb86659fd93));
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 29)) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ (x >> 32);
}

void work_bytes(const struct work_op *op, uint8_t *dst)
{
    uint64_t off = op->off, end = op->off + op->len_bytes;
    while (off < end) {
        uint64_t at = off & ~UINT64_C(7), word = word_at(op->value, at);
        for (; off < end && off < at + 8; off++)
            *dst++ = (uint8_t)(word >> (8 * (off - at)));
    }
}
