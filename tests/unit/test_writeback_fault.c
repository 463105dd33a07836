/* SPDX-License-Identifier: Apache-2.0 */
/* The write-back core when things fail: leases, fence, lost nodes, deadlines, mapping limit. */
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

static void reply(struct fake *f, const struct fl_msg *to, uint16_t node, uint8_t type, int status)
{
    struct fl_msg m = *to;

    m.type = type;
    m.status = status;
    FK_EV(f, .kind = FL_EV_MSG, .node = node, .msg = &m);
}

static void close_begin(struct fake *f)
{
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000, .region = 0);
}

/* --- open ------------------------------------------------------------------------------------- */

static struct wb_cfg two_nodes(void)
{
    struct wb_cfg cfg = fk_cfg();

    cfg.regions[0].chunk_count = 2;
    cfg.regions[0].chunks[0].page_count = 4;
    cfg.regions[0].chunks[1] = (struct wb_chunk_cfg){.node = 2, .chunk = 3, .page_count = 4};
    return cfg;
}

static void a_refused_lease_gives_the_others_back(void **state)
{
    struct wb_cfg cfg = two_nodes();
    struct fake *f = fk_new(&cfg);
    struct fl_msg a, b;

    (void)state;
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 5);
    assert_int_equal(fk_pending(f, FL_CALL_SEND), 2);
    a = f->calls[0].msg;
    b = f->calls[1].msg;
    assert_int_equal(b.chunk, 3);
    fk_done(f, &f->calls[0], FL_OK);
    fk_done(f, &f->calls[1], FL_OK);
    reply(f, &a, 1, FL_MSG_OPEN_ACK, FL_OK);
    assert_int_equal(fk_status(f, 5), 1);
    reply(f, &b, 2, FL_MSG_OPEN_ACK, FL_ELEASE);
    assert_int_equal(fk_status(f, 5), FL_ELEASE);
    assert_int_equal(wb_region_state(f->wb, 0), WB_CLOSED);
    assert_int_equal(f->calls[2].msg.type, FL_MSG_CLOSE_REQ);
    assert_int_equal(f->calls[2].node, 1);
    assert_false(fk_armed(f, WB_T_CTL));
    reply(f, &a, 1, FL_MSG_OPEN_ACK, FL_OK); /* late: ignored */
    assert_int_equal(wb_region_state(f->wb, 0), WB_CLOSED);
    fk_free(&f);
}

static void open_waits_for_credit_and_has_a_deadline(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 5);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_EAGAIN);
    assert_int_equal(fk_pending(f, FL_CALL_SEND), 0);
    FK_EV(f, .kind = FL_EV_CREDIT, .node = 1, .a = FL_NORMAL);
    assert_int_equal(fk_pending(f, FL_CALL_SEND), 1);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_OK);
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 6);
    assert_int_equal(fk_status(f, 6), FL_EAGAIN); /* is being opened */
    assert_true(fk_fire(f, WB_T_CTL));
    assert_int_equal(fk_status(f, 5), FL_ETIMEDOUT);
    fk_open(f, 0); /* another try is allowed */
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 7);
    assert_int_equal(fk_status(f, 7), FL_EAGAIN); /* is open */
    fk_free(&f);
}

static void open_fails_with_the_send_or_the_node(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 5);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_ECONN);
    assert_int_equal(fk_status(f, 5), FL_ECONN);
    assert_true(fk_run(f));
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 6);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 1, .status = FL_EPEERDEAD);
    assert_int_equal(fk_status(f, 6), FL_EPEERDEAD);
    FK_EV(f, .kind = FL_EV_PEER_UP, .node = 1, .a = 2);
    assert_true(fk_run(f));
    fk_open(f, 0);
    fk_free(&f);
}

