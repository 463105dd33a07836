/* SPDX-License-Identifier: Apache-2.0 */
/* Death, deadlines and fences of the libfabric port between real processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/real/fab.h"
#include "transport/ofi.h"
#include "transport/wire.h"

static const char *provider = "tcp";

/* --- death and deadlines ------------------------------------------------------------------------ */

static uint64_t kill_and_wait(struct pair *p)
{
    uint64_t t = fab_now_ns();

    fab_signal(p->c, SIGKILL);
    assert_true(fab_until(p->f, fab_is_down, 1, 5000));
    assert_int_equal(p->f->down_cause[1], FL_EPEERDEAD);
    return p->f->down_ns[1] - t;
}

static void expect_quick(uint64_t took_ns)
{
    /* An emulated processor is in no hurry; what would hide the death there lasts 5 s. */
    assert_in_range(took_ns, 1, (strcmp(provider, "verbs") == 0 ? 3000 : 100) * FL_NS_PER_MS);
}

static struct tp_cfg beating_cfg(void)
{
    struct tp_cfg cfg = fab_cfg(provider);
    bool emulated = strcmp(provider, "verbs") == 0;

    cfg.heartbeat_ns = (emulated ? 100 : 50) * FL_NS_PER_MS;
    cfg.heartbeat_miss_ns = (emulated ? 1000 : 400) * FL_NS_PER_MS;
    return cfg;
}

/** Silence is seen at the latest after this: emulated processors share one with whatever else runs
 * here, and get to a timer when they get to run. */
static uint64_t silence_max_ns(const struct tp_cfg *cfg)
{
    return (strcmp(provider, "verbs") == 0 ? 20 : 4) * cfg->heartbeat_miss_ns;
}

static void death_of_an_idle_peer_is_seen(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    expect_quick(kill_and_wait(&p));
    fab_send(p.f, 1, FL_MSG_OPEN_REQ, 1);
    fab_write(p.f, 2, 0, 64, FL_NS_PER_S);
    p.f->port->ops->fence(p.f->port, 1, 3);
    assert_true(fab_until(p.f, fab_has_done, 3, 2000));
    for (unsigned tag = 1; tag <= 3; tag++)
        assert_int_equal(fab_status(p.f, tag), FL_EPEERDEAD);
    assert_int_equal(p.f->down[1], 1);
    pair_free(&p);
}

/* Every operation in flight and in the queue is answered first, then peer_down, once. */
static void death_with_operations_in_flight(void **state)
{
    (void)state;
    enum { OPS = 200 };
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_signal(p.c, SIGSTOP); /* so that they really are in flight */
    for (unsigned i = 1; i <= OPS; i++)
        i % 2 ? fab_write(p.f, i, i * 4096, 4096, 30 * FL_NS_PER_S)
              : fab_read(p.f, i, i * 4096, 4096, 30 * FL_NS_PER_S);
    fab_until(p.f, fab_has_done, 1, 50);
    assert_int_equal(p.f->done_count, 0);
    expect_quick(kill_and_wait(&p));
    assert_int_equal(p.f->done_count, OPS);
    assert_int_equal(p.f->down_at_done[1], OPS);
    for (unsigned i = 1; i <= OPS; i++)
        assert_int_equal(fab_status(p.f, i), FL_EPEERDEAD);
    fab_until(p.f, fab_has_done, OPS + 1, 50);
    assert_int_equal(p.f->done_count, OPS);
    assert_int_equal(p.f->down[1], 1);
    pair_free(&p);
}

/* Nothing is stopped: on a device that serves by itself some may be done before the death, but each
 * is answered once, and the death is told once and last. */
static void death_beside_operations(void **state)
{
    (void)state;
    enum { OPS = 400 };
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    unsigned dead = 0;

    for (unsigned i = 1; i <= OPS; i++)
        i % 2 ? fab_write(p.f, i, i * 4096, 4096, 30 * FL_NS_PER_S)
              : fab_read(p.f, i, i * 4096, 4096, 30 * FL_NS_PER_S);
    kill_and_wait(&p);
    assert_int_equal(p.f->done_count, OPS);
    assert_int_equal(p.f->down_at_done[1], OPS);
    for (unsigned i = 1; i <= OPS; i++) {
        assert_true(fab_status(p.f, i) == FL_OK || fab_status(p.f, i) == FL_EPEERDEAD);
        dead += fab_status(p.f, i) == FL_EPEERDEAD;
    }
    assert_in_range(dead, 1, OPS); /* it really died among them */
    fab_until(p.f, fab_has_done, OPS + 1, 50);
    assert_int_equal(p.f->done_count, OPS);
    assert_int_equal(p.f->down[1], 1);
    pair_free(&p);
}

