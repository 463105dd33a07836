/* SPDX-License-Identifier: Apache-2.0 */
/* The write-back core against a scripted world: configuration, misses, dirty lines, periods,
 * close. Eviction is in test_wb_evict.c, faults are in test_writeback_fault.c, planted bugs in
 * test_writeback_plants.c, the log path in test_writeback_log.c. */
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

/* --- configuration ---------------------------------------------------------------------------- */

struct bad {
    const char *field;
    void (*spoil)(struct wb_cfg *c);
};

#define SPOIL(name, stmt)                                                                          \
    static void name(struct wb_cfg *c)                                                             \
    {                                                                                              \
        stmt;                                                                                      \
    }
SPOIL(no_regions, c->region_count = 0)
SPOIL(many_regions, c->region_count = WB_REGIONS_MAX + 1)
SPOIL(no_threads, c->thread_count = 0)
SPOIL(many_threads, c->thread_count = WB_THREADS_MAX + 1)
SPOIL(small_capacity, c->capacity_pages = 3)
SPOIL(no_dclb, c->dclb_lines = 0)
SPOIL(few_bufs, c->buf_count = 3)
SPOIL(many_bufs, c->buf_count = 0x10000)
SPOIL(no_batch, c->log_batch_pages = 0)
SPOIL(big_batch, c->log_batch_pages = FL_MSG_ENTRIES_MAX + 1)
SPOIL(no_retry, c->retry_max = 0)
SPOIL(bad_evict, c->evict = 2)
SPOIL(no_period, c->regions[0].period_ns = 0)
SPOIL(no_op_deadline, c->regions[0].op_deadline_ns = FL_NEVER)
SPOIL(no_close_deadline, c->regions[0].close_deadline_ns = 0)
SPOIL(big_threshold, c->regions[0].threshold_lines = 65)
SPOIL(bad_path, c->regions[0].path = 2)
SPOIL(no_chunks, c->regions[0].chunk_count = 0)
SPOIL(many_chunks, c->regions[0].chunk_count = WB_CHUNKS_MAX + 1)
SPOIL(bad_node, c->regions[0].chunks[0].node = WB_NODES_MAX)
SPOIL(empty_chunk, c->regions[0].chunks[0].page_count = 0)
SPOIL(wrong_sum, c->regions[0].page_count = 9)
SPOIL(same_chunk, (c->regions[0].chunks[1] = c->regions[0].chunks[0], c->regions[0].chunk_count = 2,
                   c->regions[0].page_count = 16))

static void bad_configurations_are_named(void **state)
{
    static const struct bad bads[] = {
        {"region_count", no_regions},
        {"region_count", many_regions},
        {"thread_count", no_threads},
        {"thread_count", many_threads},
        {"capacity_pages", small_capacity},
        {"dclb_lines", no_dclb},
        {"buf_count", few_bufs},
        {"buf_count", many_bufs},
        {"log_batch_pages", no_batch},
        {"log_batch_pages", big_batch},
        {"retry_max", no_retry},
        {"evict", bad_evict},
        {"regions[0].period_ns", no_period},
        {"regions[0].op_deadline_ns", no_op_deadline},
        {"regions[0].close_deadline_ns", no_close_deadline},
        {"regions[0].threshold_lines", big_threshold},
        {"regions[0].path", bad_path},
        {"regions[0].chunk_count", no_chunks},
        {"regions[0].chunk_count", many_chunks},
        {"regions[0].chunks[0].node", bad_node},
        {"regions[0].chunks[0].page_count", empty_chunk},
        {"regions[0].page_count", wrong_sum},
        {"regions[0].chunks[1].chunk", same_chunk},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct wb_cfg c = fk_cfg();
        struct fl_errmsg err = {""};

        assert_int_equal(wb_check(&c, NULL), FL_OK);
        bads[i].spoil(&c);
        assert_int_equal(wb_check(&c, &err), FL_EINVAL);
        assert_non_null(strstr(err.text, bads[i].field));
    }
}

static void a_page_costs_48_bytes(void **state)
{
    struct wb_cfg a = fk_cfg(), b = fk_cfg();

    (void)state;
    b.regions[0].page_count = b.regions[0].chunks[0].page_count = 8 + 4096;
    assert_true(wb_size(&b) - wb_size(&a) <= 48 * 4096);
    b.region_count = 2; /* a region of another node costs nothing */
    assert_int_equal(wb_check(&b, NULL), FL_OK);
}