static void answers_that_fit_nothing_are_ignored(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);
    struct fl_msg m = {.type = FL_MSG_OPEN_ACK, .region = 0, .chunk = 0, .a = 7};

    (void)state;
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 5);
    FK_EV(f, .kind = FL_EV_MSG, .node = 3, .msg = &m); /* not a node of ours */
    m.region = 12;
    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
    m.region = 0;
    m.chunk = 5;
    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
    m.chunk = 0;
    m.a = 6; /* an earlier epoch */
    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
    m.type = 99;
    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
    m.type = FL_MSG_LOG_ACK;
    m.seq = 1;
    FK_EV(f, .kind = FL_EV_MSG, .node = 1, .msg = &m);
    FK_EV(f, .kind = FL_EV_CREDIT, .node = 55);
    FK_EV(f, .kind = FL_EV_PEER_UP, .node = 55);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 55);
    FK_EV(f, .kind = FL_EV_DIRTY, .region = 3);
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0);
    assert_int_equal(wb_region_state(f->wb, 0), WB_OPENING);
    assert_int_equal(fk_status(f, 5), 1);
    fk_free(&f);
}

/* --- fence ------------------------------------------------------------------------------------ */

/* W-f2, W-f3 */
static void a_failed_write_is_sent_again_after_a_fence(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *w = fk_in_flight(f, 3);
    uint32_t bufs = f->wb->free_bufs;

    (void)state;
    fk_done(f, w, FL_ETIMEDOUT);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 1);
    assert_int_equal(f->wb->free_bufs, bufs); /* it may still be read from */
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 0);
    fk_load(f, 0, 0, 5);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 0); /* nothing is posted before the fence */
    fk_write(f, 0, 0, 0, 9);
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_READ), 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    w = fk_find(f, FL_CALL_RMA_WRITE);
    assert_true(w->rma.mask == (1 << 3 | 1 << 9)); /* the retained line and the new one */
    assert_int_equal(w->rma.seq, 2);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->flush_errors, 1);
    assert_int_equal(wb_stats(f->wb)->fences, 1);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    fk_free(&f);
}

static void a_failed_read_is_tried_again_after_a_fence(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_load(f, 0, 0, 0);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_ECONN);
    assert_int_equal(fk_state(f, 0), WB_FETCHING);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 1);
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_OK);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 1); /* freed, and taken by the next try */
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 0), FL_OK);
    fk_free(&f);
}

static void one_fence_serves_all_that_failed(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    for (uint32_t p = 0; p < 4; p++) {
        fk_write(f, 0, 0, p, 1);
    }
    fk_fire(f, WB_T_PERIOD);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 4);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_ECONN);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_EFENCED);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_OK);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_EFENCED);
    assert_int_equal(fk_count(f, FL_CALL_FENCE), 1);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->fences, 1);
    fk_free(&f);
}

static void a_failed_whole_page_stays_whole(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.regions[0].threshold_lines = 0;
    f = fk_opened(&cfg);
    fk_done(f, fk_in_flight(f, 3), FL_ETIMEDOUT);
    assert_int_equal(fk_state(f, 0), WB_PAGE_DIRTY);
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(wb_stats(f->wb)->pages_flushed_whole, 2);
    fk_free(&f);
}

static void retained_lines_that_do_not_fit_coarsen(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.dclb_lines = 1;
    f = fk_opened(&cfg);
    fk_write(f, 0, 0, 0, 1);
    fk_write(f, 0, 0, 0, 2);
    fk_fire(f, WB_T_PERIOD);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_ETIMEDOUT);
    assert_int_equal(fk_state(f, 0), WB_PAGE_DIRTY);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    fk_free(&f);
}

static void progress_forgives_earlier_fences(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    for (int i = 0; i < 3 * cfg.retry_max; i++) {
        fk_done(f, fk_in_flight(f, (unsigned)i), FL_ETIMEDOUT);
        assert_true(fk_run(f));
    }
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_lost_lines(f->wb, 0), 0);
    fk_free(&f);
}

