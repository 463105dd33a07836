/* SPDX-License-Identifier: Apache-2.0 */
/* The log path of the write-back core: batches, their answers, and what becomes of lost ones. */
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

static struct wb_cfg log_cfg(void)
{
    struct wb_cfg cfg = fk_cfg();

    cfg.regions[0].path = WB_LOG;
    cfg.capacity_pages = 8;
    cfg.buf_count = 16;
    return cfg;
}

/* Pages @first.. have one dirty line each and have been gated. */
static void flush_pages(struct fake *f, uint32_t first, uint32_t count)
{
    for (uint32_t p = first; p < first + count; p++) {
        fk_write(f, 0, 0, p, p);
    }
    assert_true(fk_fire(f, WB_T_PERIOD));
    for (struct fk_call *c; (c = fk_find(f, FL_CALL_GATE)) != NULL;) {
        fk_done(f, c, FL_OK);
    }
}

static void ack(struct fake *f, const struct fk_call *batch, int status)
{
    struct fl_msg m = {.type = FL_MSG_LOG_ACK, .seq = batch->msg.seq, .status = status};

    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
}

static void pages_travel_together(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b, *c;

    (void)state;
    flush_pages(f, 0, 6);
    b = fk_find(f, FL_CALL_SEND);
    assert_int_equal(b->msg.type, FL_MSG_LOG_BATCH);
    assert_int_equal(b->msg.entry_count, 4); /* log_batch_pages */
    assert_int_equal(b->msg.epoch, 7);
    assert_int_equal(b->msg.entries[3].page, 3);
    assert_int_equal(b->msg.entries[3].mask, 1 << 3);
    assert_int_equal(b->msg.entries[3].seq, 1);
    assert_int_equal(b->lines[3][3], f->pages[3].shadow[3]);
    fk_done(f, b, FL_OK);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 2); /* reusable, not yet retired */
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    c = fk_find(f, FL_CALL_SEND);
    assert_int_equal(c->msg.entry_count, 2);
    assert_int_equal(c->msg.seq, b->msg.seq + 1);
    ack(f, b, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_state(f, 4), WB_FLUSHING);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->log_batches, 2);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 6 * 64);
    assert_int_equal(fk_count(f, FL_CALL_RMA_WRITE), 0);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_OK);
    assert_int_equal(fk_differ(f, 0), 0);
    assert_false(fk_armed(f, WB_T_BATCH));
    fk_free(&f);
}

static void payload_is_bounded(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f;

    (void)state;
    cfg.log_batch_pages = FL_MSG_ENTRIES_MAX;
    cfg.capacity_pages = FK_PAGES;
    cfg.buf_count = FK_PAGES;
    cfg.regions[0].page_count = cfg.regions[0].chunks[0].page_count = FK_PAGES;
    cfg.regions[0].threshold_lines = 0; /* whole pages: 16 fill a message */
    f = fk_opened(&cfg);
    flush_pages(f, 0, 20);
    assert_int_equal(fk_find(f, FL_CALL_SEND)->msg.entry_count, 16);
    assert_int_equal(fk_find(f, FL_CALL_SEND)->msg.entries[0].whole, 1);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void a_batch_holds_pages_of_one_lease(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f;

    (void)state;
    cfg.region_count = 2;
    cfg.regions[1] = cfg.regions[0];
    cfg.regions[1].chunks[0].chunk = 5;
    cfg.regions[1].lease_epoch = 30;
    f = fk_opened(&cfg);
    fk_open(f, 1);
    fk_write(f, 0, 0, 0, 1);
    fk_write(f, 0, 1, 0, 1);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_QUIESCE, .ticket = 500);
    for (struct fk_call *c; (c = fk_find(f, FL_CALL_GATE)) != NULL;) {
        fk_done(f, c, FL_OK);
    }
    assert_int_equal(fk_pending(f, FL_CALL_SEND), 2);
    assert_int_not_equal(f->calls[f->call_count - 1].msg.epoch,
                         f->calls[f->call_count - 2].msg.epoch);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 500), FL_OK);
    assert_int_equal(fk_differ(f, 0) + fk_differ(f, 1), 0);
    fk_free(&f);
}

static void no_credit_keeps_the_batch(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b, *again;

    (void)state;
    flush_pages(f, 0, 2);
    b = fk_find(f, FL_CALL_SEND);
    fk_done(f, b, FL_EAGAIN);
    assert_int_equal(fk_pending(f, FL_CALL_SEND), 0);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 2);
    FK_EV(f, .kind = FL_EV_CREDIT, .node = 1, .a = FL_BULK);
    again = fk_find(f, FL_CALL_SEND);
    assert_int_equal(again->msg.seq, b->msg.seq);
    assert_memory_equal(&again->msg, &b->msg, sizeof b->msg);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

/* What the fabric never took was never sent. */
static void a_batch_that_never_got_credit_does_not_count(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    flush_pages(f, 0, 2);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 2 * FL_LINE_BYTES);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_EAGAIN);
    assert_true(fk_fire(f, WB_T_BATCH));
    assert_int_equal(f->sites[FL_SITE_FLUSH_FAIL], 2);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 0);
    assert_int_equal(wb_stats(f->wb)->lines_sent, 0);
    assert_int_equal(wb_stats(f->wb)->pages_flushed, 0);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 2 * FL_LINE_BYTES);
    fk_free(&f);
}