static void slots_follow_the_chunks(void **state)
{
    struct wb_cfg c = fk_cfg();
    struct fl_slot s;

    (void)state;
    c.regions[0].chunk_count = 2;
    c.regions[0].chunks[0].page_count = 3;
    c.regions[0].chunks[1] = (struct wb_chunk_cfg){.node = 2, .chunk = 9, .page_count = 5};
    assert_int_equal(wb_check(&c, NULL), FL_OK);
    s = wb_slot(&c, 0, 2);
    assert_true(s.node == 1 && s.chunk == 0 && s.page == 2);
    s = wb_slot(&c, 0, 3);
    assert_true(s.node == 2 && s.chunk == 9 && s.page == 0);
    s = wb_slot(&c, 0, 7);
    assert_true(s.node == 2 && s.chunk == 9 && s.page == 4);
}

/* --- the whole way ---------------------------------------------------------------------------- */

static void close_ok(struct fake *f, uint16_t region)
{
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000u + region, .region = region);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000u + region), FL_OK);
    assert_int_equal(wb_region_state(f->wb, region), WB_CLOSED);
    assert_int_equal(fk_differ(f, region), 0);
}

static void fetch_dirty_flush_evict_close(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    assert_int_equal(fk_status(f, 1000), FL_OK);
    fk_write(f, 0, 0, 0, 5);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 64);
    for (uint32_t p = 0; p < 8; p++) {
        fk_write(f, 0, 0, p, p);
    }
    assert_true(wb_stats(f->wb)->evictions >= 4);
    assert_true(wb_stats(f->wb)->evictions_dirty >= 3);
    fk_touch(f, 0, 0, 0);
    assert_true(wb_stats(f->wb)->refetched >= 1);
    assert_int_equal(wb_stats(f->wb)->cached_max, 4);
    close_ok(f, 0);
    assert_true(wb_quiescent(f->wb));
    fk_free(&f);
}

static void a_region_can_be_opened_again(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 1, 1);
    close_ok(f, 0);
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 1000, .region = 0);
    assert_int_equal(fk_sent(f, FL_MSG_OPEN_REQ)->a, 8); /* a higher epoch than before */
    assert_int_equal(fk_sent(f, FL_MSG_OPEN_REQ)->count, 8);
    assert_true(fk_run(f));
    fk_write(f, 0, 0, 1, 2);
    close_ok(f, 0);
    fk_free(&f);
}

static void two_regions_on_two_nodes(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.region_count = 3; /* the one in the middle is another node's */
    cfg.regions[2] = cfg.regions[0];
    cfg.regions[2].chunk_count = 2;
    cfg.regions[2].chunks[0] = (struct wb_chunk_cfg){.node = 2, .chunk = 0, .page_count = 4};
    cfg.regions[2].chunks[1] = (struct wb_chunk_cfg){.node = 1, .chunk = 1, .page_count = 4};
    f = fk_new(&cfg);
    fk_open(f, 0);
    fk_open(f, 2);
    for (uint32_t p = 0; p < 8; p++) {
        fk_write(f, 0, 0, p, 1);
        fk_write(f, 0, 2, p, 2);
    }
    close_ok(f, 2);
    fk_write(f, 0, 0, 3, 9);
    close_ok(f, 0);
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 77, .region = 1);
    assert_int_equal(fk_status(f, 77), FL_EINVAL);
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 78, .region = 9);
    assert_int_equal(fk_status(f, 78), FL_EINVAL);
    fk_free(&f);
}

/* --- misses ----------------------------------------------------------------------------------- */

static void threads_share_one_read(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.thread_count = 3;
    cfg.capacity_pages = 12;
    f = fk_new(&cfg);
    fk_open(f, 0);
    assert_false(fk_load(f, 0, 0, 2));
    assert_false(fk_load(f, 1, 0, 2));
    assert_false(fk_store(f, 2, 0, 2, 1));
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 1);
    assert_int_equal(fk_find(f, FL_CALL_RMA_READ)->rma.cls, FL_URGENT);
    assert_int_equal(fk_state(f, 2), WB_FETCHING);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_RW); /* one of them stores */
    assert_int_equal(fk_status(f, 0), 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    for (uint32_t t = 0; t < 3; t++) {
        assert_int_equal(fk_status(f, t), FL_OK);
    }
    assert_int_equal(fk_state(f, 2), WB_DIRTY); /* its lines are unknown from here on */
    assert_int_equal(wb_stats(f->wb)->pages_fetched, 1);
    assert_int_equal(wb_stats(f->wb)->misses, 3);
    fk_free(&f);
}