static void a_node_without_progress_is_given_up(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_done(f, fk_in_flight(f, 3), FL_ETIMEDOUT);
    for (int i = 0; i < cfg.retry_max; i++) {
        assert_int_equal(fk_pending(f, FL_CALL_FENCE), 1);
        fk_done(f, fk_find(f, FL_CALL_FENCE), FL_ETIMEDOUT);
    }
    /* given up; its buffer still waits for a fence, which is asked for now and then */
    assert_int_equal(f->sites[FL_SITE_PEER_LOST], 1);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 2); /* the other is to count lost lines */
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_ETIMEDOUT);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 0);
    assert_true(fk_fire(f, WB_T_FENCE_AGAIN));
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(wb_lost_lines(f->wb, 0), 1);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_done(f, fk_find(f, FL_CALL_FENCE), FL_OK);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    assert_int_equal(wb_stats(f->wb)->fence_failures, (unsigned)cfg.retry_max + 1);
    close_begin(f);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    assert_int_equal(wb_region_state(f->wb, 0), WB_FAILED);
    fk_free(&f);
}

/* For the buffers of a node given up, the fence is asked for only while some region is in use. */
static void no_fence_is_asked_for_without_a_region(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;
    uint64_t asked;

    (void)state;
    cfg.region_count = 2;
    cfg.regions[1] = cfg.regions[0];
    cfg.regions[1].chunks[0].node = 2;
    f = fk_opened(&cfg);
    fk_done(f, fk_in_flight(f, 3), FL_ETIMEDOUT);
    for (int i = 0; i < cfg.retry_max; i++) {
        fk_done(f, fk_find(f, FL_CALL_FENCE), FL_ETIMEDOUT);
    }
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    close_begin(f);
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    for (int i = 0; i < 3; i++) { /* what is out is answered, and one timer more */
        if (fk_pending(f, FL_CALL_FENCE) > 0) {
            fk_done(f, fk_find(f, FL_CALL_FENCE), FL_ETIMEDOUT);
        }
        fk_fire(f, WB_T_FENCE_AGAIN);
    }
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 0);
    assert_false(fk_fire(f, WB_T_FENCE_AGAIN));
    assert_true(f->wb->free_bufs < cfg.buf_count);
    asked = wb_stats(f->wb)->fences;
    fk_open(f, 1);
    assert_int_equal(wb_stats(f->wb)->fences, asked + 1);
    assert_true(fk_run(f));
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    fk_free(&f);
}

/* --- node death ------------------------------------------------------------------------------- */

/* W-f1 */
static void a_dead_node_fails_misses_and_close(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *w;

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    fk_touch(f, 0, 0, 1);
    w = fk_in_flight(f, 2);
    f->resume_count = 0;
    fk_load(f, 0, 0, 4);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 1, .status = FL_EPEERDEAD);
    assert_int_equal(fk_status(f, 0), FL_EPEERDEAD);
    fk_done(f, w, FL_EPEERDEAD);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_EPEERDEAD);
    assert_int_equal(fk_state(f, 4), WB_NOT_CACHED);
    assert_int_equal(fk_pending(f, FL_CALL_FENCE), 0);
    f->resume_count = 0;
    fk_load(f, 0, 0, 5);
    assert_int_equal(fk_status(f, 0), FL_EPEERDEAD); /* later ones at once */
    assert_true(fk_run(f));
    assert_int_equal(wb_lost_lines(f->wb, 0), 2);
    assert_int_equal(fk_state(f, 0), WB_DIRTY); /* W2: still there */
    assert_true(fk_load(f, 0, 0, 0));
    assert_true(wb_quiescent(f->wb));
    assert_true(fk_store(f, 0, 0, 0, 7)); /* counted, too */
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_true(fk_run(f));
    assert_int_equal(wb_lost_lines(f->wb, 0), 3);
    close_begin(f);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    assert_int_equal(wb_region_state(f->wb, 0), WB_FAILED);
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 6);
    assert_int_equal(fk_status(f, 6), FL_EPEERDEAD);
    f->resume_count = 0;
    FK_EV(f, .kind = FL_EV_MISS, .page = 0);
    assert_int_equal(fk_status(f, 0), FL_ECLOSED);
    fk_free(&f);
}

