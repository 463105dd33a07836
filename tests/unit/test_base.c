/* SPDX-License-Identifier: Apache-2.0 */
/* emu/base: err, assert, rng, sites, plants, env, clock, log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "emu/base/env.h"
#include "emu/base/log.h"
#include "emu/base/plants.h"

static void errors_have_names_and_texts(void **state)
{
    (void)state;
#define X(name, value, text)                                                                       \
    assert_string_equal(fl_errname(value), #name);                                                 \
    assert_string_equal(fl_strerror(value), text);
    FL_ERRORS(X)
#undef X
    assert_string_equal(fl_errname(0), "FL_OK");
    assert_string_equal(fl_errname(-999), "FL_UNKNOWN");
    assert_string_equal(fl_strerror(7), "unknown error");
}

static void errno_maps_to_the_nearest_error(void **state)
{
    static const struct {
        int in, out;
    } rows[] = {{ENOMEM, FL_ENOMEM},
                {EAGAIN, FL_EAGAIN},
                {ENOSPC, FL_ENOSPC},
                {EACCES, FL_EPERM},
                {EADDRINUSE, FL_EADDRINUSE},
                {ETIMEDOUT, FL_ETIMEDOUT},
                {ECANCELED, FL_ECANCELED},
                {ECONNRESET, FL_ECONN},
                {EINVAL, FL_EINVAL},
                {ENOSYS, FL_ENOSYS},
                {EISDIR, FL_EIO},
                {0, FL_OK}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(fl_err_from_errno(rows[i].in), rows[i].out);
    }
}

static void fail_and_wrap_build_one_message(void **state)
{
    struct fl_errmsg m;
    char big[1024];

    (void)state;
    assert_int_equal(fl_fail(&m, FL_EINVAL, "size %d", 3), FL_EINVAL);
    assert_int_equal(fl_wrap(&m, FL_EINVAL, "region %s", "heap"), FL_EINVAL);
    assert_string_equal(m.text, "region heap: size 3");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    fl_wrap(&m, FL_EINVAL, "%s", big); /* longer than the room: cut, not overrun */
    assert_int_equal(strlen(m.text), sizeof m.text - 1);
    assert_int_equal(fl_fail(NULL, FL_EIO, "x"), FL_EIO);
    assert_int_equal(fl_wrap(NULL, FL_EIO, "x"), FL_EIO);
}

/* Runs @fn in a child with stderr in @text; returns the wait status. */
static int in_child(void (*fn)(void), char *text, size_t cap)
{
    int fds[2], status;
    ssize_t n;
    size_t len = 0;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        fn();
        _exit(0);
    }
    close(fds[1]);
    while (len < cap - 1 && (n = read(fds[0], text + len, cap - 1 - len)) > 0) {
        len += (size_t)n;
    }
    text[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void broken(void)
{
    signal(SIGABRT, SIG_DFL);
    FL_ASSERT(1 + 1 == 3);
}

static void failed_assertion_names_itself_and_aborts(void **state)
{
    char text[256];
    int status = in_child(broken, text, sizeof text);

    (void)state;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "1 + 1 == 3 at tests/unit/test_base.c:"));
}

static void talk(void)
{
    fl_log_init("c7", FL_LOG_INFO);
    fl_log(FL_LOG_INFO, "page %d", 5);
    fl_log(FL_LOG_DEBUG, "secret");
}

static void log_lines_name_the_node_and_obey_the_level(void **state)
{
    char text[256];

    (void)state;
    assert_int_equal(in_child(talk, text, sizeof text), 0);
    assert_non_null(strstr(text, " c7 info: page 5\n"));
    assert_null(strstr(text, "secret"));
}

static void random_streams_are_fixed_and_apart(void **state)
{
    struct fl_rng a, b, c;

    (void)state;
    fl_rng_init(&a, 42, 1, FL_RNG_WORK, 0);
    fl_rng_init(&b, 42, 1, FL_RNG_WORK, 0);
    fl_rng_init(&c, 42, 1, FL_RNG_NET, 0);
    for (int i = 0; i < 100; i++) {
        uint64_t x = fl_rng_next(&a);

        assert_int_equal(x, fl_rng_next(&b));
        assert_int_not_equal(x, fl_rng_next(&c));
    }
    fl_rng_init(&a, 42, 2, FL_RNG_WORK, 1);
    fl_rng_init(&b, 42, 1, FL_RNG_WORK, 2);
    assert_int_not_equal(fl_rng_next(&a), fl_rng_next(&b));
}

