/* SPDX-License-Identifier: Apache-2.0 */
/* The mprotect tracker step by step: this thread is both the device and the application. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/farline.h"
#include "coherence/mprotect_int.h"

enum { PAGES = 16, CACHED = 12 };

struct fixture {
    struct coh_tracker *t;
    uint8_t *base;
    uint8_t src[FL_PAGE_BYTES], buf[FL_PAGE_BYTES];
};

static struct fixture *fixture;

static void end(void)
{
    if (!fixture)
        return;
    coh_thread_leave(fixture->t);
    fixture->t->ops->free(&fixture->t);
    free(fixture);
    fixture = NULL;
}

/* Called in the test itself: cmocka has signal handlers of its own around fixtures. */
static struct fixture *begin(void)
{
    end(); /* of a test that failed */
    struct fixture *f = calloc(1, sizeof *f);
    struct coh_cfg cfg = {
        .threads_max = 2, .cached_pages_max = CACHED, .access_deadline_ns = FL_NS_PER_S};
    struct coh_region_cfg rc = {.region = 3, .len_bytes = (uint64_t)PAGES * FL_PAGE_BYTES};
    void *base;
    uint32_t ticket;
    assert_non_null(f);
    assert_int_equal(coh_mprotect_new(&cfg, &f->t, NULL), FL_OK);
    assert_int_equal(f->t->ops->region_add(f->t, &rc, &base, NULL), FL_OK);
    assert_int_equal(coh_thread_enter(f->t, &ticket, NULL), FL_OK);
    f->base = base;
    for (size_t i = 0; i < FL_PAGE_BYTES; i++)
        f->src[i] = (uint8_t)(i * 7);
    fixture = f;
    return f;
}

static volatile uint8_t *at(struct fixture *f, uint32_t page, uint32_t off)
{
    return f->base + (size_t)page * FL_PAGE_BYTES + off;
}

static void gate(struct fixture *f, uint32_t page, uint32_t count, enum fl_prot prot)
{
    assert_int_equal(f->t->ops->gate(f->t, 3, page, count, prot), FL_OK);
}

static void fetch(struct fixture *f, uint32_t page)
{
    f->t->ops->install(f->t, 3, page, FL_MASK_ALL, f->src);
    gate(f, page, 1, FL_PROT_READ);
}

static void expect_note(struct fixture *f, enum coh_note_kind kind, uint32_t page)
{
    struct coh_note n;
    assert_true(f->t->ops->next(f->t, &n));
    assert_int_equal(n.kind, kind);
    assert_int_equal(n.region, 3);
    assert_int_equal(n.page, page);
}

static void expect_no_note(struct fixture *f)
{
    struct coh_note n;
    assert_false(f->t->ops->next(f->t, &n));
}