static void a_store_that_joins_a_load_is_served_after_it(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.thread_count = 2;
    cfg.capacity_pages = 8;
    f = fk_new(&cfg);
    fk_open(f, 0);
    fk_load(f, 0, 0, 0);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_READ);
    fk_store(f, 1, 0, 0, 3);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_status(f, 0), FL_OK);
    assert_int_equal(fk_status(f, 1), 1);
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_RW);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_status(f, 1), FL_OK);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_free(&f);
}

static void misses_that_need_nothing_go_on_at_once(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);
    uint32_t calls;

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 0);
    f->resume_count = 0;
    calls = f->call_count;
    FK_EV(f, .kind = FL_EV_MISS, .page = 0, .access = FL_STORE);
    assert_int_equal(fk_status(f, 0), FL_OK);
    assert_int_equal(f->call_count, calls);
    fk_free(&f);
}

static void misses_that_can_not_be_are_refused(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    FK_EV(f, .kind = FL_EV_MISS, .page = 0);
    assert_int_equal(fk_status(f, 0), FL_ECLOSED); /* not open yet */
    fk_open(f, 0);
    FK_EV(f, .kind = FL_EV_MISS, .page = 8);
    assert_int_equal(fk_status(f, 0), FL_EINVAL);
    FK_EV(f, .kind = FL_EV_MISS, .page = 0, .ticket = 5);
    assert_int_equal(fk_status(f, 5), FL_EINVAL);
    FK_EV(f, .kind = FL_EV_MISS, .region = 4);
    assert_int_equal(fk_status(f, 0), FL_EINVAL);
    fk_free(&f);
}

static void a_store_before_the_answer_of_the_grant_counts(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_load(f, 0, 0, 0);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_free(&f);
}

/* --- dirty lines ------------------------------------------------------------------------------ */

static void the_period_is_armed_only_while_something_is_dirty(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_touch(f, 0, 0, 0);
    assert_false(fk_armed(f, WB_T_PERIOD));
    fk_write(f, 0, 0, 0, 0);
    assert_true(fk_armed(f, WB_T_PERIOD));
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_true(fk_run(f));
    assert_false(fk_armed(f, WB_T_PERIOD));
    assert_int_equal(wb_stats(f->wb)->periods, 1);
    close_ok(f, 0);
    assert_false(fk_armed(f, WB_T_PERIOD));
    assert_false(fk_armed(f, WB_T_CTL));
    fk_free(&f);
}

static void stores_meanwhile_are_dirty_again(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);
    struct fk_call *w;

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 1);
    fk_fire(f, WB_T_PERIOD);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    w = fk_find(f, FL_CALL_RMA_WRITE);
    assert_int_equal(w->rma.mask, 2);
    assert_int_equal(w->rma.cls, FL_BULK);
    assert_true(fk_store(f, 0, 0, 0, 9)); /* opens in the thread, the device hears of it */
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_true(fk_armed(f, WB_T_PERIOD));
    fk_fire(f, WB_T_PERIOD);
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 0); /* one write-back of a page at a time */
    fk_done(f, w, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    /* the period that ended meanwhile is made up for at once: W6 */
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    w = fk_find(f, FL_CALL_RMA_WRITE);
    assert_int_equal(w->rma.mask, 1 << 9);
    assert_int_equal(w->rma.seq, 2);
    fk_done(f, w, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void nothing_is_sent_when_no_line_differs(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_touch(f, 0, 0, 0);
    f->pages[0].prot = FL_PROT_RW; /* a silent store */
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0);
    assert_true(fk_fire(f, WB_T_PERIOD));
    f->pages[0].prot = FL_PROT_READ;
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_count(f, FL_CALL_RMA_WRITE), 0);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 0);
    fk_free(&f);
}