/* A child that inherited the sockets would keep them open: the death must be seen all the same. */
static void a_child_process_hides_no_death(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    pid_t grandchild = (pid_t)atoi(fab_ask(p.c, "grandchild"));

    expect_quick(kill_and_wait(&p));
    assert_int_equal(kill(grandchild, 0), 0); /* it really outlived its parent */
    kill(grandchild, SIGKILL);
    pair_free(&p);
}

static void silence_is_seen_within_the_heartbeat_bound(void **state)
{
    (void)state;
    struct tp_cfg cfg = beating_cfg();
    struct pair p = pair_up(&cfg);

    /* Idle for longer than the bound, and nobody is taken for dead. */
    assert_false(
        fab_until(p.f, fab_is_down, 1, (unsigned)(cfg.heartbeat_miss_ns / FL_NS_PER_MS) * 9 / 4));
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 0);
    fab_signal(p.c, SIGSTOP);
    uint64_t t = fab_now_ns();
    assert_true(fab_until(p.f, fab_is_down, 1, (unsigned)(silence_max_ns(&cfg) / FL_NS_PER_MS)));
    uint64_t took = p.f->down_ns[1] - t;
    assert_int_equal(p.f->down_cause[1], FL_ETIMEDOUT);
    assert_in_range(took, cfg.heartbeat_miss_ns - 2 * cfg.heartbeat_ns, silence_max_ns(&cfg));
    pair_free(&p);
}

/* The device serves memory without its process, unlike tcp; only messages wait for it. */
static void a_stopped_peer_still_serves_memory(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_ask(p.c, "fill 4096 4096 77");
    fab_signal(p.c, SIGSTOP);
    fab_read(p.f, 1, 4096, 4096, 5 * FL_NS_PER_S);
    memset(p.f->mem + 16384, 55, 4096);
    fab_write(p.f, 2, 16384, 4096, 5 * FL_NS_PER_S);
    fab_send(p.f, 3, FL_MSG_OPEN_REQ, 5);
    assert_true(fab_until(p.f, fab_has_done, 3, 8000));
    assert_int_equal(fab_status(p.f, 1), FL_OK);
    assert_int_equal(fab_status(p.f, 2), FL_OK);
    assert_int_equal(p.f->mem[8191], 77);
    assert_false(fab_until(p.f, fab_has_msgs, 1, 200));
    fab_signal(p.c, SIGCONT);
    assert_true(fab_until(p.f, fab_has_msgs, 1, 5000));
    assert_int_equal(atoi(fab_ask(p.c, "peek 20479")), 55);
    pair_free(&p);
}

/* Served memory is no sign of life: who is stopped is told as down within the heartbeat bound, and
 * what is asked of it afterwards fails, although its device would still answer. */
static void a_stopped_peer_is_down_though_it_serves(void **state)
{
    (void)state;
    struct tp_cfg cfg = beating_cfg();
    struct pair p = pair_up(&cfg);
    unsigned tag = 0, served = 0;

    fab_signal(p.c, SIGSTOP);
    uint64_t t = fab_now_ns();
    while (p.f->down[1] == 0 && fab_now_ns() - t < silence_max_ns(&cfg)) {
        fab_read(p.f, ++tag, 0, 4096, 5 * FL_NS_PER_S);
        assert_true(fab_until(p.f, fab_has_done, tag, 5000));
        served += fab_status(p.f, tag) == FL_OK;
    }
    assert_int_equal(p.f->down_cause[1], FL_ETIMEDOUT);
    assert_in_range(p.f->down_ns[1] - t, cfg.heartbeat_miss_ns - 2 * cfg.heartbeat_ns,
                    silence_max_ns(&cfg));
    assert_in_range(served, 1, tag);
    fab_read(p.f, tag + 1, 0, 4096, 5 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, tag + 1, 2000));
    assert_int_equal(fab_status(p.f, tag + 1), FL_EPEERDEAD);
    pair_free(&p);
}

