/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "coherence/tracker_actor.h"

enum { PAGES = 8, CACHED = 4, THREADS = 3 };

static struct coh_tracker *t;
static uint32_t woken[THREADS];

static void on_wake(void *arg, uint32_t ticket)
{
    (void)arg;
    woken[ticket]++;
}

static void make(enum coh_sight sight, uint32_t mappings_max)
{
    void *base = &t;
    struct coh_actor_cfg c = {.base = {.threads_max = THREADS, .cached_pages_max = CACHED},
                              .sight = sight,
                              .mappings_max = mappings_max,
                              .wake = on_wake};
    struct coh_region_cfg r = {.region = 2, .len_bytes = PAGES * FL_PAGE_BYTES};
    memset(woken, 0, sizeof woken);
    assert_int_equal(coh_actor_new(&c, &t, NULL), FL_OK);
    assert_int_equal(t->ops->region_add(t, &r, &base, NULL), FL_OK);
    assert_null(base);
}

static void done(void)
{
    t->ops->free(&t);
    assert_null(t);
}

static uint8_t bytes[FL_PAGE_BYTES], seen[FL_PAGE_BYTES];

static void begin(uint32_t ticket, bool store, uint64_t off, uint32_t len)
{
    struct coh_access a = {
        .region = 2, .store = store, .off = off, .len_bytes = len, .src = bytes, .dst = seen};
    coh_actor_begin(t, ticket, &a);
}

/** Steps until the access ends or blocks. */
static enum coh_act go(uint32_t ticket)
{
    for (int i = 0; i < 1000; i++) {
        enum coh_act a = coh_actor_step(t, ticket);
        if (a != COH_ACT_AGAIN)
            return a;
    }
    fail_msg("an access goes on for ever");
    return COH_ACT_FAILED;
}

static struct coh_note note(enum coh_note_kind kind, uint32_t page)
{
    struct coh_note n;
    assert_true(t->ops->next(t, &n));
    assert_int_equal(n.kind, kind);
    assert_int_equal(n.page, page);
    assert_int_equal(n.region, 2);
    return n;
}

static void no_note(void)
{
    struct coh_note n;
    assert_false(t->ops->next(t, &n));
}

static void gate(uint32_t page, enum fl_prot prot)
{
    assert_int_equal(t->ops->gate(t, 2, page, 1, prot), FL_OK);
}

/** A page as after a fetch, all its bytes @value. */
static void fetch(uint32_t page, uint8_t value, enum fl_prot prot)
{
    uint8_t p[FL_PAGE_BYTES];
    memset(p, value, sizeof p);
    t->ops->install(t, 2, page, FL_MASK_ALL, p);
    gate(page, prot);
}

static void a_miss_waits_for_the_device_and_then_happens_once(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    begin(1, false, 3 * FL_PAGE_BYTES + 10, 20);
    assert_int_equal(go(1), COH_ACT_BLOCKED);
    struct coh_note n = note(COH_NOTE_MISS, 3);
    assert_int_equal(n.ticket, 1);
    assert_int_equal(n.access, FL_LOAD);
    assert_int_equal(n.mask, 0);
    no_note();
    assert_int_equal(coh_actor_step(t, 1), COH_ACT_BLOCKED);
    fetch(3, 7, FL_PROT_READ);
    t->ops->resume(t, 1, FL_OK);
    assert_int_equal(woken[1], 1);
    assert_int_equal(go(1), COH_ACT_DONE);
    for (int i = 0; i < 20; i++)
        assert_int_equal(seen[i], 7);
    t->ops->resume(t, 1, FL_OK); /* late: nobody waits */
    assert_int_equal(woken[1], 1);
    done();
}

