/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port over a link that loses, delays and doubles: stamped pages, answers to messages, and what
 * is required when the link is dead for a while. Between two hosts (FARLINE_FAB_SERVER) the faults
 * are those of FARLINE_RXE_NET's queue on both; between processes of this machine there are none
 * and only the traffic is checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>

#include <cmocka.h>

#include "tests/real/fab.h"
#include "tests/real/fab_remote.h"

enum { ROUNDS = 24, AREA = 1 << 20, MESSAGES = 40 };

#define LONG_NS (60 * FL_NS_PER_S)
#define LINK "tc qdisc change dev $FARLINE_RXE_NET root netem "
#define LOSSY "loss 2% delay 1ms duplicate 2%"

static const char *provider = "tcp";

static struct tp_cfg link_cfg(void)
{
    struct tp_cfg cfg = fab_cfg(provider);

    /* A lost packet is sent again after 67 ms; the other end takes both numbers from this one. */
    cfg.rdma = (struct tp_rdma){
        .set = true, .retry = 7, .rnr_retry = 7, .ack_timeout_ns = 60 * FL_NS_PER_MS};

    /* What carries a connection's set-up waits 4 s before it asks again. */
    cfg.connect_deadline_ns = 30 * FL_NS_PER_S;
    cfg.fence_deadline_ns = 40 * FL_NS_PER_S;
    return cfg;
}

/** The queue of the link at this end, or at both. */
static void faults(const char *netem, bool both)
{
    char cmd[160];

    snprintf(cmd, sizeof(cmd), LINK "%s", netem);
    if (both && fab_remote())
        fab_remote_run(cmd);
    if (fab_remote())
        assert_int_equal(system(cmd), 0);
}

static void stamp(uint8_t *at, uint32_t len, unsigned round)
{
    for (uint32_t i = 0; i < len; i++)
        at[i] = (uint8_t)(i * 7 + round * 31 + i / 256);
}

/* Each round writes a stamp, asks the owner of the memory what arrived, and reads it back. */
static void stamped_pages_cross_the_link(void **state)
{
    (void)state;
    static const uint32_t lens[] = {64, 4096, 300, 65536};
    struct tp_cfg cfg = link_cfg();
    struct pair p = pair_up(&cfg);
    unsigned tag = 0;

    faults(LOSSY, true);
    for (unsigned r = 0; r < ROUNDS; r++) {
        uint32_t len = lens[r % 4];
        uint64_t off = (uint64_t)r * 65536 % AREA;
        stamp(p.f->mem + off, len, r);
        unsigned want = fab_sum(p.f->mem + off, len);
        fab_write(p.f, ++tag, off, len, LONG_NS);
        assert_true(fab_until(p.f, fab_has_done, tag, 60000));
        assert_int_equal(fab_status(p.f, tag), FL_OK);
        assert_int_equal(strtoul(fab_ask(p.c, "sum %lu %u", off, len), NULL, 10), want);
        memset(p.f->mem + off, 0, len);
        fab_read(p.f, ++tag, off, len, LONG_NS);
        assert_true(fab_until(p.f, fab_has_done, tag, 60000));
        assert_int_equal(fab_status(p.f, tag), FL_OK);
        assert_int_equal(fab_sum(p.f->mem + off, len), want);
    }
    assert_int_equal(p.f->down[1], 0);
    pair_free(&p);
}

/* Many at once: what is doubled or sent again changes nothing that came later. */
static void a_window_of_writes_crosses_the_link(void **state)
{
    (void)state;
    enum { PAGES = 96 };
    struct tp_cfg cfg = link_cfg();
    struct pair p = pair_up(&cfg);

    faults(LOSSY, true);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < PAGES; i++) {
            stamp(p.f->mem + i * 4096, 4096, i + 100 * round);
            fab_write(p.f, 1 + round * PAGES + i, i * 4096, 4096, LONG_NS);
        }
        assert_true(fab_until(p.f, fab_has_done, (round + 1) * PAGES, 120000));
        for (unsigned i = 0; i < PAGES; i++)
            assert_int_equal(fab_status(p.f, 1 + round * PAGES + i), FL_OK);
        assert_int_equal(strtoul(fab_ask(p.c, "sum 0 %d", PAGES * 4096), NULL, 10),
                         fab_sum(p.f->mem, PAGES * 4096));
    }
    assert_int_equal(p.f->down[1], 0);
    pair_free(&p);
}

/* Each message is heard once and answered once. */
static void messages_cross_the_link_once(void **state)
{
    (void)state;
    struct tp_cfg cfg = link_cfg();
    struct pair p = pair_up(&cfg);

    faults(LOSSY, true);
    for (unsigned i = 1; i <= MESSAGES; i++) {
        fab_send(p.f, i, FL_MSG_OPEN_REQ, i);
        assert_true(fab_until(p.f, fab_has_done, i, 60000));
        assert_int_equal(fab_status(p.f, i), FL_OK);
        assert_true(fab_until(p.f, fab_has_msgs, i, 60000));
        assert_int_equal(p.f->last_msg.a, i);
    }
    assert_int_equal(atoi(fab_ask(p.c, "count msg")), MESSAGES);
    fab_until(p.f, fab_has_msgs, MESSAGES + 1, 200);
    assert_int_equal(p.f->msg[1], MESSAGES);
    pair_free(&p);
}