static void a_dead_node_takes_only_its_chunks(void **state)
{
    struct wb_cfg cfg = two_nodes();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    fk_write(f, 0, 0, 4, 1);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 2, .a = 1, .status = FL_EPEERDEAD);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 2, .a = 1, .status = FL_EPEERDEAD);
    assert_true(fk_run(f));
    assert_int_equal(wb_lost_lines(f->wb, 0), 1);
    fk_write(f, 0, 0, 1, 1); /* the other node's pages go on */
    fk_touch(f, 0, 0, 2);
    close_begin(f);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    assert_int_equal(fk_differ(f, 0), 1);
    fk_free(&f);
}

static void a_restarted_node_is_a_dead_one(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    FK_EV(f, .kind = FL_EV_PEER_UP, .node = 1, .a = 4);
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 1, .a = 3); /* of an earlier life: old news */
    f->resume_count = 0;
    fk_touch(f, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PEER_UP, .node = 1, .a = 5);
    fk_load(f, 0, 0, 2);
    assert_int_equal(fk_status(f, 0), FL_EPEERDEAD);
    assert_true(fk_run(f));
    assert_int_equal(wb_lost_lines(f->wb, 0), 1);
    fk_free(&f);
}

/* Lost pages keep their frames until close has told the application, then give them up. */
static void frames_of_lost_lines_come_back_after_close(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.region_count = 2;
    cfg.regions[1] = cfg.regions[0];
    cfg.regions[1].chunks[0] = (struct wb_chunk_cfg){.node = 2, .chunk = 0, .page_count = 8};
    cfg.regions[0].threshold_lines = 0;
    f = fk_opened(&cfg);
    fk_open(f, 1);
    for (uint32_t p = 0; p < 4; p++) {
        fk_write(f, 0, 0, p, 1);
    }
    FK_EV(f, .kind = FL_EV_PEER_DOWN, .node = 1);
    assert_true(fk_run(f));
    f->resume_count = 0;
    fk_load(f, 0, 1, 0);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 0), FL_ENOSPC); /* no frame, and none will come */
    close_begin(f);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    for (uint32_t p = 0; p < 4; p++) {
        fk_write(f, 0, 1, p, 1);
    }
    assert_int_equal(wb_stats(f->wb)->cached_max, 4);
    assert_int_equal(wb_lost_lines(f->wb, 0), 4);
    fk_free(&f);
}

/* W-f8 */
static void close_has_a_deadline(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);
    struct fk_call *w;

    (void)state;
    fk_write(f, 0, 0, 1, 1);
    w = fk_in_flight(f, 2);
    close_begin(f);
    assert_true(fk_fire(f, WB_T_CTL));
    fk_done(f, w, FL_ETIMEDOUT); /* its own deadline */
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_ETIMEDOUT);
    assert_int_equal(wb_region_state(f->wb, 0), WB_FAILED);
    assert_true(wb_lost_lines(f->wb, 0) >= 1);
    assert_int_equal(wb_lost_lines(f->wb, 0), fk_differ(f, 0));
    fk_free(&f);
}

static void the_release_of_leases_has_the_same_deadline(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    close_begin(f);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_OK); /* and no answer */
    assert_true(fk_fire(f, WB_T_CTL));
    assert_int_equal(fk_status(f, 2000), FL_ETIMEDOUT);
    fk_free(&f);
}

static void close_fails_when_its_request_can_not_be_sent(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    close_begin(f);
    fk_done(f, fk_find(f, FL_CALL_SEND), FL_EPEERDEAD);
    assert_int_equal(fk_status(f, 2000), FL_EPEERDEAD);
    fk_free(&f);
}

/* --- mapping limit ---------------------------------------------------------------------------- */