static void first_store_opens_in_the_thread_and_the_diff_tells_lines(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(1, 3, FL_PROT_READ);
    memset(bytes, 9, sizeof bytes);
    begin(0, true, FL_PAGE_BYTES + 60, 100); /* lines 0, 1 and 2 */
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(note(COH_NOTE_DIRTY, 1).mask, 0);
    no_note();
    assert_int_equal(t->ops->peek(t, 2, 1), 7);
    gate(1, FL_PROT_READ);
    assert_int_equal(t->ops->snap(t, 2, 1, seen), 7);
    assert_int_equal(seen[59], 3);
    assert_int_equal(seen[60], 9);
    assert_int_equal(seen[159], 9);
    assert_int_equal(seen[160], 3);
    assert_int_equal(t->ops->snap(t, 2, 1, seen), 0);
    struct coh_stats s;
    t->ops->stats(t, &s);
    assert_int_equal(s.local_dirty, 1);
    assert_int_equal(s.misses, 0);
    assert_int_equal(s.twins, 0);
    assert_int_equal(s.twins_max, 1);
    done();
}

/* A coherent device sees the first store to each line, once until the line is snapped. */
static void exact_sight_tells_each_line_once(void **state)
{
    (void)state;
    make(COH_EXACT, 0);
    begin(0, true, 100, 100);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    assert_int_equal(note(COH_NOTE_MISS, 0).mask, 0xe); /* lines 1, 2, 3 */
    fetch(0, 0, FL_PROT_READ);
    t->ops->resume(t, 0, FL_OK);
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(note(COH_NOTE_DIRTY, 0).mask, 2);
    assert_int_equal(note(COH_NOTE_DIRTY, 0).mask, 4);
    assert_int_equal(note(COH_NOTE_DIRTY, 0).mask, 8);
    begin(0, true, 64, 128);
    assert_int_equal(go(0), COH_ACT_DONE);
    no_note();
    assert_int_equal(t->ops->peek(t, 2, 0), 0);
    gate(0, FL_PROT_READ);
    (void)t->ops->snap(t, 2, 0, seen);
    begin(0, true, 64, 8);
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(note(COH_NOTE_DIRTY, 0).mask, 2);
    done();
}

/* Between taking the gate and opening it, the device is told to come back. */
static void a_busy_gate_makes_the_device_wait(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 0, FL_PROT_READ);
    begin(0, true, 0, 8);
    assert_int_equal(coh_actor_step(t, 0), COH_ACT_AGAIN); /* trap: the gate is taken */
    assert_int_equal(t->ops->gate(t, 2, 0, 1, FL_PROT_NONE), FL_EAGAIN);
    begin(1, true, 8, 8); /* another thread must not open it twice */
    for (int i = 0; i < 50; i++)
        assert_int_equal(coh_actor_step(t, 1), COH_ACT_AGAIN);
    no_note();
    while (coh_actor_progress(t, 0) == 0 && !coh_actor_urgent(t))
        assert_int_equal(coh_actor_step(t, 0), COH_ACT_AGAIN);
    note(COH_NOTE_DIRTY, 0); /* told before the gate is free */
    while (!coh_actor_urgent(t))
        assert_int_equal(coh_actor_step(t, 0), COH_ACT_AGAIN);
    note(COH_NOTE_GATE_FREE, 0);
    gate(0, FL_PROT_NONE);
    /* The store had not happened yet: it misses now, and so does the other thread. */
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    assert_int_equal(go(1), COH_ACT_BLOCKED);
    assert_int_equal(t->ops->snap(t, 2, 0, seen), 0);
    assert_int_equal(seen[0], 0);
    done();
}

/* A store to a page that waits for its snap is held back, then reported. */
static void a_held_page_is_not_opened_before_its_snap(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 0, FL_PROT_RW);
    memset(bytes, 5, sizeof bytes);
    begin(0, true, 0, 8);
    assert_int_equal(go(0), COH_ACT_DONE);
    gate(0, FL_PROT_READ);
    begin(0, true, 64, 8);
    for (int i = 0; i < 5; i++)
        assert_int_equal(coh_actor_step(t, 0), COH_ACT_AGAIN);
    assert_int_equal(t->ops->snap(t, 2, 0, seen), 1);
    assert_int_equal(go(0), COH_ACT_DONE);
    note(COH_NOTE_DIRTY, 0);
    gate(0, FL_PROT_READ);
    begin(1, true, 128, 8);
    assert_int_equal(go(1), COH_ACT_BLOCKED); /* the device takes its time */
    assert_int_equal(note(COH_NOTE_MISS, 0).access, FL_STORE);
    done();
}