static void an_answer_may_come_before_the_send_is_done(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b;

    (void)state;
    flush_pages(f, 0, 1);
    b = fk_find(f, FL_CALL_SEND);
    ack(f, b, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING); /* the buffer is still the fabric's */
    fk_done(f, b, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    ack(f, b, FL_OK); /* twice */
    assert_int_equal(wb_stats(f->wb)->acks, 1);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    fk_free(&f);
}

/* W-f2, W-f3 */
static void a_lost_answer_ends_by_deadline_and_fence(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b, *c;

    (void)state;
    flush_pages(f, 0, 2);
    b = fk_find(f, FL_CALL_SEND);
    fk_done(f, b, FL_OK);
    fk_write(f, 0, 0, 0, 9);
    assert_true(fk_fire(f, WB_T_BATCH));
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 1);
    ack(f, b, FL_OK); /* late: the lines stay dirty */
    assert_int_equal(fk_state(f, 1), WB_DIRTY);
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_OK);
    while (fk_find(f, FL_CALL_GATE) != NULL) {
        fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    }
    c = fk_find(f, FL_CALL_SEND);
    assert_int_equal(c->msg.entry_count, 2);
    for (int i = 0; i < 2; i++) {
        bool first = c->msg.entries[i].page == 0;

        assert_int_equal(c->msg.entries[i].seq, 2);
        assert_int_equal(c->msg.entries[i].mask, first ? 1 | 1 << 9 : 1 << 1);
    }
    assert_true(c->msg.seq > b->msg.seq);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void a_refused_batch_is_an_error(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b;

    (void)state;
    flush_pages(f, 0, 1);
    b = fk_find(f, FL_CALL_SEND);
    fk_done(f, b, FL_OK);
    ack(f, b, FL_EFENCED);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(wb_stats(f->wb)->flush_errors, 1);
    assert_true(fk_run(f));
    flush_pages(f, 1, 1);
    b = fk_find(f, FL_CALL_SEND);
    ack(f, b, FL_EPROTO); /* before its send is done */
    assert_int_equal(fk_state(f, 1), WB_FLUSHING);
    fk_done(f, b, FL_OK);
    assert_int_equal(fk_state(f, 1), WB_DIRTY);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void a_send_that_fails_or_is_too_late_is_an_error(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b;

    (void)state;
    flush_pages(f, 0, 1);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_ECONN);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 1);
    assert_true(fk_run(f));
    flush_pages(f, 1, 1);
    b = fk_find(f, FL_CALL_SEND);
    assert_true(fk_fire(f, WB_T_BATCH));
    assert_int_equal(fk_state(f, 1), WB_FLUSHING);
    fk_done(f, b, FL_OK);
    assert_int_equal(fk_state(f, 1), WB_DIRTY);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

/* Answers of the old connection can not come any more once the fence is done. */
static void a_fence_fails_what_is_not_answered(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *b;

    (void)state;
    flush_pages(f, 0, 1);
    b = fk_find(f, FL_CALL_SEND);
    fk_done(f, b, FL_OK);
    fk_load(f, 0, 0, 5);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_ECONN);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_OK);
    assert_int_equal(wb_stats(f->wb)->flush_errors, 1);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void a_dead_node_loses_its_batches(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *sent, *sending;

    (void)state;
    cfg.log_batch_pages = 4;
    flush_pages(f, 0, 4);
    sent = fk_find(f, FL_CALL_SEND);
    fk_done(f, sent, FL_OK);
    flush_pages(f, 4, 1);
    sending = fk_find(f, FL_CALL_SEND);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 1);
    fk_done(f, sending, FL_EPEERDEAD);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 0);
    assert_true(fk_run(f));
    assert_int_equal(wb_lost_lines(f->wb, 0), 5);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    fk_free(&f);
}

static void plants_of_the_log(void **state)
{
    struct wb_cfg cfg = log_cfg();
    struct fake *f;

    (void)state;
    fl_plant_add(&cfg.plants, "W-send-clean");
    f = fk_opened(&cfg);
    flush_pages(f, 1, 1);
    assert_int_equal(fk_find(f, FL_CALL_SEND)->msg.entries[0].mask, 6);
    assert_true(fk_run(f));
    fk_free(&f);
    cfg = log_cfg();
    fl_plant_add(&cfg.plants, "W-retire-on-post");
    f = fk_opened(&cfg);
    flush_pages(f, 1, 1);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_OK);
    assert_int_equal(fk_state(f, 1), WB_CLEAN);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_travel_together),
        cmocka_unit_test(payload_is_bounded),
        cmocka_unit_test(a_batch_holds_pages_of_one_lease),
        cmocka_unit_test(no_credit_keeps_the_batch),
        cmocka_unit_test(a_batch_that_never_got_credit_does_not_count),
        cmocka_unit_test(an_answer_may_come_before_the_send_is_done),
        cmocka_unit_test(a_lost_answer_ends_by_deadline_and_fence),
        cmocka_unit_test(a_refused_batch_is_an_error),
        cmocka_unit_test(a_send_that_fails_or_is_too_late_is_an_error),
        cmocka_unit_test(a_fence_fails_what_is_not_answered),
        cmocka_unit_test(a_dead_node_loses_its_batches),
        cmocka_unit_test(plants_of_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
