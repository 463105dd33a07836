/* SPDX-License-Identifier: Apache-2.0 */
/* The write-back core against a scripted world: every row of table W on the way without faults. */
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

static void fetch_dirty_flush_evict_close(void **state)
{
    struct wb_cfg cfg = fk_cfg();
    struct fake *f = fk_new(&cfg);

    (void)state;
    fk_open(f, 0);
    assert_int_equal(fk_status(f, 1000), FL_OK);
    fk_write(f, 0, 0, 0, 5);
    assert_int_equal(fk_state(f, 0), WB_DIRTY);
    assert_true(fk_armed(f, WB_T_PERIOD));
    assert_true(fk_fire(f, WB_T_PERIOD));
    assert_true(fk_run(f));
    assert_int_equal(fk_state(f, 0), WB_CLEAN);
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_stats(f->wb)->bytes_sent, 64);
    for (uint32_t p = 0; p < 8; p++) {
        fk_write(f, 0, 0, p, p);
    }
    assert_true(wb_stats(f->wb)->evictions >= 4);
    FK_EV(f, .kind = FL_EV_CLOSE, .ticket = 2000, .region = 0);
    assert_true(fk_run(f));
    assert_int_equal(fk_status(f, 2000), FL_OK);
    assert_int_equal(fk_differ(f, 0), 0);
    assert_int_equal(wb_region_state(f->wb, 0), WB_CLOSED);
    assert_true(wb_quiescent(f->wb));
    fk_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fetch_dirty_flush_evict_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
