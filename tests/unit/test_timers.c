/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "emu/base/rng.h"
#include "emu/base/units.h"
#include "transport/timers.h"

enum { TIMERS = 200, STEPS = 20000 };

/* Against the obvious model: a table that is searched. */
static void earliest_comes_first(void **state)
{
    (void)state;
    struct tpo_timers h = {0};
    struct tpo_timer t[TIMERS] = {{0}};
    uint64_t model[TIMERS], popped = 0;
    struct fl_rng r;

    fl_rng_init(&r, 42, 0, FL_RNG_SCHED, 0);
    assert_int_equal(tpo_timers_reserve(&h, TIMERS), 0);
    for (unsigned i = 0; i < TIMERS; i++)
        model[i] = FL_NEVER;
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t i = fl_rng_below(&r, TIMERS);
        uint64_t at = fl_rng_chance(&r, 1, 4) ? FL_NEVER : fl_rng_below(&r, 1000);
        tpo_timer_set(&h, &t[i], at);
        model[i] = at;
        uint64_t least = FL_NEVER, now = fl_rng_below(&r, 400);
        for (unsigned k = 0; k < TIMERS; k++)
            least = model[k] < least ? model[k] : least;
        assert_true(tpo_timers_next(&h) == least);
        struct tpo_timer *p = tpo_timers_pop(&h, now);
        if (least > now) {
            assert_null(p);
            continue;
        }
        assert_non_null(p);
        assert_true(p->at_ns == least);
        assert_true(model[p - t] == least);
        assert_int_equal(p->place, 0);
        model[p - t] = FL_NEVER;
        popped++;
    }
    assert_true(popped > STEPS / 10);
    tpo_timers_done(&h);
}

static void clearing_what_is_not_set_does_nothing(void **state)
{
    (void)state;
    struct tpo_timers h = {0};
    struct tpo_timer t = {0};

    tpo_timer_set(&h, &t, FL_NEVER);
    assert_true(tpo_timers_next(&h) == FL_NEVER);
    assert_null(tpo_timers_pop(&h, UINT64_MAX - 1));
    tpo_timers_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(earliest_comes_first),
        cmocka_unit_test(clearing_what_is_not_set_does_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
