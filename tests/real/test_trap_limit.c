/* SPDX-License-Identifier: Apache-2.0 */
/* Alternating pages past the kernel's limit of mappings; this thread is device and application. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/mprotect_int.h"

enum {
    TOUCHED = 70500, /* every second page of twice as many: past the default limit of 65530 */
    USUAL_LIMIT = 65530,
    EVICT_AT_ONCE = 16,
};

struct fixture {
    struct coh_tracker *t;
    struct mp_tracker *in;
    volatile uint8_t *base;
    uint32_t *pool; /* what was stored in each touched page, as it came back */
    uint32_t oldest, evicted, refused;
};

static void begin(struct fixture *f)
{
    struct coh_cfg cfg = {
        .threads_max = 1, .cached_pages_max = TOUCHED, .access_deadline_ns = FL_NS_PER_S};
    struct coh_region_cfg rc = {.len_bytes = 2 * (uint64_t)TOUCHED * FL_PAGE_BYTES};
    void *base;
    uint32_t ticket;
    memset(f, 0, sizeof *f);
    assert_int_equal(coh_mprotect_new(&cfg, &f->t, NULL), FL_OK);
    assert_int_equal(f->t->ops->region_add(f->t, &rc, &base, NULL), FL_OK);
    assert_int_equal(coh_thread_enter(f->t, &ticket, NULL), FL_OK);
    f->in = (struct mp_tracker *)f->t;
    f->base = base;
    f->pool = calloc(TOUCHED, sizeof *f->pool);
    assert_non_null(f->pool);
}

static void end(struct fixture *f)
{
    coh_thread_leave(f->t);
    f->t->ops->free(&f->t);
    free(f->pool);
}

static void drain(struct fixture *f)
{
    struct coh_note n;
    while (f->t->ops->next(f->t, &n))
        assert_int_equal(n.kind, COH_NOTE_DIRTY);
}

/* Writes the oldest pages back and drops them. */
static void evict(struct fixture *f, uint32_t count)
{
    uint8_t snap[FL_PAGE_BYTES];
    for (; count; count--, f->oldest++, f->evicted++) {
        uint32_t page = 2 * f->oldest;
        assert_int_equal(f->t->ops->gate(f->t, 0, page, 1, FL_PROT_NONE), FL_OK);
        drain(f);
        if (f->t->ops->snap(f->t, 0, page, snap) != FL_MASK_NONE)
            memcpy(&f->pool[f->oldest], snap, sizeof *f->pool);
        f->t->ops->drop(f->t, 0, page);
    }
}

static void open_page(struct fixture *f, uint32_t i)
{
    while (f->t->ops->gate(f->t, 0, 2 * i, 1, FL_PROT_READ) == FL_ENOSPC) {
        uint32_t w = atomic_load(&f->in->regions[0].pages[2 * i].gate);
        assert_int_equal(coh_gate_prot(w), FL_PROT_NONE); /* nothing changed */
        f->refused++;
        evict(f, EVICT_AT_ONCE);
    }
}

static void budget_keeps_clear_of_the_limit(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    if (f.in->maps.limit > USUAL_LIMIT)
        mp_set_map_limit(f.t, USUAL_LIMIT);
    for (uint32_t i = 0; i < TOUCHED; i++) {
        open_page(&f, i);
        *(volatile uint32_t *)(f.base + 2 * (size_t)i * FL_PAGE_BYTES) = i + 1;
    }
    struct coh_stats st;
    f.t->ops->stats(f.t, &st);
    assert_int_equal(st.local_dirty, TOUCHED);
    assert_int_equal(st.map_refusals, f.refused);
    assert_true(f.refused > 100);
    assert_true(st.mappings <= USUAL_LIMIT - COH_MAPS_RESERVE);
    assert_true(st.mappings > USUAL_LIMIT - 2 * COH_MAPS_RESERVE); /* not far below either */
    int64_t counted = atomic_load(&f.in->maps.ours);
    mp_resync(f.in);
    assert_int_equal(counted, atomic_load(&f.in->maps.ours)); /* one thread: the count is exact */
    evict(&f, TOUCHED - f.oldest);
    for (uint32_t i = 0; i < TOUCHED; i++)
        assert_int_equal(f.pool[i], i + 1);
    end(&f);
}

/* The budget is blinded: the kernel itself refuses, and that is no worse. */
static void kernels_own_refusal_is_handled(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    int64_t kernel_limit = f.in->maps.limit;
    end(&f);
    if (kernel_limit > 2 * TOUCHED)
        return; /* this region cannot reach the limit */
    begin(&f);
    mp_set_map_limit(f.t, INT64_C(1) << 40);
    for (uint32_t i = 0; i < TOUCHED; i++)
        open_page(&f, i);
    assert_true(f.refused > 0);
    struct coh_stats st;
    f.t->ops->stats(f.t, &st);
    assert_true((int64_t)st.mappings <= kernel_limit);
    for (uint32_t i = f.oldest; i < TOUCHED; i++)
        assert_int_equal(f.base[2 * (size_t)i * FL_PAGE_BYTES], 0); /* what is open is open */
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_keeps_clear_of_the_limit),
        cmocka_unit_test(kernels_own_refusal_is_handled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
