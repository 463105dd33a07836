/* SPDX-License-Identifier: Apache-2.0 */
/* Which page leaves device memory, and when: the write-back core against a scripted world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/wb_priv.h"
#include "tests/support/fake_env.h"

static void close_ok(struct fake *f, uint16_t region)
{
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000u + region, .region = region);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000u + region), FL_OK);
    assert_int_equal(wb_region_state(f->wb, region), WB_CLOSED);
    assert_int_equal(fk_differ(f, region), 0);
}

static void touch_range(struct fake *f, uint32_t first, uint32_t last)
{
    for (uint32_t p = first; p <= last; p++) {
        fk_touch(f, 0, 0, p);
    }
}

static bool cached(struct fake *f, uint32_t page)
{
    return fk_state(f, page) != WB_NOT_CACHED;
}

/* Uses of a page reach the device as misses and first stores only. */
static void lru_evicts_what_was_not_used_for_longest(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.capacity_pages = 6;
    f = fk_new(&cfg);
    fk_open(f, 0);
    touch_range(f, 0, 5);
    fk_write(f, 0, 0, 0, 1); /* used again */
    touch_range(f, 6, 6);
    assert_true(cached(f, 0));
    assert_false(cached(f, 1));
    touch_range(f, 7, 7);
    assert_true(cached(f, 0));
    assert_false(cached(f, 2));
    fk_free(&f);
}

static void clock_gives_a_second_chance(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.capacity_pages = 6;
    cfg.evict = WB_CLOCK;
    f = fk_new(&cfg);
    fk_open(f, 0);
    touch_range(f, 0, 6); /* every page was used: the hand went round, and took the first */
    assert_false(cached(f, 0));
    fk_write(f, 0, 0, 1, 1); /* used since the hand passed */
    fk_touch(f, 0, 0, 7);
    assert_true(cached(f, 1));
    assert_false(cached(f, 2));
    fk_free(&f);
}

static void the_last_grants_of_a_thread_stay(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.thread_count = 2;
    cfg.capacity_pages = 8;
    cfg.regions[0].page_count = cfg.regions[0].chunks[0].page_count = 32;
    f = fk_new(&cfg);
    fk_open(f, 0);
    touch_range(f, 0, 3);
    for (uint32_t p = 8; p < 32; p++) { /* the other thread runs through everything */
        fk_touch(f, 1, 0, p);
    }
    for (uint32_t p = 0; p < 4; p++) {
        assert_true(cached(f, p));
    }
    fk_touch(f, 0, 0, 4); /* its own oldest goes */
    fk_touch(f, 1, 0, 5);
    fk_touch(f, 1, 0, 6);
    assert_true(cached(f, 1));
    assert_false(cached(f, 0));
    assert_int_equal(wb_stats(f->wb)->cached_max, 8);
    fk_free(&f);
}

/* W-f5, W2: the frame is free only after the acknowledgement. */
static void a_dirty_victim_leaves_after_its_ack(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    for (uint32_t p = 0; p < 4; p++) {
        fk_write(f, 0, 0, p, p);
    }
    fk_load(f, 0, 0, 6);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 1); /* overlaps with the eviction */
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_NONE);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    assert_int_equal(fk_state(f, 6), WB_FETCHING);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_find(f, FL_CALL_RMA_WRITE)->rma.cls, FL_NORMAL);
    assert_int_equal(fk_pending(f, FL_CALL_MAP), 0);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_MAP), 1);
    assert_int_equal(fk_status(f, 0), FL_OK);
    f->resume_count = 0;
    fk_done(f, fk_find(f, FL_CALL_MAP), FL_OK);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_READ);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_status(f, 0), FL_OK);
    close_ok(f, 0);
    fk_free(&f);
}

static void a_victim_that_is_wanted_again_stays(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.thread_count = 2;
    cfg.capacity_pages = 8;
    f = fk_new(&cfg);
    fk_open(f, 0);
    fk_touch(f, 0, 0, 0);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 1);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_NONE);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK); /* map(hole) is on its way now */
    fk_load(f, 1, 0, 0);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 0);
    fk_done(f, fk_find(f, FL_CALL_MAP), FL_OK); /* too late: fetched again */
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 1);
    assert_true(fk_run(f));
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    fk_load(f, 1, 0, 0); /* in time: opened again while the write-back runs */
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_READ);
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_count(f, FL_CALL_MAP), 0);
    fk_free(&f);
}

static void pressure_evicts_that_many(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.capacity_pages = 8;
    f = fk_new(&cfg);
    fk_open(f, 0);
    touch_range(f, 0, 7);
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 3);
    assert_true(fk_run(f));
    assert_int_equal(f->wb->cached, 5);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 300);
    assert_true(fk_run(f));
    assert_int_equal(f->wb->cached, 0);
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_evicts_what_was_not_used_for_longest),
        cmocka_unit_test(clock_gives_a_second_chance),
        cmocka_unit_test(the_last_grants_of_a_thread_stay),
        cmocka_unit_test(a_dirty_victim_leaves_after_its_ack),
        cmocka_unit_test(a_victim_that_is_wanted_again_stays),
        cmocka_unit_test(pressure_evicts_that_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
