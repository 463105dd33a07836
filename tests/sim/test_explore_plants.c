/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs that the small configurations of the exhaustive world show, each by its own id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "emu/explore.h"

/* Others: W-neighbour is a mistake of the node that posts, which that world does not have;
 * W-dclb-drop and W-over-capacity need a fuller device than these configurations; what
 * W-threshold-lines leaves out is seen as lost (W3) before a whole page is compared (W9). */
static const enum fl_plant shown[] = {
    FL_PLANT_CLOSE_EARLY, FL_PLANT_DROP_UNACKED, FL_PLANT_DROP_BUSY, FL_PLANT_CLEAR_LATE,
    FL_PLANT_LOCAL_ACK,   FL_PLANT_SEND_CLEAN,   FL_PLANT_MISCOUNT,  FL_PLANT_NO_PERIOD,
    FL_PLANT_STALE_SEQ,   FL_PLANT_SKIP_FENCE,
};

static void each_is_found_by_its_own_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        const struct fl_plant_info *info = fl_plant_info(shown[i]);
        struct fl_plants p = {{0}};
        struct explore_result r;

        assert_int_equal(fl_plant_add(&p, info->id), FL_OK);
        assert_int_equal(emu_explore_quick("writeback", &p, NULL, &r), FL_OK);
        print_message("%s: found by %s\n", info->id, r.check);
        assert_true(r.violated);
        assert_string_equal(r.check, info->check);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_is_found_by_its_own_check)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
