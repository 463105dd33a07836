/* SPDX-License-Identifier: Apache-2.0 */
/* Each oracle is shown the mistake it exists for, and once more when blinded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/oracle.h"

enum { PERIOD_NS = 1000, PAGES = 4 };

static struct plan *plan;
static struct oracle *o;
static uint8_t buf[FL_PAGE_BYTES];

static struct plan *make_plan(void)
{
    struct plan *p = calloc(1, sizeof *p);

    assert_non_null(p);
    p->node_count = 2;
    strcpy(p->nodes[0].name, "c0");
    p->nodes[0].device_memory_bytes = 2 * FL_PAGE_BYTES;
    strcpy(p->nodes[1].name, "m0");
    p->nodes[1].role = PLAN_MEMORY;
    p->region_count = 1;
    strcpy(p->regions[0].name, "heap");
    p->regions[0].size_bytes = PAGES * FL_PAGE_BYTES;
    p->regions[0].chunk_count = 1;
    p->regions[0].chunks[0] = (struct plan_chunk){1, 0, PAGES};
    p->regions[0].period_ns = PERIOD_NS;
    for (int i = 1; i <= 8; i++) {
        snprintf(p->checks[p->check_count++], sizeof p->checks[0], "W%d", i);
    }
    return p;
}

static int setup(void **state)
{
    (void)state;
    plan = make_plan();
    o = oracle_new(plan, 0, NULL);
    memset(buf, 0, sizeof buf);
    return o == NULL;
}

static int teardown(void **state)
{
    (void)state;
    oracle_free(&o);
    free(plan);
    return 0;
}

static struct fl_rma write_of(uint32_t page, fl_mask mask, uint64_t seq)
{
    return (struct fl_rma){.slot = {1, 0, page}, .page = page, .mask = mask, .seq = seq};
}

/* Fetches @page, stores one byte in line 2, writes it back and drops the page: all as it must be. */
static void one_good_page(uint32_t page, uint64_t seq)
{
    struct fl_rma w = write_of(page, 1U << 2, seq);
    uint8_t *shadow = oracle_shadow(o, 0) + (size_t)page * FL_PAGE_BYTES;

    memset(buf, 0, sizeof buf);
    oracle_on_install(o, 0, page, FL_MASK_ALL, buf);
    oracle_on_gate(o, 0, page, 1, FL_PROT_RW);
    shadow[2 * FL_LINE_BYTES] = 7;
    buf[2 * FL_LINE_BYTES] = 7;
    oracle_on_dirty(o, 0, page, 100);
    oracle_on_period(o, 0, 100 + PERIOD_NS, 0);
    oracle_on_gate(o, 0, page, 1, FL_PROT_NONE);
    oracle_on_snap(o, 0, page, 100 + PERIOD_NS);
    oracle_on_post(o, &w, buf);
    oracle_on_span(o, &w, 2 * FL_LINE_BYTES, FL_LINE_BYTES);
    oracle_on_done(o, &w, buf, FL_OK, 200 + PERIOD_NS);
    oracle_on_drop(o, 0, page, buf);
}

static struct result_check verdict_of(const char *id)
{
    struct result *r = result_new();
    struct result_check k;

    oracle_report(o, r);
    k = *result_check(r, id, "");
    result_free(&r);
    return k;
}

/* Runs @mistake: @id is violated, and when blinded it sees nothing at all. */
static void must_catch(const char *id, void (*mistake)(void))
{
    char blind[16];

    mistake();
    assert_int_not_equal(verdict_of(id).violated, 0);
    assert_true(strlen(verdict_of(id).first) > 0);
    assert_true(strlen(verdict_of(id).what.expected) > 0);
    assert_true(strlen(verdict_of(id).what.seen) > 0);
    oracle_free(&o);
    snprintf(blind, sizeof blind, "blind-%s", id);
    assert_int_equal(fl_plant_add(&plan->plants, blind), FL_OK);
    o = oracle_new(plan, 0, NULL);
    mistake();
    assert_int_equal(verdict_of(id).violated, 0);
    assert_int_equal(verdict_of(id).checked, 0);
}

static void a_good_run_is_compared_and_holds(void **state)
{
    (void)state;
    one_good_page(0, 1);
    oracle_compare(o, 0, 0, buf);
    oracle_on_bytes(o, FL_LINE_BYTES, FL_LINE_BYTES);
    oracle_on_close(o, 0, FL_OK, 0);
    for (int i = 1; i <= 8; i++) {
        char id[8];

        snprintf(id, sizeof id, "W%d", i);
        assert_int_equal(verdict_of(id).violated, 0);
        assert_int_not_equal(verdict_of(id).checked, 0);
    }
}

