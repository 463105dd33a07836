/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter stack over libfabric's connections: two ports in this process, each under a stack of
 * its own, on one event loop. What the simulated fabric cannot show: that memory of the stack is
 * registered with an adapter, that a severed connection is one that the provider closes, that a
 * muted port is heard of no more, and that all of it can be connected again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <event2/event.h>

#include "emu/base/clock.h"
#include "tests/real/fab.h"
#include "transport/filter.h"

enum { MEM_BYTES = 64 * FL_PAGE_BYTES, WAIT_MS = 10000, TOLD_MAX = 256 };

static const char *provider;

struct told {
    uint64_t tag;
    int status;
};

struct side {
    struct tp_filters *f;
    struct tp_port *port;
    struct event *timer;
    struct tp_addr addr;
    uint8_t *local, *mem;
    struct told done[TOLD_MAX];
    unsigned done_count, up, down, credits, msgs;
    int down_cause;
    uint64_t landed, last_seq[TOLD_MAX];
    uint8_t last_byte;
};

static struct event_base *loop;
static struct side side[2];

/* --- one side ------------------------------------------------------------------------------- */

static void on_done(void *arg, uint64_t tag, int status)
{
    struct side *s = arg;
    assert_true(s->done_count < TOLD_MAX);
    s->done[s->done_count++] = (struct told){tag, status};
}

static void on_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                   size_t bytes)
{
    struct side *s = arg;
    (void)peer;
    assert_true(s->msgs < TOLD_MAX);
    s->last_seq[s->msgs++] = m->seq;
    s->last_byte = bytes ? payload[0] : 0;
}

static void on_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    (void)peer;
    (void)cls;
    ((struct side *)arg)->credits++;
}

static void on_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    (void)peer;
    (void)incarnation;
    ((struct side *)arg)->up++;
}

static void on_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    struct side *s = arg;
    (void)peer;
    (void)incarnation;
    s->down++;
    s->down_cause = cause;
}

static void on_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    (void)peer;
    ((struct side *)arg)->landed += bytes;
}

static uint64_t env_now(void *arg)
{
    (void)arg;
    return fl_clock_ns();
}

static void env_wake(void *arg, uint64_t t_ns)
{
    struct side *s = arg;
    uint64_t now = fl_clock_ns(), us = t_ns > now ? (t_ns - now) / FL_NS_PER_US + 1 : 0;
    struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    evtimer_add(s->timer, &tv);
}

static void timer_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tp_filters_run(((struct side *)arg)->f);
}

static void side_make(uint16_t id, struct tp_cfg cfg)
{
    struct side *s = &side[id];
    struct tp_handler h = {s, on_done, on_msg, on_credit, on_up, on_down, on_landed};
    struct tp_filter_env env = {.arg = s, .now_ns = env_now, .wake_at = env_wake};
    struct tp_port *below;
    struct fl_errmsg err = {{0}};
    *s = (struct side){.timer = evtimer_new(loop, timer_due, s)};
    s->local = aligned_alloc(FL_PAGE_BYTES, MEM_BYTES);
    s->mem = aligned_alloc(FL_PAGE_BYTES, MEM_BYTES);
    memset(s->local, 0, MEM_BYTES);
    memset(s->mem, 0, MEM_BYTES);
    cfg.self = id;
    s->f = tp_filters_new(&env, id, 2, 1, &h);
    assert_non_null(s->f);
    if (tp_ofi_new(loop, &cfg, tp_filters_handler(s->f), &below, &err) != FL_OK)
        fail_msg("%s", err.text);
    s->port = tp_filters_over(s->f, below);
    assert_int_equal(s->port->ops->reg(s->port, s->local, MEM_BYTES, &err), FL_OK);
    assert_int_equal(s->port->ops->expose(s->port, s->mem, MEM_BYTES, &err), FL_OK);
    assert_int_equal(s->port->ops->listen(s->port, &s->addr, &err), FL_OK);
}

/* --- waiting for events --------------------------------------------------------------------- */