/* The deadline is told once; the context stays out of use until the fence flushes it. */
static void a_deadline_against_a_stopped_peer(void **state)
{
    (void)state;
    enum { OPS = 40 }; /* 16 in the window, the rest waits */
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct tpo_port *port = (struct tpo_port *)p.f->port;

    fab_signal(p.c, SIGSTOP);
    for (unsigned i = 1; i <= OPS; i++)
        fab_read(p.f, i, i * 4096, 4096, 200 * FL_NS_PER_MS);
    uint64_t t = fab_now_ns();
    assert_true(fab_until(p.f, fab_has_done, OPS, 5000));
    assert_true(fab_now_ns() - t >= 100 * FL_NS_PER_MS);
    for (unsigned i = 1; i <= OPS; i++)
        assert_int_equal(fab_status(p.f, i), FL_ETIMEDOUT);
    assert_int_equal(port->fly_ops, cfg.window_ops); /* the provider still may write there */
    assert_int_equal(p.f->down[1], 0);
    fab_signal(p.c, SIGCONT);
    fab_ask(p.c, "peek 0");
    for (int i = 0; i < 500 && port->fly_ops != 0; i++)
        fab_until(p.f, fab_has_done, FAB_EVENTS_MAX, 10);
    assert_int_equal(port->fly_ops, 0);
    assert_int_equal(p.f->done_count, OPS); /* late completions are told to nobody */
    pair_free(&p);
}

/* --- fence ------------------------------------------------------------------------------------- */

static void a_fence_flushes_and_goes_on(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    for (unsigned round = 0; round < 5; round++) {
        uint64_t tag = 100 * round;
        unsigned before = p.f->done_count;
        for (unsigned i = 1; i <= 40; i++)
            fab_write(p.f, tag + i, i * 4096, 4096, 5 * FL_NS_PER_S);
        p.f->port->ops->fence(p.f->port, 1, tag + 50);
        fab_write(p.f, tag + 60, 0, 64, 5 * FL_NS_PER_S); /* waits for the new connections */
        assert_true(fab_until(p.f, fab_has_done, before + 42, 8000));
        assert_int_equal(fab_status(p.f, tag + 50), FL_OK);
        assert_int_equal(fab_status(p.f, tag + 60), FL_OK);
        for (unsigned i = 0; i < 40; i++) /* all of them before the fence's own answer */
            assert_in_range(p.f->done[before + i].tag, tag + 1, tag + 40);
        for (unsigned i = 1; i <= 40; i++) {
            int status = fab_status(p.f, tag + i);
            assert_true(status == FL_OK || status == FL_EFENCED);
        }
    }
    fab_send(p.f, 9000, FL_MSG_OPEN_REQ, 5);
    assert_true(fab_until(p.f, fab_has_msgs, 1, 5000));
    /* Neither owner is told of a death. */
    assert_int_equal(p.f->down[1], 0);
    assert_int_equal(p.f->up[1], 1);
    assert_int_equal(atoi(fab_ask(p.c, "count up")), 1);
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 0);
    pair_free(&p);
}

/* The write that a stopped peer holds in its sockets must not land once the fence is done. The
 * peer stops with the old write under way; while it is stopped the fence is requested; it goes on,
 * the fence ends, the new value is written, and whatever else was under way has had its time. */
static void an_old_write_never_lands_after_the_fence(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    enum { LEN = 2 << 20 }; /* more than the sockets hold: the rest waits in the provider */
    cfg.window_bytes = 16 << 20;
    struct pair p = pair_up(&cfg);

    fab_signal(p.c, SIGSTOP);
    memset(p.f->mem, 0x11, LEN);
    fab_write(p.f, 1, 0, LEN, 300 * FL_NS_PER_MS);
    assert_true(fab_until(p.f, fab_has_done, 1, 3000));
    assert_int_equal(fab_status(p.f, 1), FL_ETIMEDOUT);
    p.f->port->ops->fence(p.f->port, 1, 2);
    assert_false(fab_until(p.f, fab_has_done, 2, 200)); /* a stopped peer cannot acknowledge */
    fab_signal(p.c, SIGCONT);
    assert_true(fab_until(p.f, fab_has_done, 2, 8000));
    assert_int_equal(fab_status(p.f, 2), FL_OK);
    memset(p.f->mem, 0x22, LEN);
    fab_write(p.f, 3, 0, LEN, 5 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 3, 8000));
    assert_int_equal(fab_status(p.f, 3), FL_OK);
    unsigned want = fab_sum(p.f->mem, LEN);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(strtoul(fab_ask(p.c, "sum 0 %d", LEN), NULL, 10), want);
        fab_until(p.f, fab_has_done, FAB_EVENTS_MAX, 20);
    }
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 0);
    pair_free(&p);
}