/* W9: how many lines make the page go as a whole, and the image is right either way. */
static void thresholds_decide_between_lines_and_page(void **state)
{
    static const struct {
        uint32_t threshold, stored;
        bool whole;
    } rows[] = {{0, 1, true},    {1, 1, false},  {1, 2, true},
                {63, 63, false}, {63, 64, true}, {64, 64, false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wb_cfg cfg = fk_cfg();
        struct fake *f;
        struct fk_call *w;

        cfg.regions[0].threshold_lines = rows[i].threshold;
        f = fk_new(&cfg);
        fk_open(f, 0);
        for (uint32_t l = 0; l < rows[i].stored; l++) {
            fk_write(f, 0, 0, 0, l);
        }
        fk_fire(f, WB_T_PERIOD);
        fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
        w = fk_find(f, FL_CALL_RMA_WRITE);
        assert_int_equal(w->rma.whole, rows[i].whole);
        assert_true(w->rma.mask == (rows[i].whole ? FL_MASK_ALL : fl_mask_run(0, rows[i].stored)));
        assert_int_equal(wb_stats(f->wb)->pages_flushed_whole, rows[i].whole);
        assert_int_equal(wb_stats(f->wb)->coarsened, rows[i].whole);
        fk_done(f, w, FL_OK);
        assert_int_equal(fk_differ(f, 0), 0);
        close_ok(f, 0);
        fk_free(&f);
    }
}

static void exact_lines_cross_the_threshold_before_any_diff(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.regions[0].threshold_lines = 2;
    f = fk_new(&cfg);
    f->pages[0].exact = true;
    fk_open(f, 0);
    fk_touch(f, 0, 0, 0);
    fk_write(f, 0, 0, 0, 0);
    fk_write(f, 0, 0, 0, 1);
    fk_write(f, 0, 0, 0, 1);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(wb_stats(f->wb)->dclb_max, 2);
    fk_write(f, 0, 0, 0, 2);
    assert_int_equal(fk_state(f, 0), WB_PAGE_DIRTY);
    fk_fire(f, WB_T_PERIOD);
    assert_true(fk_run(f));
    assert_int_equal(wb_stats(f->wb)->bytes_sent, FL_PAGE_BYTES);
    close_ok(f, 0);
    fk_free(&f);
}

/* W-f6 */
static void an_entry_that_does_not_fit_coarsens_the_page(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.dclb_lines = 3;
    f = fk_new(&cfg);
    fk_open(f, 0);
    for (uint32_t p = 0; p < 2; p++) {
        f->pages[p].exact = true;
        fk_touch(f, 0, 0, p);
        fk_write(f, 0, 0, p, 0);
    }
    fk_write(f, 0, 0, 0, 1);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_write(f, 0, 0, 1, 1); /* the fourth */
    assert_int_equal(fk_state(f, 1), WB_PAGE_DIRTY);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(wb_stats(f->wb)->dclb_overflows, 1);
    fk_write(f, 0, 0, 0, 2); /* page 1's entries are free again */
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    close_ok(f, 0);
    assert_int_equal(f->wb->dclb_used, 0);
    fk_free(&f);
}

static void neighbours_are_gated_by_one_call(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.capacity_pages = 8;
    f = fk_new(&cfg);
    fk_open(f, 0);
    for (uint32_t p = 1; p < 6; p++) {
        fk_write(f, 0, 0, p, p);
    }
    fk_fire(f, WB_T_PERIOD);
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 1);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->page, 1);
    assert_int_equal(fk_find(f, FL_CALL_GATE)->count, 5);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    close_ok(f, 0);
    fk_free(&f);
}

static void quiesce_writes_back_now(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 1);
    fk_write(f, 0, 0, 1, 1);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_QUIESCE, .ticket = 500);
    assert_int_equal(fk_status(f, 500), 1);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_QUIESCE, .ticket = 501);
    assert_int_equal(fk_status(f, 501), FL_EAGAIN);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_MIGRATE, .ticket = 502);
    assert_int_equal(fk_status(f, 502), FL_ENOSYS);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 500), FL_OK);
    assert_int_equal(fk_differ(f, 0), 0);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_QUIESCE, .ticket = 503);
    assert_int_equal(fk_status(f, 503), FL_OK); /* nothing to do */
    fk_free(&f);
}

/* A fault: free buffers are not given out. Misses and write-backs wait, and go on when it ends. */
static void full_slots_hold_everything_back(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_SLOTS, .b = 1);
    assert_false(fk_load(f, 0, 0, 5));
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_QUIESCE, .ticket = 500);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 0);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 0);
    assert_true(wb_stats(f->wb)->slots_refused > 0);
    assert_int_equal(fk_status(f, 500), 1);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_SLOTS, .b = 0);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 500), FL_OK);
    assert_int_equal(fk_state(f, 5), WB_CLEAN);
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

/* --- close ------------------------------------------------------------------------------------ */