static bool readable(struct fixture *f)
{
    struct pollfd p = {.fd = f->t->ops->wake_fd(f->t), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static struct coh_stats stats(struct fixture *f)
{
    struct coh_stats st;
    f->t->ops->stats(f->t, &st);
    return st;
}

static _Atomic uint32_t *gate_of(struct fixture *f, uint32_t page)
{
    return &((struct mp_tracker *)f->t)->regions[3].pages[page].gate;
}

/* --- a page's life --------------------------------------------------------------------------- */

static void first_store_is_handled_in_the_thread(void **state)
{
    (void)state;
    struct fixture *f = begin();
    fetch(f, 2);
    assert_int_equal(*at(f, 2, 100), (uint8_t)(100 * 7));
    *at(f, 2, 100) = 1;   /* line 1 */
    *at(f, 2, 4095) = 99; /* line 63, no second trap */
    struct coh_stats st = stats(f);
    assert_int_equal(st.traps, 1);
    assert_int_equal(st.local_dirty, 1);
    assert_int_equal(st.misses, 0);
    assert_int_equal(st.twins, 1);
    expect_note(f, COH_NOTE_DIRTY, 2);
    expect_no_note(f);
    fl_mask lines = (fl_mask)1 << 1 | (fl_mask)1 << 63;
    assert_true(f->t->ops->peek(f->t, 3, 2) == lines);
    gate(f, 2, 1, FL_PROT_READ);
    assert_true(f->t->ops->snap(f->t, 3, 2, f->buf) == lines);
    assert_int_equal(f->buf[100], 1);
    assert_int_equal(f->buf[4095], 99);
    assert_int_equal(f->buf[101], (uint8_t)(101 * 7));
    assert_int_equal(stats(f).twins, 0);
    assert_true(f->t->ops->peek(f->t, 3, 2) == FL_MASK_NONE);
    assert_true(f->t->ops->snap(f->t, 3, 2, f->buf) == FL_MASK_NONE);
    *at(f, 2, 0) = 3; /* a new epoch: trapped and told again */
    expect_note(f, COH_NOTE_DIRTY, 2);
    assert_int_equal(stats(f).local_dirty, 2);
}

static void silent_stores_leave_no_line(void **state)
{
    (void)state;
    struct fixture *f = begin();
    fetch(f, 0);
    *at(f, 0, 9) = (uint8_t)(9 * 7);
    gate(f, 0, 1, FL_PROT_READ);
    expect_note(f, COH_NOTE_DIRTY, 0);
    assert_true(f->t->ops->snap(f->t, 3, 0, f->buf) == FL_MASK_NONE);
}

static void device_opens_for_stores_with_a_twin(void **state)
{
    (void)state;
    struct fixture *f = begin();
    f->t->ops->install(f->t, 3, 5, FL_MASK_ALL, f->src);
    gate(f, 5, 1, FL_PROT_RW);
    *at(f, 5, 640) = 200;
    assert_int_equal(stats(f).traps, 0);
    expect_no_note(f);
    gate(f, 5, 1, FL_PROT_NONE);
    assert_true(f->t->ops->snap(f->t, 3, 5, f->buf) == (fl_mask)1 << 10);
    f->t->ops->drop(f->t, 3, 5);
    assert_int_equal(stats(f).resident_pages, 0);
    assert_int_equal(stats(f).resident_pages_max, 1);
    gate(f, 5, 1, FL_PROT_READ); /* dropped bytes read as zero */
    for (uint32_t i = 0; i < FL_PAGE_BYTES; i++)
        assert_int_equal(*at(f, 5, i), 0);
}

static void ranges_change_as_one(void **state)
{
    (void)state;
    struct fixture *f = begin();
    gate(f, 2, 6, FL_PROT_READ);
    *at(f, 4, 0) = 1;
    *at(f, 6, 0) = 1;
    assert_int_equal(stats(f).mappings, 3 + 4);
    gate(f, 0, PAGES, FL_PROT_READ);
    assert_int_equal(stats(f).mappings, 1);
    assert_int_equal(stats(f).resident_pages, PAGES);
    expect_note(f, COH_NOTE_DIRTY, 4);
    expect_note(f, COH_NOTE_DIRTY, 6);
    expect_no_note(f);
    gate(f, 1, PAGES - 2, FL_PROT_NONE);
    assert_int_equal(stats(f).mappings, 3);
    assert_int_equal(stats(f).resident_pages, 2);
}

/* Between the device's gate and its snap the page stays as it was gated. */
static void held_page_is_not_opened_before_its_snap(void **state)
{
    (void)state;
    struct fixture *f = begin();
    fetch(f, 1);
    gate(f, 1, 1, FL_PROT_READ);
    assert_int_equal(coh_gate_do(gate_of(f, 1), COH_OP_TAKE), COH_GATE_HELD);
    f->t->ops->snap(f->t, 3, 1, f->buf);
    *at(f, 1, 0) = 77;
    expect_note(f, COH_NOTE_DIRTY, 1);
}

/* A twin that was never snapped stays: the lines of both epochs are told together. */
static void unsnapped_twin_is_kept(void **state)
{
    (void)state;
    struct fixture *f = begin();
    fetch(f, 1);
    *at(f, 1, 0) = 77;
    gate(f, 1, 1, FL_PROT_NONE);
    gate(f, 1, 1, FL_PROT_READ);
    *at(f, 1, 64) = 78;
    assert_int_equal(stats(f).local_dirty, 2);
    assert_int_equal(stats(f).twins, 1);
    gate(f, 1, 1, FL_PROT_READ);
    assert_true(f->t->ops->snap(f->t, 3, 1, f->buf) == 3);
    expect_note(f, COH_NOTE_DIRTY, 1);
    expect_no_note(f); /* the device had not asked between: told once */
}

static void installed_lines_are_not_dirty(void **state)
{
    (void)state;
    struct fixture *f = begin();
    fetch(f, 1);
    *at(f, 1, 0) = 77;
    memset(f->src, 0xee, sizeof f->src);
    f->t->ops->install(f->t, 3, 1, (fl_mask)6, f->src);
    assert_int_equal(*at(f, 1, 63), (uint8_t)(63 * 7));
    assert_int_equal(*at(f, 1, 64), 0xee);
    assert_int_equal(*at(f, 1, 191), 0xee);
    assert_int_equal(*at(f, 1, 192), (uint8_t)(192 * 7));
    gate(f, 1, 1, FL_PROT_READ);
    assert_true(f->t->ops->snap(f->t, 3, 1, f->buf) == 1);
    assert_memory_equal(f->buf, f->t->ops->live(f->t, 3, 1), FL_PAGE_BYTES);
}

/* A twin goes to the next page while the note of the last one has not been heard yet. */
static void notes_outlive_their_twins(void **state)
{
    (void)state;
    struct fixture *f = begin();
    gate(f, 0, 8, FL_PROT_READ);
    for (uint32_t p = 0; p < 8; p++) {
        *at(f, p, 0) = 1;
        gate(f, p, 1, FL_PROT_READ);
        assert_true(f->t->ops->snap(f->t, 3, p, f->buf) == 1);
    }
    assert_int_equal(stats(f).twins_max, 1);
    for (uint32_t p = 0; p < 8; p++)
        expect_note(f, COH_NOTE_DIRTY, p);
    expect_no_note(f);
}

/* --- busy gates ------------------------------------------------------------------------------ */

static void busy_gate_is_waited_for(void **state)
{
    (void)state;
    struct fixture *f = begin();
    gate(f, 0, 8, FL_PROT_READ);
    expect_no_note(f);
    assert_int_equal(coh_gate_do(gate_of(f, 3), COH_OP_TAKE), COH_GATE_OK); /* as a trap would */
    assert_int_equal(f->t->ops->gate(f->t, 3, 0, 8, FL_PROT_NONE), FL_EAGAIN);
    assert_int_equal(f->t->ops->gate(f->t, 3, 0, 8, FL_PROT_NONE), FL_EAGAIN);
    assert_int_equal(coh_gate_prot(*gate_of(f, 0)), FL_PROT_READ); /* nothing changed */
    assert_int_equal(*at(f, 0, 0), 0);
    expect_no_note(f);
    assert_false(readable(f));
    assert_int_equal(coh_gate_do(gate_of(f, 3), COH_OP_BACK_OUT), COH_GATE_WANTED);
    coh_notes_wake(&((struct mp_tracker *)f->t)->notes); /* as the trap does then */
    assert_true(readable(f));
    expect_note(f, COH_NOTE_GATE_FREE, 3);
    expect_no_note(f);
    gate(f, 0, 8, FL_PROT_NONE);
}

/* The DIRTY of the store that kept the gate busy comes before the news that it is free. */
static void dirty_comes_before_gate_free(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct mp_tracker *t = (struct mp_tracker *)f->t;
    fetch(f, 3);
    assert_int_equal(coh_gate_do(gate_of(f, 3), COH_OP_TAKE), COH_GATE_OK);
    assert_int_equal(f->t->ops->gate(f->t, 3, 3, 1, FL_PROT_READ), FL_EAGAIN);
    uint32_t twin = coh_twins_take(t->twins);
    memcpy(coh_twins_at(t->twins, twin), f->src, FL_PAGE_BYTES);
    t->regions[3].pages[3].twin = twin;
    t->notes.places[twin] =
        (struct coh_place){.page = 3, .region = 3, .kind = COH_NOTE_DIRTY, .access = FL_STORE};
    coh_notes_push(&t->notes, twin, false);
    assert_true(f->t->ops->peek(f->t, 3, 3) == FL_MASK_NONE); /* the twin is a thread's */
    coh_gate_do(gate_of(f, 3), COH_OP_BACK_OUT);
    expect_note(f, COH_NOTE_DIRTY, 3);
    expect_note(f, COH_NOTE_GATE_FREE, 3);
    expect_no_note(f);
    gate(f, 3, 1, FL_PROT_READ);
    f->t->ops->snap(f->t, 3, 3, f->buf);
}

/* --- waking the device ----------------------------------------------------------------------- */

static void armed_device_sleeps_through_dirty_pages(void **state)
{
    (void)state;
    struct fixture *f = begin();
    gate(f, 0, 4, FL_PROT_READ);
    f->t->ops->armed(f->t, true);
    expect_no_note(f);
    *at(f, 0, 0) = 1;
    assert_false(readable(f));
    f->t->ops->armed(f->t, false); /* what came meanwhile is not forgotten */
    assert_true(readable(f));
    expect_note(f, COH_NOTE_DIRTY, 0);
    expect_no_note(f);
    assert_false(readable(f));
    *at(f, 1, 0) = 1;
    assert_true(readable(f));
    expect_note(f, COH_NOTE_DIRTY, 1);
}

/* --- limits and bad input -------------------------------------------------------------------- */

static void mapping_limit_refuses_and_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct mp_tracker *t = (struct mp_tracker *)f->t;
    gate(f, 0, 2, FL_PROT_READ);
    mp_set_map_limit(f->t, 4 * (atomic_load(&t->maps.others) + 6) / 3);
    int refused = 0;
    uint32_t opened = 0;
    for (uint32_t p = 3; p < PAGES && !refused; p += 2) {
        int rc = f->t->ops->gate(f->t, 3, p, 1, FL_PROT_READ);
        refused = rc == FL_ENOSPC;
        opened += rc == FL_OK;
        assert_int_equal(coh_gate_prot(*gate_of(f, p)), refused ? FL_PROT_NONE : FL_PROT_READ);
    }
    assert_true(refused && opened > 0);
    assert_int_equal(stats(f).map_refusals, 1);
    gate(f, 3, 1, FL_PROT_NONE); /* taking rights away is always possible, and makes room */
    gate(f, 2, 1, FL_PROT_READ);
}

static void pool_without_twins_refuses(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct mp_tracker *t = (struct mp_tracker *)f->t;
    while (coh_twins_take(t->twins) != COH_TWIN_NONE)
        ;
    assert_int_equal(f->t->ops->gate(f->t, 3, 0, 1, FL_PROT_RW), FL_ENOSPC);
    assert_int_equal(coh_gate_prot(*gate_of(f, 0)), FL_PROT_NONE);
    gate(f, 0, 1, FL_PROT_READ);
    coh_twins_give(t->twins, 1);
    gate(f, 0, 1, FL_PROT_RW);
}

static void refuses_silly_regions(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct fl_errmsg err;
    void *base = NULL;
    const struct coh_region_cfg bad[] = {
        {.region = 3, .len_bytes = FL_PAGE_BYTES},                  /* taken */
        {.region = COH_REGIONS_MAX, .len_bytes = FL_PAGE_BYTES},    /* no such number */
        {.region = 1, .len_bytes = 0},                              /* empty */
        {.region = 1, .len_bytes = 100},                            /* not whole pages */
        {.region = 1, .len_bytes = UINT64_C(1) << 62},              /* absurd */
        {.region = 1, .len_bytes = FL_PAGE_BYTES, .addr_hint = 17}, /* crooked */
        {.region = 1, .len_bytes = FL_PAGE_BYTES, .addr_hint = (uintptr_t)f->base}, /* in use */
        {.region = 1,
         .len_bytes = UINT64_C(1) << 40,
         .addr_hint = UINT64_C(1) << 62}, /* not ours to use */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err.text[0] = 0;
        int rc = f->t->ops->region_add(f->t, &bad[i], &base, &err);
        assert_true(rc == FL_EINVAL || rc == FL_ENOMEM);
        assert_true(strlen(err.text) > 10);
        assert_null(base);
    }
}

static void region_goes_where_it_is_wanted(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct fl_errmsg err;
    void *base;
    struct coh_region_cfg rc = {
        .region = 7, .len_bytes = 8 * FL_PAGE_BYTES, .addr_hint = UINT64_C(0x200000000000)};
    assert_int_equal(f->t->ops->region_add(f->t, &rc, &base, &err), FL_OK);
    assert_int_equal((uintptr_t)base, rc.addr_hint);
    assert_int_equal(f->t->ops->gate(f->t, 7, 0, 8, FL_PROT_RW), FL_OK);
    memset(base, 1, rc.len_bytes);
    assert_int_equal(farline_region_error(base), FL_OK);
    assert_int_equal(stats(f).twins, 8);
    f->t->ops->region_remove(f->t, 7);
    assert_int_equal(stats(f).twins, 0);
    assert_int_equal(stats(f).resident_pages, 0);
    assert_int_equal(farline_region_error(base), FL_EINVAL);
    assert_int_equal(f->t->ops->region_add(f->t, &rc, &base, &err), FL_OK); /* free again */
    assert_int_equal(f->t->ops->gate(f->t, 7, 0, 1, FL_PROT_READ), FL_OK);
    assert_int_equal(*(volatile uint8_t *)base, 0);
}

static void one_tracker_per_process(void **state)
{
    (void)state;
    begin();
    struct coh_tracker *t = NULL;
    struct fl_errmsg err;
    struct coh_cfg cfg = {.threads_max = 1, .cached_pages_max = 4};
    assert_int_equal(coh_mprotect_new(&cfg, &t, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "already"));
    assert_null(t);
}

static void refuses_silly_configurations(void **state)
{
    (void)state;
    end();
    struct coh_tracker *t = NULL;
    const struct coh_cfg bad[] = {
        {.threads_max = 0, .cached_pages_max = 4},
        {.threads_max = COH_THREADS_MAX + 1, .cached_pages_max = 4},
        {.threads_max = 1, .cached_pages_max = 0},
        {.threads_max = 1, .cached_pages_max = UINT32_MAX},
        {.threads_max = 1, .cached_pages_max = 4, .spin = 9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fl_errmsg err = {{0}};
        assert_int_equal(coh_mprotect_new(&bad[i], &t, &err), FL_EINVAL);
        assert_true(strlen(err.text) > 10);
    }
}

static void refuses_hosts_it_cannot_serve(void **state)
{
    (void)state;
    struct fl_errmsg err;
    assert_int_equal(mp_check_host(FL_PAGE_BYTES, true, &err), FL_OK);
    assert_int_equal(mp_check_host(65536, true, &err), FL_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "65536"));
    assert_non_null(strstr(err.text, "use a kernel")); /* the remedy */
    assert_int_equal(mp_check_host(FL_PAGE_BYTES, false, &err), FL_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "--fabric sim"));
}