/* Nothing comes through any more: deadlines end operations, silence ends the peer. */
static void a_dead_link_is_seen_within_the_heartbeat_bound(void **state)
{
    (void)state;
    struct tp_cfg cfg = link_cfg();
    cfg.heartbeat_ns = FL_NS_PER_S; /* longer than an emulated processor is away */
    cfg.heartbeat_miss_ns = 4 * FL_NS_PER_S;
    cfg.rdma.set = false; /* the device itself would give up after 16 s */
    struct pair p = pair_up(&cfg);

    /* Both ends, or the other one's farewell comes through. Its own mends itself: nobody can ask. */
    fab_remote_run("{ sleep 1; " LINK "loss 100%; sleep 16; " LINK "limit 1000; } >/dev/null &");
    faults("loss 100%", false);
    uint64_t t = fab_now_ns();
    fab_read(p.f, 1, 0, 4096, FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 1, 10000));
    assert_int_equal(fab_status(p.f, 1), FL_ETIMEDOUT);
    assert_true(fab_until(p.f, fab_is_down, 1, 20000));
    assert_int_equal(p.f->down_cause[1], FL_ETIMEDOUT);
    assert_in_range(p.f->down_ns[1] - t, cfg.heartbeat_miss_ns - 2 * cfg.heartbeat_ns,
                    4 * cfg.heartbeat_miss_ns);
    faults("limit 1000", false);
    for (int i = 0; i < 500 && atoi(fab_ask(p.c, "count down")) == 0; i++)
        fab_until(p.f, fab_has_done, FAB_EVENTS_MAX, 20);
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 1);
    pair_free(&p);
}

/* Who asks for fewer and shorter tries hears of a dead link from the device, without heartbeats: two
 * of 131 ms each instead of seven of 2 s. */
static void retries_end_a_connection_over_a_dead_link(void **state)
{
    (void)state;
    struct tp_cfg cfg = link_cfg();
    cfg.rdma.retry = 2;
    cfg.rdma.ack_timeout_ns = 100 * FL_NS_PER_MS;
    struct pair p = pair_up(&cfg);

    faults("loss 100%", false);
    uint64_t t = fab_now_ns();
    fab_read(p.f, 1, 0, 4096, LONG_NS);
    assert_true(fab_until(p.f, fab_is_down, 1, 60000));
    assert_int_equal(p.f->down_cause[1], FL_EPEERDEAD);
    assert_int_equal(fab_status(p.f, 1), FL_EPEERDEAD);
    assert_in_range(p.f->down_ns[1] - t, 131 * FL_NS_PER_MS, 8 * FL_NS_PER_S);
    faults("limit 1000", false);
    pair_free(&p);
}

/* The old write is in the device, which sends it again and again; the link comes back, the fence
 * ends, and only what was written after it is ever seen. */
static void an_old_write_never_lands_after_the_fence(void **state)
{
    (void)state;
    enum { LEN = 65536 };
    struct tp_cfg cfg = link_cfg();
    struct pair p = pair_up(&cfg);

    faults("loss 100%", false);
    memset(p.f->mem, 0x11, LEN);
    fab_write(p.f, 1, 0, LEN, 300 * FL_NS_PER_MS);
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    assert_int_equal(fab_status(p.f, 1), FL_ETIMEDOUT);
    p.f->port->ops->fence(p.f->port, 1, 2);
    assert_false(fab_until(p.f, fab_has_done, 2, 300)); /* nothing comes through */
    faults("limit 1000", false);
    assert_true(fab_until(p.f, fab_has_done, 2, 45000));
    assert_int_equal(fab_status(p.f, 2), FL_OK);
    memset(p.f->mem, 0x22, LEN);
    fab_write(p.f, 3, 0, LEN, LONG_NS);
    assert_true(fab_until(p.f, fab_has_done, 3, 60000));
    assert_int_equal(fab_status(p.f, 3), FL_OK);
    unsigned want = fab_sum(p.f->mem, LEN);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(strtoul(fab_ask(p.c, "sum 0 %d", LEN), NULL, 10), want);
        fab_until(p.f, fab_has_done, FAB_EVENTS_MAX, 100);
    }
    assert_int_equal(p.f->down[1], 0);
    pair_free(&p);
}

/* Also after a failed test the next one begins with a link that works. */
static int mend(void **state)
{
    (void)state;
    faults("limit 1000", false);
    if (fab_remote())
        fab_remote_run(LINK "limit 1000");
    return 0;
}

#define ON(test) cmocka_unit_test_setup_teardown(test, mend, mend)

int main(int argc, char **argv)
{
    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    child = fab_server_main(argc, argv);
    if (child >= 0)
        return child;
    const struct CMUnitTest traffic[] = {
        ON(stamped_pages_cross_the_link),
        ON(a_window_of_writes_crosses_the_link),
        ON(messages_cross_the_link_once),
    };
    const struct CMUnitTest two_hosts[] = {
        ON(stamped_pages_cross_the_link),
        ON(a_window_of_writes_crosses_the_link),
        ON(messages_cross_the_link_once),
        ON(a_dead_link_is_seen_within_the_heartbeat_bound),
        ON(retries_end_a_connection_over_a_dead_link),
        ON(an_old_write_never_lands_after_the_fence),
    };

    if (fab_verbs_addr() != NULL)
        provider = "verbs";
    if (!fab_remote())
        return cmocka_run_group_tests(traffic, NULL, NULL);
    int failed = cmocka_run_group_tests(two_hosts, NULL, NULL);
    fab_remote_quit();
    return failed;
}