static void close_is_a_gate_and_ends_with_everything_acknowledged(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);
    struct fk_call *w;

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 1);
    fk_touch(f, 0, 0, 1);
    f->resume_count = 0;
    fk_load(f, 0, 0, 5); /* waits when close comes */
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 9, .region = 0);
    assert_int_equal(fk_status(f, 0), FL_ECLOSED);
    assert_int_equal(wb_region_state(f->wb, 0), WB_CLOSING);
    FK_EV(f, .kind = FL_EV_MISS, .page = 2, .access = FL_STORE);
    assert_int_equal(fk_status(f, 0), FL_ECLOSED);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 10, .region = 0);
    assert_int_equal(fk_status(f, 10), FL_ECLOSED);
    while (fk_find(f, FL_CALL_GATE) != NULL) {
        assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_NONE);
        fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    }
    w = fk_find(f, FL_CALL_RMA_WRITE);
    assert_non_null(w);
    for (struct fk_call *c; (c = fk_find(f, FL_CALL_MAP)) != NULL;) {
        fk_done(f, c, FL_OK);
    }
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    assert_null(fk_sent(f, FL_MSG_CLOSE_REQ)); /* W1: not before the last acknowledgement */
    fk_done(f, w, FL_OK);
    fk_done(f, fk_find(f, FL_CALL_MAP), FL_OK);
    assert_non_null(fk_sent(f, FL_MSG_CLOSE_REQ));
    assert_int_equal(fk_status(f, 9), 1);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 9), FL_OK);
    assert_int_equal(fk_differ(f, 0), 0);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 11, .region = 0);
    assert_int_equal(fk_status(f, 11), FL_ECLOSED);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 12, .region = 7);
    assert_int_equal(fk_status(f, 12), FL_EINVAL);
    fk_free(&f);
}

/* W-f4: stores go on until the gate is shut, and close ends. */
static void close_ends_under_a_store_storm(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    for (uint32_t p = 0; p < 4; p++) {
        fk_write(f, 0, 0, p, p);
    }
    fk_fire(f, WB_T_PERIOD);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 9, .region = 0);
    for (int step = 0; step < 400 && fk_status(f, 9) == 1; step++) {
        uint32_t i = 0;

        for (uint32_t p = 0; p < 4; p++) { /* a store whenever the page lets it through */
            if (f->pages[p].prot != FL_PROT_NONE) {
                fk_store(f, 0, 0, p, (unsigned)step % 64);
            }
        }
        while (i < f->call_count && f->calls[i].answered) {
            i++;
        }
        assert_true(i < f->call_count);
        fk_answer(f, &f->calls[i], FL_OK);
    }
    assert_int_equal(fk_status(f, 9), FL_OK);
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void many_pages_close_in_bounded_steps(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.regions[0].page_count = cfg.regions[0].chunks[0].page_count = FK_PAGES;
    cfg.capacity_pages = FK_PAGES;
    cfg.buf_count = 5;
    f = fk_new(&cfg);
    fk_open(f, 0);
    for (uint32_t p = 0; p < FK_PAGES; p++) {
        fk_write(f, 0, 0, p, p);
    }
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000, .region = 0);
    assert_true(fk_pending(f, FL_CALL_GATE) <= 5);
    close_ok(f, 0);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configurations_are_named),
        cmocka_unit_test(a_page_costs_48_bytes),
        cmocka_unit_test(slots_follow_the_chunks),
        cmocka_unit_test(fetch_dirty_flush_evict_close),
        cmocka_unit_test(a_region_can_be_opened_again),
        cmocka_unit_test(two_regions_on_two_nodes),
        cmocka_unit_test(threads_share_one_read),
        cmocka_unit_test(a_store_that_joins_a_load_is_served_after_it),
        cmocka_unit_test(misses_that_need_nothing_go_on_at_once),
        cmocka_unit_test(misses_that_can_not_be_are_refused),
        cmocka_unit_test(a_store_before_the_answer_of_the_grant_counts),
        cmocka_unit_test(the_period_is_armed_only_while_something_is_dirty),
        cmocka_unit_test(stores_meanwhile_are_dirty_again),
        cmocka_unit_test(nothing_is_sent_when_no_line_differs),
        cmocka_unit_test(thresholds_decide_between_lines_and_page),
        cmocka_unit_test(exact_lines_cross_the_threshold_before_any_diff),
        cmocka_unit_test(an_entry_that_does_not_fit_coarsens_the_page),
        cmocka_unit_test(neighbours_are_gated_by_one_call),
        cmocka_unit_test(quiesce_writes_back_now),
        cmocka_unit_test(full_slots_hold_everything_back),
        cmocka_unit_test(close_is_a_gate_and_ends_with_everything_acknowledged),
        cmocka_unit_test(close_ends_under_a_store_storm),
        cmocka_unit_test(many_pages_close_in_bounded_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
