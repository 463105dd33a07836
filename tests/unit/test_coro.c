/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/coro.h"

enum { STACK = 256 * 1024 };

struct counter {
    int steps, limit;
    char text[64];
};

/** Leaves in the midst of nested calls that have data on the stack. */
static int sum_down(struct counter *c, int n)
{
    volatile int here = n;
    if (n == 0)
        return 0;
    c->steps++;
    fl_coro_yield();
    return here + sum_down(c, n - 1);
}

static void count(void *arg)
{
    struct counter *c = arg;
    c->steps = sum_down(c, c->limit) + 1000;
}

static struct fl_coro *make(void (*fn)(void *), void *arg)
{
    struct fl_coro *c = NULL;
    struct fl_errmsg err;
    assert_int_equal(fl_coro_new(STACK, fn, arg, &c, &err), FL_OK);
    return c;
}

static void is_left_and_entered_in_the_middle(void **state)
{
    (void)state;
    struct counter a = {.limit = 5}, b = {.limit = 3};
    struct fl_coro *ca = make(count, &a), *cb = make(count, &b);
    assert_int_equal(a.steps, 0); /* nothing runs before it is asked to */
    for (int i = 1; i <= 3; i++) {
        fl_coro_run(ca);
        fl_coro_run(cb);
        assert_int_equal(a.steps, i);
        assert_int_equal(b.steps, i);
        assert_null(fl_coro_self());
    }
    fl_coro_run(cb);
    assert_true(fl_coro_over(cb));
    assert_int_equal(b.steps, 1000 + 3 + 2 + 1);
    while (!fl_coro_over(ca))
        fl_coro_run(ca);
    assert_int_equal(a.steps, 1000 + 15);
    fl_coro_free(&ca);
    fl_coro_free(&cb);
    assert_null(ca);
    fl_coro_free(&ca);
}

static void one_that_stands_in_the_middle_can_be_given_up(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) { /* a stack that stayed would be seen as a leak */
        struct counter a = {.limit = 5};
        struct fl_coro *c = make(count, &a);
        fl_coro_run(c);
        assert_false(fl_coro_over(c));
        fl_coro_free(&c);
    }
}

/* --- from inside a signal handler --------------------------------------------------------------- */

static struct fl_coro *volatile seen_self;
static uint8_t *volatile page;
static volatile int traps, blocked_inside;

static void on_segv(int sig, siginfo_t *si, void *uc)
{
    sigset_t now;
    (void)sig;
    (void)si;
    (void)uc;
    traps++;
    sigprocmask(SIG_BLOCK, NULL, &now);
    blocked_inside += sigismember(&now, SIGUSR1) == 1;
    seen_self = fl_coro_self();
    fl_coro_yield();
    sigprocmask(SIG_BLOCK, NULL, &now);
    blocked_inside += sigismember(&now, SIGUSR1) == 1;
}

static void touch(void *arg)
{
    for (int i = 0; i < 3; i++)
        ((volatile uint8_t *)arg)[i * 4096] = (uint8_t)(i + 7);
}

static void a_trap_waits_for_what_runs_outside(void **state)
{
    (void)state;
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO}, old;
    sigset_t now;
    void *map = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    page = map;
    sigfillset(&sa.sa_mask);
    assert_int_equal(sigaction(SIGSEGV, &sa, &old), 0);
    struct fl_coro *c = make(touch, map);
    for (int i = 0; i < 3; i++) {
        fl_coro_run(c);
        assert_int_equal(traps, i + 1);
        assert_ptr_equal(seen_self, c);
        assert_false(fl_coro_over(c));
        sigprocmask(SIG_BLOCK, NULL, &now);
        assert_int_equal(sigismember(&now, SIGUSR1), 0); /* blocked in there, not here */
        assert_int_equal(mprotect(page + (size_t)i * 4096, 4096, PROT_READ | PROT_WRITE), 0);
    }
    fl_coro_run(c);
    assert_true(fl_coro_over(c));
    assert_int_equal(blocked_inside, 6);
    for (int i = 0; i < 3; i++)
        assert_int_equal(page[i * 4096], i + 7);
    fl_coro_free(&c);
    assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
    munmap(map, 3 * 4096);
}

/* --- an overflow -------------------------------------------------------------------------------- */

static int endless(int n)
{
    volatile char big[1024];
    memset((char *)big, n, sizeof(big));
    return n < 0 ? 0 : endless(n + 1) + big[n % 1024];
}

static void overflow(void *arg)
{
    *(int *)arg = endless(1);
}

static void an_overflow_crashes(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int n = 0;
        struct fl_coro *c = NULL;
        (void)signal(SIGSEGV, SIG_DFL);
        if (fl_coro_new(STACK, overflow, &n, &c, NULL) == FL_OK)
            fl_coro_run(c);
        _exit(n & 1);
    }
    int st = 0;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFSIGNALED(st) || WEXITSTATUS(st) > 1); /* a sanitizer ends it with a status */
}

static void absurd_stacks_are_refused(void **state)
{
    (void)state;
    struct fl_coro *c = NULL;
    struct fl_errmsg err = {{0}};
    assert_int_equal(fl_coro_new((size_t)1 << 60, touch, NULL, &c, &err), FL_ENOMEM);
    assert_non_null(strstr(err.text, "stack"));
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_left_and_entered_in_the_middle),
        cmocka_unit_test(one_that_stands_in_the_middle_can_be_given_up),
        cmocka_unit_test(a_trap_waits_for_what_runs_outside),
        cmocka_unit_test(an_overflow_crashes),
        cmocka_unit_test(absurd_stacks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