/* What revokes is the target: with the fence done, the old key opens nothing even on the new
 * connections. */
static void a_fence_revokes_the_old_key(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct tpo_port *port = (struct tpo_port *)p.f->port;
    uint64_t old = port->peers[1].rma_key;

    p.f->port->ops->fence(p.f->port, 1, 1);
    assert_true(fab_until(p.f, fab_has_done, 1, 8000));
    assert_int_equal(fab_status(p.f, 1), FL_OK);
    assert_true(port->peers[1].rma_key != old);
    port->peers[1].rma_key = old;
    memset(p.f->mem, 99, 4096);
    fab_write(p.f, 2, 0, 4096, 2 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 2, 5000));
    assert_int_not_equal(fab_status(p.f, 2), FL_OK);
    assert_int_equal(atoi(fab_ask(p.c, "peek 0")), 0);
    pair_free(&p);
}

static void a_fence_against_a_stopped_peer_ends_in_time(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    cfg.fence_deadline_ns = 300 * FL_NS_PER_MS;
    struct pair p = pair_up(&cfg);

    fab_signal(p.c, SIGSTOP);
    p.f->port->ops->fence(p.f->port, 1, 1);
    fab_write(p.f, 2, 0, 64, 20 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 2, 3000));
    assert_int_equal(fab_status(p.f, 1), FL_ETIMEDOUT);
    assert_int_equal(fab_status(p.f, 2), FL_ETIMEDOUT);
    fab_write(p.f, 3, 0, 64, 20 * FL_NS_PER_S); /* no connection now */
    assert_true(fab_until(p.f, fab_has_done, 3, 3000));
    assert_int_equal(fab_status(p.f, 3), FL_ECONN);
    fab_signal(p.c, SIGCONT);
    fab_ask(p.c, "peek 0");
    p.f->port->ops->fence(p.f->port, 1, 4); /* and again, once it lives */
    assert_true(fab_until(p.f, fab_has_done, 4, 3000));
    assert_int_equal(fab_status(p.f, 4), FL_OK);
    fab_read(p.f, 5, 0, 64, 5 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 5, 5000));
    assert_int_equal(fab_status(p.f, 5), FL_OK);
    assert_int_equal(p.f->down[1], 0);
    pair_free(&p);
}

static int use_tcp(void **state)
{
    (void)state;
    provider = "tcp";
    return 0;
}

static int use_sockets(void **state)
{
    (void)state;
    provider = "sockets";
    return 0;
}

static int use_verbs(void **state)
{
    (void)state;
    provider = "verbs";
    return 0;
}

#define ON(test, fabric)                                                                           \
    {                                                                                              \
#test " (" #fabric ")", test, use_##fabric, NULL, NULL                                     \
    }

int main(int argc, char **argv)
{
    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        ON(death_of_an_idle_peer_is_seen, tcp),
        ON(death_with_operations_in_flight, tcp),
        ON(death_beside_operations, tcp),
        ON(a_child_process_hides_no_death, tcp),
        ON(silence_is_seen_within_the_heartbeat_bound, tcp),
        ON(a_deadline_against_a_stopped_peer, tcp),
        ON(a_fence_flushes_and_goes_on, tcp),
        ON(an_old_write_never_lands_after_the_fence, tcp),
        ON(a_fence_revokes_the_old_key, tcp),
        ON(a_fence_against_a_stopped_peer_ends_in_time, tcp),
        ON(death_of_an_idle_peer_is_seen, sockets),
        ON(a_fence_flushes_and_goes_on, sockets),
    };
    /* The required outcome of a stopped peer differs: its device serves reads and writes, so what
     * keeps operations in flight by stopping it has no place here. A dead link does (test_link). */
    const struct CMUnitTest verbs[] = {
        ON(death_of_an_idle_peer_is_seen, verbs),
        ON(death_beside_operations, verbs),
        ON(a_child_process_hides_no_death, verbs),
        ON(silence_is_seen_within_the_heartbeat_bound, verbs),
        ON(a_stopped_peer_still_serves_memory, verbs),
        ON(a_stopped_peer_is_down_though_it_serves, verbs),
        ON(a_fence_flushes_and_goes_on, verbs),
        ON(a_fence_revokes_the_old_key, verbs),
        ON(a_fence_against_a_stopped_peer_ends_in_time, verbs),
    };

    if (fab_verbs_addr() != NULL) /* a guest of ci/rxe-guest: its kernel is there for this */
        return cmocka_run_group_tests(verbs, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