/* Golden value: the generator may never change, or every recorded seed means something else. */
static void random_numbers_are_the_same_on_every_machine(void **state)
{
    struct fl_rng r;
    uint64_t sum = 0;

    (void)state;
    fl_rng_init(&r, 1, 2, FL_RNG_FAULT, 3);
    for (int i = 0; i < 1000; i++) {
        sum = sum * 31 + fl_rng_next(&r);
    }
    assert_int_equal(sum, UINT64_C(0xbab65ff55e63f2f7));
}

static void below_is_uniform_enough(void **state)
{
    struct fl_rng r;
    unsigned hits[10] = {0};

    (void)state;
    fl_rng_init(&r, 5, 0, FL_RNG_WORK, 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t x = fl_rng_below(&r, 10);

        assert_true(x < 10);
        hits[x]++;
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(hits[i], 9500, 10500);
    }
    assert_int_equal(fl_rng_below(&r, 1), 0);
    assert_true(fl_rng_chance(&r, 1, 1));
    assert_false(fl_rng_chance(&r, 0, 7));
}

static void sites_and_plants_are_found_by_name(void **state)
{
    struct fl_plants p = {{0}};

    (void)state;
    for (unsigned s = 1; s < FL_SITE_COUNT; s++) {
        assert_int_equal(fl_site_find(fl_site_info((enum fl_site)s)->name), s);
    }
    assert_int_equal(fl_site_find("nowhere"), FL_SITE_NONE);
    assert_null(fl_site_info(FL_SITE_NONE));
    assert_null(fl_site_info(FL_SITE_COUNT));
    for (unsigned i = 0; i < FL_PLANT_COUNT; i++) {
        assert_false(fl_planted(&p, (enum fl_plant)i));
        assert_int_equal(fl_plant_add(&p, fl_plant_info((enum fl_plant)i)->id), FL_OK);
        assert_true(fl_planted(&p, (enum fl_plant)i));
    }
    assert_int_equal(fl_plant_add(&p, "W-no-such"), FL_EINVAL);
    assert_null(fl_plant_info(FL_PLANT_COUNT));
}

static void events_calls_and_messages_have_names(void **state)
{
    (void)state;
    assert_string_equal(fl_ev_name(FL_EV_MISS), "MISS");
    assert_string_equal(fl_ev_name(FL_EV_COUNT), "?");
    assert_string_equal(fl_call_name(FL_CALL_GATE), "gate");
    assert_string_equal(fl_call_name(FL_CALL_COUNT), "?");
    assert_string_equal(fl_msg_name(FL_MSG_LOG_BATCH), "log_batch");
    assert_string_equal(fl_msg_name(0), "?");
    assert_int_equal(fl_msg_class(FL_MSG_LOG_BATCH), FL_BULK);
    assert_int_equal(fl_msg_class(0), -1);
}

static void masks_count_and_span_lines(void **state)
{
    (void)state;
    assert_int_equal(fl_mask_run(0, 64), FL_MASK_ALL);
    assert_int_equal(fl_mask_run(63, 1), UINT64_C(1) << 63);
    assert_int_equal(fl_mask_run(3, 2), 0x18);
    assert_int_equal(fl_mask_count(0xf0f), 8);
    assert_int_equal(fl_mask_first(0x100), 8);
}

static void the_clock_does_not_go_back(void **state)
{
    uint64_t last = fl_clock_ns();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = fl_clock_ns();

        assert_true(now >= last);
        last = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_names_and_texts),
        cmocka_unit_test(errno_maps_to_the_nearest_error),
        cmocka_unit_test(fail_and_wrap_build_one_message),
        cmocka_unit_test(failed_assertion_names_itself_and_aborts),
        cmocka_unit_test(log_lines_name_the_node_and_obey_the_level),
        cmocka_unit_test(random_streams_are_fixed_and_apart),
        cmocka_unit_test(random_numbers_are_the_same_on_every_machine),
        cmocka_unit_test(below_is_uniform_enough),
        cmocka_unit_test(sites_and_plants_are_found_by_name),
        cmocka_unit_test(events_calls_and_messages_have_names),
        cmocka_unit_test(masks_count_and_span_lines),
        cmocka_unit_test(the_clock_does_not_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