static void wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/** Runs the loop until @cond or @ms have passed; whether it came true. */
static bool until(bool (*cond)(uint64_t arg), uint64_t arg, unsigned ms)
{
    uint64_t end = fl_clock_ns() + ms * FL_NS_PER_MS;
    struct event *t = evtimer_new(loop, wake, NULL);
    while (!cond(arg) && fl_clock_ns() < end) {
        uint64_t us = (end - fl_clock_ns()) / FL_NS_PER_US + 1;
        struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
        evtimer_add(t, &tv);
        event_base_loop(loop, EVLOOP_ONCE);
    }
    event_free(t);
    return cond(arg);
}

static bool both_up(uint64_t times)
{
    return side[0].up >= times && side[1].up >= times;
}

static bool both_down(uint64_t times)
{
    return side[0].down >= times && side[1].down >= times;
}

static int status_of(uint64_t tag)
{
    for (unsigned i = 0; i < side[0].done_count; i++)
        if (side[0].done[i].tag == tag)
            return side[0].done[i].status;
    return 1;
}

static bool is_done(uint64_t tag)
{
    return status_of(tag) != 1;
}

static bool has_msgs(uint64_t n)
{
    return side[1].msgs >= n;
}

static bool has_landed(uint64_t bytes)
{
    return side[1].landed >= bytes;
}

static bool has_credit(uint64_t n)
{
    return side[0].credits >= n;
}

static bool is_past(uint64_t t_ns)
{
    return fl_clock_ns() >= t_ns;
}

