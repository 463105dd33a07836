/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses that fail, and faults that are none of the tracker's business. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "coherence/farline.h"
#include "emu/base/clock.h"
#include "tests/support/toydev.h"

static __thread sigjmp_buf recover;
static __thread volatile sig_atomic_t bus_code;
static __thread void *volatile bus_addr;

static void on_bus(int sig, siginfo_t *si, void *uc)
{
    (void)sig;
    (void)uc;
    bus_code = si->si_code;
    bus_addr = si->si_addr;
    siglongjmp(recover, 1);
}

static void catch_bus(void)
{
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    sa.sa_sigaction = on_bus;
    assert_int_equal(sigaction(SIGBUS, &sa, NULL), 0);
}

/* 0: the load returned; else the code of the SIGBUS it raised. */
static int try_load(const volatile uint8_t *p, uint8_t *ret)
{
    bus_code = 0;
    if (sigsetjmp(recover, 1) == 0)
        *ret = *p;
    return bus_code;
}

static int try_store(volatile uint8_t *p, uint8_t v)
{
    bus_code = 0;
    if (sigsetjmp(recover, 1) == 0)
        *p = v;
    return bus_code;
}

static const struct toydev_cfg small = {
    .threads_max = 3, .capacity_pages = 12, .len_bytes = 8 * FL_PAGE_BYTES};

static volatile uint8_t *volatile nowhere;

/* --- failed accesses ------------------------------------------------------------------------- */

static void failed_access_is_a_bus_error_with_cause(void **state)
{
    (void)state;
    struct toydev d;
    uint8_t v = 42;
    toydev_start(&d, &small);
    catch_bus();
    d.remote[100] = 7;
    atomic_store(&d.fail_status, FL_EPEERDEAD);
    atomic_store(&d.fail_page, 1 + 1);
    for (int i = 0; i < 50; i++) { /* recovered by siglongjmp again and again */
        assert_int_equal(try_load(d.base + FL_PAGE_BYTES + 77, &v), BUS_MCEERR_AR);
        assert_ptr_equal(bus_addr, d.base + FL_PAGE_BYTES + 77);
        assert_int_equal(v, 42); /* never zeros */
        assert_int_equal(try_store(d.base + FL_PAGE_BYTES + 8, 1), BUS_MCEERR_AR);
        assert_ptr_equal(bus_addr, d.base + FL_PAGE_BYTES + 8);
    }
    assert_int_equal(farline_region_error(d.base), FL_EPEERDEAD);
    assert_int_equal(coh_region_error(d.trk, 0), FL_EPEERDEAD);
    assert_int_equal(farline_region_error(&d), FL_EINVAL);
    assert_int_equal(try_load(d.base + 100, &v), 0); /* other pages go on */
    assert_int_equal(v, 7);
    atomic_store(&d.fail_page, 0);
    assert_int_equal(try_store(d.base + FL_PAGE_BYTES + 8, 3), 0); /* and this one when it heals */
    toydev_flush(&d);
    toydev_stop(&d);
    assert_int_equal(d.remote[FL_PAGE_BYTES + 8], 3);
    toydev_free(&d);
}

struct failing {
    struct toydev *d;
    int failed, served;
};

static void *fail_and_go_on(void *arg)
{
    struct failing *f = arg;
    uint32_t ticket;
    if (coh_thread_enter(f->d->trk, &ticket, NULL) != FL_OK)
        abort();
    for (int i = 0; i < 200; i++) {
        uint8_t v;
        f->failed += try_load(f->d->base + 2 * FL_PAGE_BYTES + i, &v) == BUS_MCEERR_AR;
        f->served += try_load(f->d->base + 3 * FL_PAGE_BYTES + i, &v) == 0 && v == 3;
    }
    coh_thread_leave(f->d->trk);
    return NULL;
}