static void state_per_page_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct mp_page) <= 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_store_is_handled_in_the_thread),
        cmocka_unit_test(silent_stores_leave_no_line),
        cmocka_unit_test(device_opens_for_stores_with_a_twin),
        cmocka_unit_test(ranges_change_as_one),
        cmocka_unit_test(held_page_is_not_opened_before_its_snap),
        cmocka_unit_test(unsnapped_twin_is_kept),
        cmocka_unit_test(installed_lines_are_not_dirty),
        cmocka_unit_test(notes_outlive_their_twins),
        cmocka_unit_test(busy_gate_is_waited_for),
        cmocka_unit_test(dirty_comes_before_gate_free),
        cmocka_unit_test(armed_device_sleeps_through_dirty_pages),
        cmocka_unit_test(mapping_limit_refuses_and_changes_nothing),
        cmocka_unit_test(pool_without_twins_refuses),
        cmocka_unit_test(refuses_silly_regions),
        cmocka_unit_test(region_goes_where_it_is_wanted),
        cmocka_unit_test(one_tracker_per_process),
        cmocka_unit_test(refuses_silly_configurations),
        cmocka_unit_test(refuses_hosts_it_cannot_serve),
        cmocka_unit_test(state_per_page_is_small),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    end();
    return failed;
}