static void a_refused_grant_makes_room_and_tries_again(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.capacity_pages = 8;
    f = fk_opened(&cfg);
    for (uint32_t p = 0; p < 6; p++) {
        fk_touch(f, 0, 0, p);
    }
    f->resume_count = 0;
    fk_load(f, 0, 0, 7);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_ENOSPC);
    assert_int_equal(fk_status(f, 0), 1);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 0), FL_OK);
    assert_int_equal(wb_stats(f->wb)->map_refusals, 1);
    assert_true(wb_stats(f->wb)->evictions >= 1);
    fk_free(&f);
}

static void a_refused_grant_with_no_room_fails(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_load(f, 0, 0, 7);
    fk_done(f, fk_find(f, FL_CALL_RMA_READ), FL_OK);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_ENOSPC);
    assert_int_equal(fk_status(f, 0), FL_ENOSPC);
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 7), WB_NOT_CACHED);
    fk_touch(f, 0, 0, 7);
    FK_EV(f, .kind = FL_EV_MISS, .page = 7, .access = FL_STORE); /* the thread was held back */
    assert_int_equal(fk_find(f, FL_CALL_GATE)->prot, FL_PROT_RW);
    f->resume_count = 0;
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_ENOSPC);
    assert_int_equal(fk_status(f, 0), FL_ENOSPC);
    assert_int_equal(fk_state(f, 7), WB_CLEAN);
    fk_free(&f);
}

static void lowering_and_dropping_are_tried_again(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    fk_fire(f, WB_T_PERIOD);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_ENOSPC);
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 0); /* not at once */
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    assert_true(fk_fire(f, WB_T_RETRY));
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    close_begin(f);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    fk_done(f, fk_find(f, FL_CALL_MAP), FL_ENOSPC);
    assert_true(fk_fire(f, WB_T_RETRY));
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_OK);
    fk_free(&f);
}

/* A sampling hint can be overtaken by a gate: a closed page has no new stores. */
static void an_overtaken_hint_opens_nothing(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_opened(&cfg);

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0, .mask = 2);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    fk_load(f, 0, 0, 0);
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0, .mask = 2);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_ENOSPC);
    assert_int_equal(fk_state(f, 0), WB_FLUSHING);
    fk_load(f, 0, 0, 0);
    FK_EV(f, .kind = FL_EV_DIRTY, .page = 0); /* true this time: told before the answer */
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_lease_gives_the_others_back),
        cmocka_unit_test(open_waits_for_credit_and_has_a_deadline),
        cmocka_unit_test(open_fails_with_the_send_or_the_node),
        cmocka_unit_test(answers_that_fit_nothing_are_ignored),
        cmocka_unit_test(a_failed_write_is_sent_again_after_a_fence),
        cmocka_unit_test(a_failed_read_is_tried_again_after_a_fence),
        cmocka_unit_test(one_fence_serves_all_that_failed),
        cmocka_unit_test(a_failed_whole_page_stays_whole),
        cmocka_unit_test(retained_lines_that_do_not_fit_coarsen),
        cmocka_unit_test(progress_forgives_earlier_fences),
        cmocka_unit_test(no_fence_is_asked_for_without_a_region),
        cmocka_unit_test(a_node_without_progress_is_given_up),
        cmocka_unit_test(a_dead_node_fails_misses_and_close),
        cmocka_unit_test(a_dead_node_takes_only_its_chunks),
        cmocka_unit_test(a_restarted_node_is_a_dead_one),
        cmocka_unit_test(frames_of_lost_lines_come_back_after_close),
        cmocka_unit_test(close_has_a_deadline),
        cmocka_unit_test(the_release_of_leases_has_the_same_deadline),
        cmocka_unit_test(close_fails_when_its_request_can_not_be_sent),
        cmocka_unit_test(a_refused_grant_makes_room_and_tries_again),
        cmocka_unit_test(a_refused_grant_with_no_room_fails),
        cmocka_unit_test(lowering_and_dropping_are_tried_again),
        cmocka_unit_test(an_overtaken_hint_opens_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