static void a_crossing_instruction_needs_both_pages_at_once(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 1, FL_PROT_READ);
    begin(0, false, FL_PAGE_BYTES - 4, 8);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    note(COH_NOTE_MISS, 1);
    assert_int_equal(coh_actor_progress(t, 0), 0);
    gate(0, FL_PROT_NONE);
    fetch(1, 2, FL_PROT_READ);
    t->ops->resume(t, 0, FL_OK);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    note(COH_NOTE_MISS, 0);
    gate(0, FL_PROT_READ);
    t->ops->resume(t, 0, FL_OK);
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(seen[3], 1);
    assert_int_equal(seen[4], 2);
    done();
}

static void failed_accesses_say_why_and_how_far_they_came(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 0, FL_PROT_RW);
    memset(bytes, 5, sizeof bytes);
    begin(0, true, FL_PAGE_BYTES - 64, 128);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    t->ops->resume(t, 0, FL_EPEERDEAD);
    assert_int_equal(go(0), COH_ACT_FAILED);
    assert_int_equal(coh_actor_status(t, 0), FL_EPEERDEAD);
    assert_int_equal(coh_actor_progress(t, 0), 64);
    assert_int_equal(t->ops->live(t, 2, 0)[FL_PAGE_BYTES - 1], 5);
    assert_int_equal(t->ops->live(t, 2, 1)[0], 0);
    /* A wait that took too long; only the wait that was meant. */
    begin(0, false, 2 * FL_PAGE_BYTES, 8);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    uint64_t nth = coh_actor_waits(t, 0);
    coh_actor_expire(t, 0, nth - 1);
    assert_int_equal(coh_actor_step(t, 0), COH_ACT_BLOCKED);
    coh_actor_expire(t, 0, nth);
    assert_int_equal(go(0), COH_ACT_FAILED);
    assert_int_equal(coh_actor_status(t, 0), FL_ETIMEDOUT);
    done();
}

static void dropped_pages_are_zero_again(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 9, FL_PROT_READ);
    gate(0, FL_PROT_NONE);
    t->ops->drop(t, 2, 0);
    assert_int_equal(t->ops->live(t, 2, 0)[0], 0);
    gate(0, FL_PROT_READ);
    begin(0, false, 0, 8);
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(seen[0], 0);
    done();
}

/* A gate over several pages changes all or none. */
static void a_range_is_gated_as_one(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    for (uint32_t i = 0; i < 3; i++)
        fetch(i, 0, FL_PROT_READ);
    begin(0, true, 2 * FL_PAGE_BYTES, 8);
    assert_int_equal(coh_actor_step(t, 0), COH_ACT_AGAIN); /* holds the gate of page 2 */
    assert_int_equal(t->ops->gate(t, 2, 0, 3, FL_PROT_NONE), FL_EAGAIN);
    begin(1, false, 0, 8);
    assert_int_equal(go(1), COH_ACT_DONE); /* page 0 is as it was */
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_int_equal(t->ops->gate(t, 2, 0, 3, FL_PROT_NONE), FL_OK);
    struct coh_stats s;
    t->ops->stats(t, &s);
    assert_int_equal(s.resident_pages, 0);
    assert_int_equal(s.resident_pages_max, 3);
    done();
}

/* Every other page open is the most mappings; past the limit a raise is refused, a store becomes a
 * MISS, and lowering always works. */
static void the_mapping_limit_is_backpressure(void **state)
{
    (void)state;
    make(COH_SAMPLED, 5);
    fetch(1, 0, FL_PROT_READ);
    fetch(3, 0, FL_PROT_READ); /* 1 + 4 borders */
    assert_int_equal(t->ops->gate(t, 2, 5, 1, FL_PROT_READ), FL_ENOSPC);
    gate(2, FL_PROT_READ); /* joins two: fewer */
    begin(0, true, 2 * FL_PAGE_BYTES, 8);
    assert_int_equal(go(0), COH_ACT_DONE); /* 1..3 readable, 2 writable: five again */
    note(COH_NOTE_DIRTY, 2);
    begin(0, true, 5 * FL_PAGE_BYTES, 8);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    note(COH_NOTE_MISS, 5);
    gate(2, FL_PROT_NONE);
    struct coh_stats s;
    t->ops->stats(t, &s);
    assert_int_equal(s.map_refusals, 1);
    done();
}