static void close_with_a_write_in_flight(void)
{
    struct fl_rma w = write_of(1, 1, 2);

    one_good_page(0, 1);
    buf[0] = 1;
    oracle_on_post(o, &w, buf);
    oracle_on_close(o, 0, FL_OK, 0);
}

static void drop_of_an_unacknowledged_line(void)
{
    one_good_page(0, 1);
    memset(buf, 0, sizeof buf);
    oracle_on_install(o, 0, 1, FL_MASK_ALL, buf);
    buf[5] = 1;
    oracle_on_drop(o, 0, 1, buf);
}

static void drop_of_an_open_page(void)
{
    one_good_page(0, 1);
    memset(buf, 0, sizeof buf);
    oracle_on_install(o, 0, 1, FL_MASK_ALL, buf);
    oracle_on_gate(o, 0, 1, 1, FL_PROT_READ);
    oracle_on_drop(o, 0, 1, buf);
}

static void a_store_that_never_arrived(void)
{
    one_good_page(0, 1);
    buf[2 * FL_LINE_BYTES] = 0;
    oracle_compare(o, 0, 0, buf);
}

static void a_page_that_came_back_old(void)
{
    one_good_page(0, 1);
    memset(buf, 0, sizeof buf);
    oracle_on_install(o, 0, 0, FL_MASK_ALL, buf);
}

static void a_bad_load(void)
{
    oracle_bad_load(o, 0, 64, 1, 2);
}

static void a_clean_line_sent(void)
{
    struct fl_rma w = write_of(0, 3, 2);

    one_good_page(0, 1);
    memset(buf, 0, sizeof buf);
    buf[0] = 1; /* line 0 changed, line 1 did not */
    oracle_on_post(o, &w, buf);
}

static void a_neighbour_overwritten(void)
{
    struct fl_rma w = write_of(0, 1, 2);

    buf[0] = 1;
    oracle_on_post(o, &w, buf);
    oracle_on_span(o, &w, 0, FL_LINE_BYTES + 8);
}

static void bytes_that_nobody_asked_for(void)
{
    one_good_page(0, 1);
    oracle_on_bytes(o, 2 * FL_LINE_BYTES, 2 * FL_LINE_BYTES);
}

static void a_device_that_miscounts(void)
{
    one_good_page(0, 1);
    oracle_on_bytes(o, FL_LINE_BYTES, FL_LINE_BYTES + 1);
}

static void a_skipped_period(void)
{
    oracle_on_install(o, 0, 0, FL_MASK_ALL, buf);
    oracle_on_dirty(o, 0, 0, 100);
    oracle_on_period(o, 0, 100 + 2 * PERIOD_NS, 0);
    oracle_on_snap(o, 0, 0, 100 + 2 * PERIOD_NS);
}

static void no_period_at_all(void)
{
    oracle_on_install(o, 0, 0, FL_MASK_ALL, buf);
    oracle_on_dirty(o, 0, 0, 100);
    oracle_on_snap(o, 0, 0, 101 + 2 * PERIOD_NS);
}

static void an_older_write_after_a_newer(void)
{
    struct fl_rma w = write_of(0, 1, 1);

    one_good_page(0, 2);
    buf[0] = 1;
    oracle_on_post(o, &w, buf);
}

static void a_write_without_the_fence(void)
{
    struct fl_rma w = write_of(0, 1, 2), again = write_of(0, 1, 3);

    one_good_page(0, 1);
    buf[0] = 1;
    oracle_on_post(o, &w, buf);
    oracle_on_done(o, &w, buf, FL_ETIMEDOUT, 0);
    oracle_on_error(o, 1);
    oracle_on_post(o, &again, buf);
}

static void more_pages_than_memory(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        oracle_on_install(o, 0, i, FL_MASK_ALL, buf);
    }
}

#define CATCH(id, name)                                                                            \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        must_catch(id, name);                                                                      \
    }
CATCH("W1", close_with_a_write_in_flight)
CATCH("W2", drop_of_an_unacknowledged_line)
CATCH("W2", drop_of_an_open_page)
CATCH("W3", a_store_that_never_arrived)
CATCH("W3", a_page_that_came_back_old)
CATCH("W3", a_bad_load)
CATCH("W4", a_clean_line_sent)
CATCH("W4", a_neighbour_overwritten)
CATCH("W5", bytes_that_nobody_asked_for)
CATCH("W5", a_device_that_miscounts)
CATCH("W6", a_skipped_period)
CATCH("W6", no_period_at_all)
CATCH("W7", an_older_write_after_a_newer)
CATCH("W7", a_write_without_the_fence)
CATCH("W8", more_pages_than_memory)