/* The signal goes to the thread whose access failed and to no other. */
static void each_thread_gets_its_own_error(void **state)
{
    (void)state;
    struct toydev d;
    toydev_start(&d, &small);
    catch_bus();
    memset(d.remote + 3 * FL_PAGE_BYTES, 3, FL_PAGE_BYTES);
    atomic_store(&d.fail_status, FL_ETIMEDOUT);
    atomic_store(&d.fail_page, 2 + 1);
    struct failing f[3];
    pthread_t th[3];
    for (int i = 0; i < 3; i++) {
        f[i] = (struct failing){.d = &d};
        assert_int_equal(pthread_create(&th[i], NULL, fail_and_go_on, &f[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(th[i], NULL);
        assert_int_equal(f[i].failed, 200);
        assert_int_equal(f[i].served, 200);
    }
    toydev_stop(&d);
    toydev_free(&d);
}

static void device_that_does_not_answer_ends_in_a_timeout(void **state)
{
    (void)state;
    struct toydev d;
    struct toydev_cfg cfg = small;
    uint8_t v = 9;
    cfg.silent = true;
    cfg.access_deadline_ns = 50 * FL_NS_PER_MS;
    toydev_start(&d, &cfg);
    catch_bus();
    uint64_t before = fl_clock_ns();
    assert_int_equal(try_load(d.base, &v), BUS_MCEERR_AR);
    assert_true(fl_clock_ns() - before >= 50 * FL_NS_PER_MS);
    assert_int_equal(v, 9);
    assert_int_equal(farline_region_error(d.base), FL_ETIMEDOUT);
    /* The first MISS is still out: no second one is sent for this thread, and it fails too. */
    assert_int_equal(try_store(d.base + FL_PAGE_BYTES, 1), BUS_MCEERR_AR);
    toydev_stop(&d);
    assert_int_equal(d.misses, 1);
    toydev_free(&d);
}

static _Atomic bool late_go;

static void *answer_late(void *arg)
{
    struct coh_tracker *t = arg;
    struct coh_note n;
    for (int answered = 0; answered < 2;) {
        if (!t->ops->next(t, &n)) {
            usleep(200);
            continue;
        }
        if (n.kind != COH_NOTE_MISS)
            continue;
        if (answered == 0) {
            while (!atomic_load(&late_go))
                usleep(200);
            t->ops->resume(t, n.ticket, FL_EIO); /* of the access that has given up */
        } else {
            static const uint8_t page[FL_PAGE_BYTES] = {55};
            t->ops->install(t, 0, n.page, FL_MASK_ALL, page);
            t->ops->gate(t, 0, n.page, 1, FL_PROT_READ);
            t->ops->resume(t, n.ticket, FL_OK);
        }
        answered++;
    }
    t->ops->resume(t, 0, FL_EIO); /* nobody asked: nothing happens */
    t->ops->resume(t, 1000, FL_EIO);
    return NULL;
}

/* An answer that comes after the deadline does not fail, nor serve, a later access. */
static void late_answer_is_not_taken_for_another(void **state)
{
    (void)state;
    struct coh_tracker *t;
    struct coh_cfg cfg = {
        .threads_max = 1, .cached_pages_max = 8, .access_deadline_ns = 2 * FL_NS_PER_S};
    struct coh_region_cfg rc = {.len_bytes = 8 * FL_PAGE_BYTES};
    void *base;
    uint8_t v = 1;
    pthread_t th;
    cfg.access_deadline_ns = 100 * FL_NS_PER_MS;
    atomic_store(&late_go, false);
    assert_int_equal(coh_mprotect_new(&cfg, &t, NULL), FL_OK);
    assert_int_equal(t->ops->region_add(t, &rc, &base, NULL), FL_OK);
    catch_bus();
    assert_int_equal(pthread_create(&th, NULL, answer_late, t), 0);
    assert_int_equal(try_load(base, &v), BUS_MCEERR_AR);
    assert_int_equal(farline_region_error(base), FL_ETIMEDOUT);
    atomic_store(&late_go, true);
    int tries = 0;
    while (try_load((uint8_t *)base + FL_PAGE_BYTES, &v) != 0)
        assert_true(++tries < 50); /* a slow machine may miss the short deadline again */
    assert_int_equal(v, 55);
    assert_int_equal(farline_region_error(base), FL_ETIMEDOUT); /* never FL_EIO */
    pthread_join(th, NULL);
    t->ops->free(&t);
}

/* --- in a child: how the program dies -------------------------------------------------------- */

enum die {
    OUTSIDE,        /* store to no mapping at all */
    OUTSIDE_CLOSED, /* store to a closed page that is no region's */
    SENT,           /* kill(SIGSEGV) */
    JUMP,           /* executing a region */
    BUS_DEFAULT,    /* failed access, nobody handles SIGBUS */
    BUS_BLOCKED,    /* failed access, SIGBUS blocked */
    BUS_IGNORED,
    AFTER_FREE, /* a region that is gone */
};

static void die(enum die how)
{
    struct toydev d;
    struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    toydev_start(&d, &small);
    *(volatile uint8_t *)d.base = 1; /* traps work */
    void *closed = mmap(NULL, FL_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    atomic_store(&d.fail_status, FL_EPOISONED);
    atomic_store(&d.fail_page, 1 + 1);
    sigset_t bus;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    if (how == BUS_BLOCKED)
        pthread_sigmask(SIG_BLOCK, &bus, NULL);
    if (how == BUS_IGNORED)
        signal(SIGBUS, SIG_IGN);
    if (how == OUTSIDE)
        *nowhere = 1;
    if (how == OUTSIDE_CLOSED)
        *(volatile uint8_t *)closed = 1;
    if (how == SENT)
        kill(getpid(), SIGSEGV);
    if (how == JUMP)
        ((void (*)(void))(uintptr_t)d.base)(); // NOLINT
    if (how == BUS_DEFAULT || how == BUS_BLOCKED || how == BUS_IGNORED)
        *(volatile uint8_t *)(d.base + FL_PAGE_BYTES) = 1;
    if (how == AFTER_FREE) {
        volatile uint8_t *gone = d.base;
        toydev_stop(&d);
        toydev_free(&d);
        *gone = 1;
    }
}

static void expect_death(enum die how, int sig)
{
    pid_t pid = fork();
    if (pid == 0) {
        die(how);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != sig)
        fail_msg("case %d: status %#x, expected signal %d", (int)how, (unsigned)status, sig);
}

static void crashes_stay_crashes(void **state)
{
    (void)state;
    expect_death(OUTSIDE, SIGSEGV);
    expect_death(OUTSIDE_CLOSED, SIGSEGV);
    expect_death(SENT, SIGSEGV);
    expect_death(JUMP, SIGSEGV);
    expect_death(AFTER_FREE, SIGSEGV);
}

static void failed_access_that_nobody_handles_kills(void **state)
{
    (void)state;
    expect_death(BUS_DEFAULT, SIGBUS);
    expect_death(BUS_BLOCKED, SIGBUS);
    expect_death(BUS_IGNORED, SIGBUS);
}

/* --- handlers of the program's own ----------------------------------------------------------- */

static volatile sig_atomic_t seen_sig, seen_code, seen_masked;
static void *volatile seen_addr;
static sigjmp_buf out;

static void program_info(int sig, siginfo_t *si, void *uc)
{
    (void)uc;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    seen_masked = sigismember(&now, SIGSEGV) + 2 * sigismember(&now, SIGUSR1) +
                  4 * sigismember(&now, SIGUSR2);
    seen_sig = sig;
    seen_code = si->si_code;
    seen_addr = si->si_addr;
    siglongjmp(out, 1);
}

static void program_plain(int sig)
{
    seen_sig = sig;
    siglongjmp(out, 1);
}

static void program_handler_gets_what_is_not_ours(void **state)
{
    (void)state;
    struct toydev d;
    struct sigaction sa = {.sa_flags = SA_SIGINFO}, old;
    sa.sa_sigaction = program_info;
    sigaddset(&sa.sa_mask, SIGUSR1);
    assert_int_equal(sigaction(SIGSEGV, &sa, &old), 0);
    toydev_start(&d, &small);
    for (int i = 0; i < 3; i++) {
        seen_sig = 0;
        if (sigsetjmp(out, 1) == 0)
            *nowhere = 1;
        assert_int_equal(seen_sig, SIGSEGV);
        assert_int_equal(seen_code, SEGV_MAPERR);
        assert_ptr_equal(seen_addr, (void *)64);               // NOLINT
        assert_int_equal(seen_masked, 1 + 2);                  /* its own mask, not ours */
        *(volatile uint8_t *)(d.base + i * FL_PAGE_BYTES) = 1; /* traps go on */
    }
    toydev_stop(&d);
    toydev_free(&d);
    struct sigaction now;
    assert_int_equal(sigaction(SIGSEGV, &old, &now), 0); /* put back by free */
    assert_true(now.sa_sigaction == program_info);
}

static void plain_one_shot_handler_is_called_once(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct toydev d;
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        struct sigaction sa = {.sa_handler = program_plain, .sa_flags = (int)SA_RESETHAND};
        sigaction(SIGSEGV, &sa, NULL);
        toydev_start(&d, &small);
        if (sigsetjmp(out, 1) == 0)
            *nowhere = 1;
        if (seen_sig != SIGSEGV)
            _exit(1);
        *nowhere = 1;
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* SIG_IGN covers a signal that is sent, never a real fault. */
static void ignoring_holds_for_sent_signals_only(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct toydev d;
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_IGN);
        toydev_start(&d, &small);
        raise(SIGSEGV);
        *(volatile uint8_t *)d.base = 1;
        *nowhere = 1;
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A child does not share the region: it crashes cleanly instead of writing behind our back. */
static void child_has_no_region(void **state)
{
    (void)state;
    struct toydev d;
    void (*old)(int) = signal(SIGSEGV, SIG_DFL);
    toydev_start(&d, &small);
    *(volatile uint8_t *)d.base = 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0};
        setrlimit(RLIMIT_CORE, &none);
        *(volatile uint8_t *)d.base = 2;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_int_equal(*(volatile uint8_t *)d.base, 1);
    toydev_stop(&d);
    toydev_free(&d);
    signal(SIGSEGV, old);
}

int main(void)
{
    nowhere = (volatile uint8_t *)(uintptr_t)64; // NOLINT
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_access_is_a_bus_error_with_cause),
        cmocka_unit_test(each_thread_gets_its_own_error),
        cmocka_unit_test(device_that_does_not_answer_ends_in_a_timeout),
        cmocka_unit_test(late_answer_is_not_taken_for_another),
        cmocka_unit_test(crashes_stay_crashes),
        cmocka_unit_test(failed_access_that_nobody_handles_kills),
        cmocka_unit_test(program_handler_gets_what_is_not_ours),
        cmocka_unit_test(plain_one_shot_handler_is_called_once),
        cmocka_unit_test(ignoring_holds_for_sent_signals_only),
        cmocka_unit_test(child_has_no_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
