/* SPDX-License-Identifier: Apache-2.0 */
/* emu/pool.c: every number is answered once, whatever happens to the workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/pool.h"

enum { LAST = 100 };

struct seen {
    unsigned times[LAST + 1];
    unsigned crashed, hung, all, stop_after;
    uint64_t crash, hang;
};

static void work(void *arg, uint64_t i, struct pool_note *ret)
{
    const struct seen *s = arg;

    if (i == s->crash) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)raise(SIGKILL);
    }
    while (i == s->hang)
        (void)pause();
    ret->trace_hash = i * 7;
}

static void got(void *arg, uint64_t i, const struct pool_note *n)
{
    struct seen *s = arg;

    assert_true(i <= LAST);
    s->times[i]++;
    s->all++;
    s->crashed += n->crashed;
    s->hung += n->hung;
    if (n->crashed)
        assert_true(i == s->crash && n->verdict == EMU_VIOLATED && n->why[0] != '\0');
    else if (n->hung)
        assert_true(i == s->hang && n->verdict == EMU_NO_PROGRESS);
    else
        assert_true(n->trace_hash == i * 7);
    if (s->stop_after > 0 && s->all == s->stop_after)
        emu_interrupted = 1;
}

static void run(struct seen *s, unsigned jobs)
{
    struct fl_errmsg err;
    struct pool p = {.jobs = jobs,
                     .first = 1,
                     .last = LAST,
                     .wall_ns = FL_NS_PER_S,
                     .arg = s,
                     .work = work,
                     .got = got};

    emu_interrupted = 0;
    assert_int_equal(pool_run(&p, &err), FL_OK);
    emu_interrupted = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

static void every_number_is_answered_once(void **state)
{
    (void)state;
    for (unsigned jobs = 1; jobs <= 3; jobs++) {
        struct seen s = {.crash = 0};

        run(&s, jobs);
        for (int i = 1; i <= LAST; i++)
            assert_int_equal(s.times[i], 1);
        assert_int_equal(s.crashed + s.hung, 0);
    }
}

static void a_crash_and_a_hang_are_results(void **state)
{
    struct seen s = {.crash = 17, .hang = 60};

    (void)state;
    run(&s, 2);
    for (int i = 1; i <= LAST; i++)
        assert_int_equal(s.times[i], 1);
    assert_int_equal(s.crashed, 1);
    assert_int_equal(s.hung, 1);
}

static void an_interrupt_ends_it_with_what_there_is(void **state)
{
    struct seen s = {.stop_after = 10, .hang = 50};

    (void)state;
    run(&s, 2);
    assert_true(s.all >= 10 && s.all < LAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_answered_once),
        cmocka_unit_test(a_crash_and_a_hang_are_results),
        cmocka_unit_test(an_interrupt_ends_it_with_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