static void pair_connect(uint64_t times)
{
    struct fl_errmsg err = {{0}};
    if (side[0].port->ops->connect(side[0].port, 1, &side[1].addr, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_true(until(both_up, times, WAIT_MS));
}

static void pair_new(uint64_t heartbeat_ms)
{
    struct tp_cfg cfg = fab_cfg(provider);
    cfg.heartbeat_ns = heartbeat_ms * FL_NS_PER_MS;
    cfg.heartbeat_miss_ns = 10 * cfg.heartbeat_ns;
    loop = event_base_new();
    for (uint16_t i = 0; i < 2; i++)
        side_make(i, cfg);
    pair_connect(1);
}

static void pair_end(void)
{
    /* Two ports on one thread cannot say goodbye to each other. */
    unsigned down = side[0].down;
    side[0].port->ops->sever(side[0].port, 1, FL_ECONN);
    until(both_down, down + 1, 1000);
    for (int i = 0; i < 2; i++) {
        side[i].port->ops->close(&side[i].port);
        event_free(side[i].timer);
        free(side[i].local);
        free(side[i].mem);
    }
    event_base_free(loop);
}

/* --- what node 0 does ----------------------------------------------------------------------- */

static void write_page(uint64_t tag, uint32_t page, uint8_t byte, unsigned deadline_ms)
{
    struct tp_rma r = {.tag = tag,
                       .peer = 1,
                       .cls = FL_NORMAL,
                       .last = 1,
                       .announce_bytes = FL_PAGE_BYTES,
                       .remote_off = (uint64_t)page * FL_PAGE_BYTES,
                       .local = side[0].local + (size_t)page * FL_PAGE_BYTES,
                       .len_bytes = FL_PAGE_BYTES,
                       .deadline_ns = deadline_ms * FL_NS_PER_MS};
    memset(r.local, byte, FL_PAGE_BYTES);
    side[0].port->ops->write(side[0].port, &r);
}

static void read_page(uint64_t tag, uint32_t page)
{
    struct tp_rma r = {.tag = tag,
                       .peer = 1,
                       .cls = FL_NORMAL,
                       .remote_off = (uint64_t)page * FL_PAGE_BYTES,
                       .local = side[0].local + (size_t)page * FL_PAGE_BYTES,
                       .len_bytes = FL_PAGE_BYTES,
                       .deadline_ns = FL_NS_PER_S};
    side[0].port->ops->read(side[0].port, &r);
}

/** A log batch with a line of @byte. */
static void send_line(uint64_t tag, uint64_t seq, uint8_t byte)
{
    static struct fl_msg m;
    static uint8_t page[FL_PAGE_BYTES];
    const uint8_t *lines[1] = {page};
    m = (struct fl_msg){.type = FL_MSG_LOG_BATCH, .seq = seq, .entry_count = 1};
    m.entries[0].mask = 1;
    memset(page, byte, sizeof page);
    side[0].port->ops->send(side[0].port, 1, &m, lines, tag);
    memset(page, 0, sizeof page);
}

static void arm(uint32_t id, struct tp_fault t)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(tp_filters_arm(side[i].f, id, &t), FL_OK);
}

static void disarm(uint32_t id)
{
    for (int i = 0; i < 2; i++)
        tp_filters_disarm(side[i].f, id);
}

static uint64_t fired(uint32_t id)
{
    return tp_filters_fired(side[0].f, id) + tp_filters_fired(side[1].f, id);
}

static uint8_t byte_at(uint32_t page)
{
    return side[1].mem[(size_t)page * FL_PAGE_BYTES];
}

/** A write, a read and a message pass. */
static void works(uint64_t tag)
{
    unsigned msgs = side[1].msgs;
    write_page(tag, 60, (uint8_t)tag, 5000);
    assert_true(until(is_done, tag, WAIT_MS));
    assert_int_equal(status_of(tag), FL_OK);
    assert_int_equal(byte_at(60), (uint8_t)tag);
    read_page(tag + 1, 60);
    send_line(tag + 2, tag, 9);
    assert_true(until(is_done, tag + 1, WAIT_MS) && until(has_msgs, msgs + 1, WAIT_MS));
    assert_int_equal(status_of(tag + 1), FL_OK);
    assert_int_equal(side[0].local[60 * FL_PAGE_BYTES], (uint8_t)tag);
}

/* --- tests ---------------------------------------------------------------------------------- */

static void a_delay_holds_both_ways_and_keeps_order(void **state)
{
    (void)state;
    pair_new(0);
    arm(1, (struct tp_fault){TP_FAULT_DELAY, .from = 0, .to = 1, .by_ns = 30 * FL_NS_PER_MS});
    arm(2, (struct tp_fault){TP_FAULT_DELAY, .from = 1, .to = 0, .by_ns = 30 * FL_NS_PER_MS});
    uint64_t start = fl_clock_ns();
    write_page(1, 3, 0x33, 5000);
    for (uint64_t seq = 1; seq <= 20; seq++)
        send_line(100 + seq, seq, (uint8_t)seq);
    assert_true(until(has_msgs, 20, WAIT_MS));
    assert_true(fl_clock_ns() - start >= 30 * FL_NS_PER_MS);
    assert_true(until(is_done, 1, WAIT_MS));
    assert_true(fl_clock_ns() - start >= 60 * FL_NS_PER_MS);
    assert_int_equal(status_of(1), FL_OK);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(side[1].last_seq[i], i + 1);
    assert_int_equal(side[1].last_byte, 20);
    assert_int_equal(fired(1), 21);
    disarm(1);
    disarm(2);
    works(200);
    pair_end();
}

static void a_cut_heals(void **state)
{
    (void)state;
    pair_new(0);
    arm(1, (struct tp_fault){TP_FAULT_CUT, .from = 0, .to = 1});
    write_page(1, 1, 0x11, 30);
    assert_true(until(is_done, 1, WAIT_MS));
    assert_int_equal(status_of(1), FL_ETIMEDOUT);
    side[0].port->ops->fence(side[0].port, 1, 2);
    assert_false(until(is_done, 2, 20));
    disarm(1);
    assert_true(until(is_done, 2, WAIT_MS));
    assert_int_equal(status_of(2), FL_OK);
    arm(1, (struct tp_fault){TP_FAULT_CUT, .from = 1, .to = 0});
    write_page(3, 3, 0x33, 300);
    assert_true(until(is_done, 3, WAIT_MS));
    assert_int_equal(status_of(3), FL_ETIMEDOUT);
    assert_int_equal(byte_at(1), 0);
    assert_int_equal(byte_at(3), 0x33); /* only its acknowledgement was cut off */
    disarm(1);
    works(100);
    pair_end();
}

/* Heartbeats do not pass: both ends notice, and can be connected again when it is over. */
static void a_long_cut_is_noticed(void **state)
{
    (void)state;
    pair_new(20);
    assert_false(until(both_down, 1, 400)); /* heartbeats pass */
    arm(1, (struct tp_fault){TP_FAULT_CUT, .from = 0, .to = 1});
    assert_true(until(both_down, 1, WAIT_MS));
    assert_true(fired(1) > 0);
    struct fl_errmsg err;
    assert_int_equal(side[0].port->ops->connect(side[0].port, 1, &side[1].addr, &err), FL_OK);
    assert_false(until(both_up, 2, 50));
    disarm(1);
    assert_true(until(both_up, 2, WAIT_MS));
    works(100);
    pair_end();
}

static void a_muted_port_returns_no_credits(void **state)
{
    (void)state;
    pair_new(0);
    side[1].port->ops->mute(side[1].port, 0, true);
    uint64_t tag = 1;
    do
        send_line(tag, tag, 1);
    while (until(is_done, tag, WAIT_MS) && status_of(tag++) == FL_OK && tag < 50);
    assert_int_equal(status_of(tag - 1), FL_EAGAIN);
    assert_true(until(has_msgs, tag - 2, WAIT_MS));
    assert_int_equal(side[0].credits, 0);
    side[1].port->ops->mute(side[1].port, 0, false);
    assert_true(until(has_credit, 1, WAIT_MS));
    works(100);
    pair_end();
}

static void a_duplicate_arrives_twice(void **state)
{
    (void)state;
    pair_new(0);
    arm(1, (struct tp_fault){TP_FAULT_DUPLICATE, .from = 0, .to = 1, .count = 1});
    arm(2, (struct tp_fault){TP_FAULT_REORDER, .from = 0, .to = 1, .count = 1,
                             .by_ns = 20 * FL_NS_PER_S});
    send_line(1, 5, 0x55);
    send_line(2, 6, 0x66);
    send_line(3, 7, 0x77);
    assert_true(until(has_msgs, 3, WAIT_MS));
    assert_int_equal(side[1].last_seq[0], 6);
    assert_int_equal(side[1].last_seq[1], 5);
    assert_int_equal(side[1].last_seq[2], 7);
    arm(3, (struct tp_fault){TP_FAULT_DUPLICATE, .from = 0, .to = 1, .count = 1});
    send_line(4, 8, 0x88);
    assert_true(until(has_msgs, 5, WAIT_MS));
    assert_int_equal(side[1].last_seq[3], 8);
    assert_int_equal(side[1].last_seq[4], 8);
    assert_int_equal(side[1].last_byte, 0x88);
    assert_int_equal(fired(2) + fired(3), 2);
    pair_end();
}

/* Dropped, cut short, corrupted: refused, both ends hear it, and a new connection works. */
static void a_spoiled_message_ends_the_connection(void **state)
{
    (void)state;
    const enum tp_fault_kind kinds[] = {TP_FAULT_CORRUPT, TP_FAULT_TRUNCATE, TP_FAULT_DROP};
    pair_new(0);
    for (uint32_t i = 0; i < 3; i++) {
        unsigned msgs = side[1].msgs;
        arm(i, (struct tp_fault){kinds[i], .from = 0, .to = 1, .count = 1});
        send_line(10 + i, i, 0x10);
        assert_true(until(both_down, i + 1, WAIT_MS));
        assert_int_equal(side[1].msgs, msgs);
        int cause = side[1].down_cause;
        if (kinds[i] == TP_FAULT_DROP)
            assert_int_equal(cause, FL_ECONN);
        else
            assert_true(cause == FL_ECORRUPT || cause == FL_EPROTO || cause == FL_EVERSION);
        assert_int_equal(side[0].down, i + 1);
        assert_int_equal(side[1].down, i + 1);
        assert_int_equal(fired(i), 1);
        pair_connect(i + 2);
        works(100 + 10 * i);
    }
    pair_end();
}

static void completions_lie(void **state)
{
    (void)state;
    pair_new(0);
    arm(1, (struct tp_fault){TP_FAULT_DONE_LOST, .from = 0, .to = 1, .count = 1});
    write_page(1, 1, 0x11, 300);
    assert_true(until(is_done, 1, WAIT_MS));
    assert_int_equal(status_of(1), FL_ETIMEDOUT);
    assert_int_equal(byte_at(1), 0x11);
    arm(2, (struct tp_fault){TP_FAULT_DONE_ERROR, .from = 0, .to = 1, .count = 1});
    write_page(2, 2, 0x22, 5000);
    assert_true(until(is_done, 2, WAIT_MS));
    assert_int_equal(status_of(2), FL_EIO);
    assert_int_equal(byte_at(2), 0x22);
    arm(3, (struct tp_fault){TP_FAULT_DONE_EARLY, .from = 0, .to = 1, .by_ns = 50 * FL_NS_PER_MS});
    uint64_t landed = side[1].landed;
    write_page(3, 3, 0x33, 5000);
    assert_true(until(is_done, 3, WAIT_MS));
    assert_int_equal(status_of(3), FL_OK);
    assert_int_equal(byte_at(3), 0);
    memset(side[0].local + 3 * FL_PAGE_BYTES, 0xee, FL_PAGE_BYTES);
    assert_true(until(has_landed, landed + FL_PAGE_BYTES, WAIT_MS));
    assert_int_equal(byte_at(3), 0x33);
    assert_int_equal(fired(1) + fired(2) + fired(3), 3);
    disarm(3);
    works(100);
    pair_end();
}

static void reads_lie(void **state)
{
    (void)state;
    const enum tp_fault_kind kinds[] = {TP_FAULT_SHORT_READ, TP_FAULT_STALE_READ,
                                        TP_FAULT_BIT_FLIP};
    pair_new(0);
    memset(side[1].mem, 0x0f, MEM_BYTES);
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *page = side[0].local + (size_t)i * FL_PAGE_BYTES;
        int wrong = 0;
        arm(i, (struct tp_fault){kinds[i], .from = 0, .to = 1, .count = 1});
        read_page(1 + i, i);
        assert_true(until(is_done, 1 + i, WAIT_MS));
        assert_int_equal(status_of(1 + i), FL_OK);
        for (int k = 0; k < FL_PAGE_BYTES; k++)
            wrong += page[k] != 0x0f;
        assert_int_equal(wrong, kinds[i] == TP_FAULT_BIT_FLIP     ? 1
                                : kinds[i] == TP_FAULT_STALE_READ ? FL_PAGE_BYTES
                                                                  : FL_PAGE_BYTES / 2);
        assert_int_equal(fired(i), 1);
    }
    pair_end();
}