/* After an error each line is old or new, and a fence makes it safe to send it again. */
static void a_fenced_retry_is_fine(void **state)
{
    struct fl_rma w = write_of(0, 1, 2), before = write_of(0, 1, 3), again = write_of(0, 1, 4);

    (void)state;
    one_good_page(0, 1);
    buf[0] = 1;
    oracle_on_post(o, &w, buf);
    oracle_on_done(o, &w, buf, FL_ETIMEDOUT, 0);
    oracle_on_post(o, &before, buf); /* the device has not heard of it */
    oracle_on_done(o, &before, buf, FL_EFENCED, 0);
    oracle_on_error(o, 1);
    oracle_on_fence(o, 1, FL_OK);
    oracle_on_post(o, &again, buf);
    oracle_on_done(o, &again, buf, FL_OK, 0);
    assert_int_equal(verdict_of("W7").violated, 0);
    assert_int_equal(verdict_of("W4").violated, 0);
}

/* A write whose deadline passed in the queue was never posted; more may not be missing. */
static void failed_writes_need_not_have_been_posted(void **state)
{
    struct fl_rma w = write_of(0, 3, 2);

    (void)state;
    one_good_page(0, 1);
    buf[0] = 1;
    buf[FL_LINE_BYTES] = 1;
    oracle_on_post(o, &w, buf);
    oracle_on_done(o, &w, buf, FL_ETIMEDOUT, 0);
    oracle_on_bytes(o, 2 * FL_LINE_BYTES, 3 * FL_LINE_BYTES);
    assert_int_equal(verdict_of("W5").violated, 0);
    oracle_on_bytes(o, FL_LINE_BYTES - 1, 3 * FL_LINE_BYTES);
    assert_int_equal(verdict_of("W5").violated, 1);
    oracle_on_bytes(o, 4 * FL_LINE_BYTES, 4 * FL_LINE_BYTES);
    assert_int_equal(verdict_of("W5").violated, 2);
}

static void a_lost_node_leaves_its_pages_undecided(void **state)
{
    uint8_t page[FL_PAGE_BYTES];

    (void)state;
    one_good_page(0, 1);
    assert_true(oracle_expect_page(o, 0, 0, page));
    oracle_on_peer_down(o, 1);
    assert_false(oracle_expect_page(o, 0, 0, page));
    buf[9] = 9;
    oracle_on_drop(o, 0, 0, buf);
    assert_int_equal(verdict_of("W2").violated, 0);
}

static void failed_stores_are_undecided(void **state)
{
    uint8_t page[FL_PAGE_BYTES];
    uint64_t digest;

    (void)state;
    one_good_page(0, 1);
    assert_true(oracle_expect_digest(o, 0, 0, &digest));
    oracle_undecided(o, 0, 10, 4);
    assert_false(oracle_expect_page(o, 0, 0, page));
    assert_false(oracle_expect_digest(o, 0, 0, &digest));
    assert_false(oracle_expect_page(o, 0, 3, page)); /* never touched */
}

static void the_memory_node_watches_the_order_of_batches(void **state)
{
    (void)state;
    oracle_free(&o);
    o = oracle_new(plan, 1, NULL);
    oracle_on_apply(o, 0, 2, 5);
    oracle_on_land(o, 0, 2, 6);
    oracle_on_land(o, 0, 2, 6);
    oracle_on_apply(o, 9, 2, 1); /* not ours */
    assert_int_equal(verdict_of("W7").violated, 0);
    assert_int_equal(verdict_of("W7").checked, 3);
    oracle_on_apply(o, 0, 2, 6);
    oracle_on_land(o, 0, 2, 4);
    assert_int_equal(verdict_of("W7").violated, 2);
}

static void native_regions_are_held_to_the_last_view(void **state)
{
    uint8_t page[FL_PAGE_BYTES];

    (void)state;
    oracle_free(&o);
    plan->workload_count = 1;
    plan->workloads[0].kind = PLAN_SQLITE;
    o = oracle_new(plan, 0, NULL);
    assert_null(oracle_shadow(o, 0));
    oracle_on_install(o, 0, 0, FL_MASK_ALL, buf);
    oracle_on_drop(o, 0, 0, buf);
    assert_true(oracle_expect_page(o, 0, 0, page));
    assert_memory_equal(page, buf, sizeof buf);
    buf[1] = 1;
    oracle_compare(o, 0, 0, buf);
    assert_int_equal(verdict_of("W3").violated, 1);
}

