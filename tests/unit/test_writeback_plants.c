/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs in the write-back core: each is a visible deviation. */
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

static void close_begin(struct fake *f)
{
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000, .region = 0);
}

static struct fake *planted(struct wb_cfg *cfg, const char *id)
{
    assert_int_equal(fl_plant_add(&cfg->plants, id), FL_OK);
    return fk_opened(cfg);
}

static void plant_close_early(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-close-before-last-ack");

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    close_begin(f);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    /* at once: a fabric that keeps order would bring the answer to RELEASE after the write's */
    assert_int_equal(fk_status(f, 2000), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 1);
    fk_answer(f, fk_find(f, FL_CALL_SEND), FL_OK);
    fk_free(&f);
}

static void plant_drop_unacked(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-drop-unacked");

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 1);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 1);
    assert_int_equal(fk_pending(f, FL_CALL_MAP), 1);
    assert_true(fk_run(f)); /* the late answer gives the buffer back */
    assert_int_equal(f->wb->free_bufs, cfg.buf_count);
    fk_free(&f);
}

static void plant_drop_busy(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-drop-busy-gate");

    (void)state;
    fk_touch(f, 0, 0, 0);
    FK_EV(f, .kind = FL_EV_PRESSURE, .a = 1);
    assert_true(fk_store(f, 0, 0, 0, 1)); /* before the gate shuts */
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 1); /* lost */
    fk_free(&f);
}

static void plant_clear_late(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-clear-after-snap");
    struct fk_call *w = fk_in_flight(f, 1);

    (void)state;
    assert_true(fk_store(f, 0, 0, 0, 2));
    fk_done(f, w, FL_OK);
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    fk_free(&f);
}

static void plant_local_ack(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-retire-on-post");
    struct fk_call *w = fk_in_flight(f, 1);

    (void)state;
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    fk_done(f, w, FL_ETIMEDOUT);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 1);
    fk_free(&f);
}

static void plant_dclb_drop(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.dclb_lines = 1;
    f = planted(&cfg, "W-dclb-drop");
    f->pages[0].exact = true;
    fk_touch(f, 0, 0, 0);
    fk_write(f, 0, 0, 0, 0);
    fk_write(f, 0, 0, 0, 1);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    fk_fire(f, WB_T_PERIOD);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 1);
    fk_free(&f);
}

static void plants_of_what_is_sent(void **state)
{
    static const struct {
        const char *id;
        fl_mask mask;
        uint32_t writes;
        uint64_t counted;
    } rows[] = {{"W-send-clean", 0x6, 1, 64}, {"W-miscount", 0x2, 1, 128}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wb_cfg cfg = fk_cfg();
        struct fake *f = planted(&cfg, rows[i].id);
        struct fk_call *w = fk_in_flight(f, 1);

        assert_true(w->rma.mask == rows[i].mask);
        assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), rows[i].writes);
        assert_int_equal(wb_stats(f->wb)->bytes_sent, rows[i].counted);
        assert_true(fk_run(f));
        assert_int_equal(fk_state(f, 0), WB_CLEAN);
        fk_free(&f);
    }
}

static void plant_no_period(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-skip-period");

    (void)state;
    fk_write(f, 0, 0, 0, 1);
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 0);
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 1);
    fk_free(&f);
}

static void plant_skip_fence(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-skip-fence");

    (void)state;
    fk_done(f, fk_in_flight(f, 1), FL_ETIMEDOUT);
    assert_int_equal(fk_count(f, FL_CALL_FENCE), 0);
    assert_int_equal(f->wb->free_bufs, cfg.buf_count - 1); /* taken again at once */
    for (int i = 0; i < 20 && f->sites[FL_SITE_PEER_LOST] == 0; i++) {
        if (fk_find(f, FL_CALL_GATE) != NULL) {
            fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
        }
        if (fk_find(f, FL_CALL_RMA_WRITE) != NULL) {
            fk_done(f, fk_find(f, FL_CALL_RMA_WRITE), FL_ETIMEDOUT);
        }
    }
    assert_int_equal(f->sites[FL_SITE_PEER_LOST], 1); /* bounded all the same */
    fk_free(&f);
}

static void plant_over_capacity(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = planted(&cfg, "W-over-capacity");

    (void)state;
    for (uint32_t p = 0; p < 8; p++) {
        fk_touch(f, 0, 0, p);
    }
    assert_int_equal(wb_stats(f->wb)->cached_max, 5);
    fk_free(&f);
}

static void plant_coarse_lines(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f;

    (void)state;
    cfg.regions[0].threshold_lines = 1;
    f = planted(&cfg, "W-threshold-lines");
    fk_write(f, 0, 0, 0, 3);
    assert_int_equal(fk_in_flight(f, 7)->rma.mask, 1 << 3);
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 1);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plant_close_early),      cmocka_unit_test(plant_drop_unacked),
        cmocka_unit_test(plant_drop_busy),        cmocka_unit_test(plant_clear_late),
        cmocka_unit_test(plant_local_ack),        cmocka_unit_test(plant_dclb_drop),
        cmocka_unit_test(plants_of_what_is_sent), cmocka_unit_test(plant_no_period),
        cmocka_unit_test(plant_skip_fence),       cmocka_unit_test(plant_over_capacity),
        cmocka_unit_test(plant_coarse_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