static void a_stuck_write_lands_late_but_never_behind_a_fence(void **state)
{
    (void)state;
    pair_new(0);
    for (uint32_t fence = 0; fence < 2; fence++) {
        const uint64_t by_ns = 150 * FL_NS_PER_MS;
        uint64_t landed = side[1].landed, due = fl_clock_ns() + by_ns;
        arm(fence,
            (struct tp_fault){TP_FAULT_STUCK, .from = 0, .to = 1, .count = 1, .by_ns = by_ns});
        write_page(10 + fence, fence, 0x77, 20);
        assert_true(until(is_done, 10 + fence, WAIT_MS));
        assert_int_equal(status_of(10 + fence), FL_ETIMEDOUT);
        memset(side[0].local, 0xee, MEM_BYTES);
        if (fence) {
            side[0].port->ops->fence(side[0].port, 1, 20);
            assert_true(until(is_done, 20, WAIT_MS));
            assert_int_equal(status_of(20), FL_OK);
            assert_true(until(is_past, due + by_ns, 300));
            works(100); /* and everything before that has passed */
            assert_int_equal(byte_at(1), 0);
        } else {
            assert_int_equal(byte_at(0), 0);
            assert_true(until(has_landed, landed + FL_PAGE_BYTES, WAIT_MS));
            assert_true(fl_clock_ns() >= due);
            assert_int_equal(byte_at(0), 0x77);
        }
        assert_int_equal(fired(fence), 1);
    }
    pair_end();
}

#define ALL(X)                                                                                     \
    X(a_delay_holds_both_ways_and_keeps_order)                                                     \
    X(a_cut_heals)                                                                                 \
    X(a_long_cut_is_noticed)                                                                       \
    X(a_muted_port_returns_no_credits)                                                             \
    X(a_duplicate_arrives_twice)                                                                   \
    X(a_spoiled_message_ends_the_connection)                                                       \
    X(completions_lie)                                                                             \
    X(reads_lie)                                                                                   \
    X(a_stuck_write_lands_late_but_never_behind_a_fence)

#define TEST(fn) {#fn, fn, NULL, NULL, NULL},

int main(void)
{
    const struct CMUnitTest tests[] = {ALL(TEST)};
    const char *names[] = {"tcp", "sockets"};
    int failed = 0;
    provider = "verbs";
    if (fab_verbs_addr() != NULL)
        return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        provider = names[i];
        failed += cmocka_run_group_tests_name(provider, tests, NULL, NULL);
    }
    return failed;
}
