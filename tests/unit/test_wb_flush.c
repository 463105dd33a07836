/* SPDX-License-Identifier: Apache-2.0 */
/* emu/mech/wb_flush.c: what was on its way when a fence began. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "emu/mech/wb_priv.h"
#include "tests/support/fake_env.h"

/* Page 0's write fails while page 1's gate is open: page 1 is shut only after the fence was asked
 * for. Its lines are taken from the snapshot and kept, nothing is written before the fence. */
static void a_page_gated_before_the_fence_is_written_after_it(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);
    struct fk_call *write, *fence;

    (void)state;
    fk_open(f, 0);
    fk_touch(f, 0, 0, 1);
    fk_write(f, 0, 0, 0, 3);
    assert_true(fk_fire(f, WB_T_PERIOD));
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    write = fk_find(f, FL_CALL_RMA_WRITE);
    assert_non_null(write);
    assert_true(fk_store(f, 0, 0, 1, 5));
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_int_equal(fk_pending(f, FL_CALL_GATE), 1);
    fk_done(f, write, FL_ECONN);
    fence = fk_find(f, FL_CALL_FENCE);
    assert_non_null(fence);
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    assert_int_equal(fk_pending(f, FL_CALL_RMA_WRITE), 0);
    assert_int_equal(fk_state(f, 1), WB_DIRTY);
    /* The page opens with a new twin, which does not know of line 5. */
    assert_true(fk_store(f, 0, 0, 1, 6));
    fk_done(f, fence, FL_OK);
    assert_true(fk_run(f));
    (void)fk_fire(f, WB_T_PERIOD); /* when it was not due already */
    assert_true(fk_run(f));
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->fences, 1);
    fk_free(&f);
}

/* A device without a buffer writes nothing back. Its close still ends, and says what was lost. */
static void close_ends_without_a_buffer(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    fk_write(f, 0, 0, 0, 3);
    FK_EV(f, .kind = FL_EV_ADMIN, .a = FL_ADMIN_SLOTS, .b = 1);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000, .region = 0);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), 1);
    assert_true(fk_fire(f, WB_T_CTL));
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_ETIMEDOUT);
    assert_int_equal(wb_lost_lines(f->wb, 0), 1);
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_gated_before_the_fence_is_written_after_it),
        cmocka_unit_test(close_ends_without_a_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