static void bytes_must_arrive(void **state)
{
    struct result *r = result_new();

    (void)state;
    oracle_cross_bytes(plan, r, 100, 100);
    assert_int_equal(result_check(r, "W5", "")->violated, 0);
    oracle_cross_bytes(plan, r, 100, 99);
    assert_int_equal(result_check(r, "W5", "")->violated, 1);
    result_free(&r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static uint64_t ticking(void *arg)
{
    return *(uint64_t *)arg;
}

/* Expected, seen, by whom and when: of the first violation only. */
static void the_first_violation_is_told(void **state)
{
    uint64_t now = 500, line = FL_LINE_BYTES;
    struct result_check k;

    (void)state;
    oracle_set_clock(o, ticking, &now);
    strcpy(plan->workloads[0].name, "mix");
    oracle_on_store(o, 0, 2 * line + 3, 5, 0, 1, 12);
    now = 900;
    oracle_bad_load(o, 0, 2 * line + 4, 0xab, 0xcd);
    now = 1000;
    oracle_bad_load(o, 0, 0, 1, 2);
    k = verdict_of("W3");
    assert_int_equal(k.violated, 2);
    assert_string_equal(k.what.expected, "bytes from offset 0x84 of region heap: 0xab");
    assert_string_equal(k.what.seen, "0xcd");
    assert_string_equal(k.what.writer, "c0, workload mix, thread 1, access 12: a store to bytes 3 "
                                       "to 7 of line 2 of page 0");
    assert_int_equal(k.what.writer_ns, 500);
    assert_int_equal(k.what.t_ns, 900);
    struct result_first f = {.seen = ""};
    assert_true(oracle_writer(o, 0, 0, &f));
    assert_string_equal(f.writer, "nobody: no store touched it");
    assert_int_equal(f.writer_ns, 0);
}

static void a_wrong_byte_at_the_memory_node_is_told(void **state)
{
    struct result_check k;

    (void)state;
    one_good_page(1, 1);
    buf[2 * FL_LINE_BYTES] = 9;
    oracle_compare(o, 0, 1, buf);
    for (int i = 1; i <= 3; i += 2) {
        k = verdict_of(i == 1 ? "W1" : "W3");
        assert_string_equal(k.what.expected, "byte 128 of page 1 of region heap: 0x07");
        assert_string_equal(k.what.seen, "0x09");
    }
}

/* The answer came when the device had given the batch up already: once more is no clean line. */
static void what_was_answered_in_doubt_may_be_sent_again(void **state)
{
    struct fl_rma w = write_of(0, 1U << 2, 2);

    (void)state;
    one_good_page(0, 1);
    oracle_on_doubt(o, &w);
    oracle_on_post(o, &w, buf);
    oracle_on_done(o, &w, buf, FL_OK, 900);
    assert_int_equal(verdict_of("W4").violated, 0);
    w.seq = 3;
    oracle_on_post(o, &w, buf);
    assert_int_equal(verdict_of("W4").violated, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_good_run_is_compared_and_holds),
        T(test_close_with_a_write_in_flight),
        T(test_drop_of_an_unacknowledged_line),
        T(test_drop_of_an_open_page),
        T(test_a_store_that_never_arrived),
        T(test_a_page_that_came_back_old),
        T(test_a_bad_load),
        T(test_a_clean_line_sent),
        T(test_a_neighbour_overwritten),
        T(test_bytes_that_nobody_asked_for),
        T(test_a_device_that_miscounts),
        T(test_a_skipped_period),
        T(test_no_period_at_all),
        T(test_an_older_write_after_a_newer),
        T(test_a_write_without_the_fence),
        T(test_more_pages_than_memory),
        T(a_fenced_retry_is_fine),
        T(failed_writes_need_not_have_been_posted),
        T(a_lost_node_leaves_its_pages_undecided),
        T(failed_stores_are_undecided),
        T(the_memory_node_watches_the_order_of_batches),
        T(native_regions_are_held_to_the_last_view),
        T(bytes_must_arrive),
        T(what_was_answered_in_doubt_may_be_sent_again),
        T(the_first_violation_is_told),
        T(a_wrong_byte_at_the_memory_node_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