static void stores_beyond_the_twins_are_reported(void **state)
{
    (void)state;
    make(COH_SAMPLED, 3);
    fetch(0, 0, FL_PROT_READ);
    fetch(1, 0, FL_PROT_READ);
    fetch(2, 0, FL_PROT_READ);
    begin(0, true, 0, 8); /* one more border: three mappings are the limit */
    assert_int_equal(go(0), COH_ACT_DONE);
    note(COH_NOTE_DIRTY, 0);
    begin(0, true, 2 * FL_PAGE_BYTES, 8);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    struct coh_note n = note(COH_NOTE_MISS, 2); /* on a page that is readable already */
    assert_int_equal(n.access, FL_STORE);
    gate(2, FL_PROT_NONE); /* its gate was let go */
    done();
}

/* DIRTY waits for the device's own time while it is armed, MISS never does. */
static void armed_devices_are_not_woken_by_stores(void **state)
{
    (void)state;
    make(COH_SAMPLED, 0);
    fetch(0, 0, FL_PROT_READ);
    t->ops->armed(t, true);
    begin(0, true, 0, 8);
    assert_int_equal(go(0), COH_ACT_DONE);
    assert_false(coh_actor_urgent(t));
    t->ops->armed(t, false);
    assert_true(coh_actor_urgent(t));
    t->ops->armed(t, true);
    begin(0, false, FL_PAGE_BYTES, 8);
    assert_int_equal(go(0), COH_ACT_BLOCKED);
    assert_true(coh_actor_urgent(t));
    note(COH_NOTE_DIRTY, 0);
    note(COH_NOTE_MISS, 1);
    assert_int_equal(t->ops->wake_fd(t), -1);
    done();
}

static void wrong_settings_are_refused(void **state)
{
    (void)state;
    struct fl_errmsg err = {{0}};
    struct coh_tracker *none = NULL;
    struct coh_actor_cfg c = {.base = {.threads_max = 65, .cached_pages_max = 4}};
    assert_int_equal(coh_actor_new(&c, &none, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "threads"));
    c.base.threads_max = 1;
    c.base.cached_pages_max = 0;
    assert_int_equal(coh_actor_new(&c, &none, &err), FL_EINVAL);
    assert_null(none);
    make(COH_SAMPLED, 0);
    void *base;
    struct coh_region_cfg r = {.region = 2, .len_bytes = FL_PAGE_BYTES};
    assert_int_equal(t->ops->region_add(t, &r, &base, &err), FL_EINVAL);
    r = (struct coh_region_cfg){.region = 3, .len_bytes = 100};
    assert_int_equal(t->ops->region_add(t, &r, &base, &err), FL_EINVAL);
    t->ops->region_remove(t, 2);
    r = (struct coh_region_cfg){.region = 2, .len_bytes = FL_PAGE_BYTES};
    assert_int_equal(t->ops->region_add(t, &r, &base, &err), FL_OK);
    done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_miss_waits_for_the_device_and_then_happens_once),
        cmocka_unit_test(first_store_opens_in_the_thread_and_the_diff_tells_lines),
        cmocka_unit_test(exact_sight_tells_each_line_once),
        cmocka_unit_test(a_busy_gate_makes_the_device_wait),
        cmocka_unit_test(a_held_page_is_not_opened_before_its_snap),
        cmocka_unit_test(a_crossing_instruction_needs_both_pages_at_once),
        cmocka_unit_test(failed_accesses_say_why_and_how_far_they_came),
        cmocka_unit_test(dropped_pages_are_zero_again),
        cmocka_unit_test(a_range_is_gated_as_one),
        cmocka_unit_test(the_mapping_limit_is_backpressure),
        cmocka_unit_test(stores_beyond_the_twins_are_reported),
        cmocka_unit_test(armed_devices_are_not_woken_by_stores),
        cmocka_unit_test(wrong_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
