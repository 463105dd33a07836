/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/work_run.h"

#include <string.h>

#include "emu/native.h"

void work_run_init(struct work_run *r, const struct plan *p, const struct plan_workload *w,
                   uint32_t index, uint8_t *base, struct oracle *oracle)
{
    r->region = w->region;
    r->workload = (uint16_t)(w - p->workloads);
    r->index = index;
    r->base = base;
    r->oracle = oracle;
    r->shadow = oracle ? oracle_shadow(oracle, w->region) : NULL;
    work_init(&r->gen, p, w, index, p->regions[w->region].size_bytes);
}

static uint64_t first8(const uint8_t *b, uint32_t len)
{
    uint64_t v = 0;
    memcpy(&v, b, len < sizeof(v) ? len : sizeof(v));
    return v;
}

static void store(struct work_run *r)
{
    uint8_t *dst = r->base + r->op.off;
    uint32_t len = r->op.len_bytes;
    work_bytes(&r->op, r->buf);
    if (r->shadow) {
        oracle_on_store(r->oracle, r->region, r->op.off, len, r->workload, r->index, r->gen.done);
        memcpy(r->shadow + r->op.off, r->buf, len);
    }
    if (len == 8 && (uintptr_t)dst % 8 == 0) {
        uint64_t v;
        memcpy(&v, r->buf, 8);
        __atomic_store_n((uint64_t *)(void *)dst, v, __ATOMIC_RELEASE); /* one instruction */
    } else {
        memcpy(dst, r->buf, len);
    }
}

static void load(struct work_run *r)
{
    uint32_t len = r->op.len_bytes, i = 0;
    memcpy(r->buf, r->base + r->op.off, len);
    if (!r->shadow)
        return;
    const uint8_t *want = r->shadow + r->op.off;
    if (memcmp(r->buf, want, len) == 0) {
        oracle_good_loads(r->oracle, len);
        return;
    }
    while (r->buf[i] == want[i])
        i++;
    oracle_bad_load(r->oracle, r->region, r->op.off + i, first8(want + i, len - i),
                    first8(r->buf + i, len - i));
}

static void accesses(void *arg)
{
    struct work_run *r = arg;
    while (work_next(&r->gen, &r->op)) {
        if (r->op.store)
            store(r);
        else
            load(r);
        r->accesses++;
        if (r->between)
            r->between(r->arg);
    }
}

int work_run(struct work_run *r, uint64_t *ret_off)
{
    uintptr_t addr = 0;
    int rc = native_guard(accesses, r, &addr);
    if (rc == FL_OK)
        return FL_OK;
    *ret_off = addr - (uintptr_t)r->base;
    /* The bytes of a failed store are old or new, and nobody will say which. */
    if (r->op.store && r->oracle)
        oracle_undecided(r->oracle, r->region, r->op.off, r->op.len_bytes);
    return rc;
}
