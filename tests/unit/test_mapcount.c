/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "coherence/mapcount.h"
#include "emu/base/units.h"

static void keeps_a_reserve_for_lowering(void **state)
{
    (void)state;
    struct coh_maps m;
    coh_maps_init(&m);
    assert_true(m.limit >= 1024);
    m.limit = 20000;
    atomic_store(&m.others, 100);
    assert_true(coh_maps_reserve(&m, 20000 - 100 - COH_MAPS_RESERVE, true));
    assert_false(coh_maps_reserve(&m, 1, true));
    assert_int_equal(atomic_load(&m.ours), 20000 - 100 - COH_MAPS_RESERVE);
    assert_true(coh_maps_reserve(&m, 0, true));
    assert_true(coh_maps_reserve(&m, COH_MAPS_RESERVE - COH_MAPS_LAST, false));
    assert_false(coh_maps_reserve(&m, 1, false));
    assert_true(coh_maps_reserve(&m, -2, true)); /* giving back is always right */
    coh_maps_undo(&m, -2);
    assert_int_equal(atomic_load(&m.ours), 20000 - 100 - COH_MAPS_LAST);
}

/* Races between the device and threads can take off more than was there. */
static void never_tells_less_than_nothing(void **state)
{
    (void)state;
    struct coh_maps m;
    coh_maps_init(&m);
    assert_true(coh_maps_reserve(&m, 2, true));
    assert_int_equal(coh_maps_count(&m), 2);
    assert_true(coh_maps_reserve(&m, -5, false));
    assert_int_equal(coh_maps_count(&m), 0);
    assert_true(coh_maps_reserve(&m, 4, true)); /* the drift is not hidden from what follows */
    assert_int_equal(coh_maps_count(&m), 1);
}

/* A host with a tiny limit still leaves something to raise. */
static void small_limits_keep_a_smaller_reserve(void **state)
{
    (void)state;
    struct coh_maps m;
    coh_maps_init(&m);
    m.limit = 1024;
    assert_true(coh_maps_reserve(&m, 700, true));
    assert_false(coh_maps_reserve(&m, 100, true));
}

static void counts_what_the_kernel_has(void **state)
{
    (void)state;
    enum { PAGES = 64 };
    uint8_t *p =
        mmap(NULL, (size_t)PAGES * FL_PAGE_BYTES, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    struct coh_span span = {(uintptr_t)p, (uintptr_t)p + (size_t)PAGES * FL_PAGE_BYTES};
    struct coh_maps m;
    coh_maps_init(&m);
    coh_maps_resync(&m, &span, 1);
    assert_int_equal(atomic_load(&m.ours), 1);
    int64_t others = atomic_load(&m.others);
    assert_true(others > 3);
    for (int i = 1; i < PAGES; i += 2)
        assert_int_equal(mprotect(p + (size_t)i * FL_PAGE_BYTES, FL_PAGE_BYTES, PROT_READ), 0);
    coh_maps_resync(&m, &span, 1);
    assert_int_equal(atomic_load(&m.ours), PAGES);
    assert_int_equal(atomic_load(&m.others), others);
    munmap(p, (size_t)PAGES * FL_PAGE_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_reserve_for_lowering),
        cmocka_unit_test(never_tells_less_than_nothing),
        cmocka_unit_test(small_limits_keep_a_smaller_reserve),
        cmocka_unit_test(counts_what_the_kernel_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
