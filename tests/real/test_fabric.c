/* SPDX-License-Identifier: Apache-2.0 */
/* The libfabric port between real processes: what it promises, over tcp and over sockets. */
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

/* --- reads, writes, messages ------------------------------------------------------------------- */

static void reads_see_the_peers_memory(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_ask(p.c, "fill 4096 4096 77");
    fab_read(p.f, 1, 4096, 4096, 5 * FL_NS_PER_S);
    assert_int_equal(p.f->done_count, 0); /* never inside the call */
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    assert_int_equal(fab_status(p.f, 1), FL_OK);
    assert_int_equal(p.f->mem[4096], 77);
    assert_int_equal(p.f->mem[8191], 77);
    assert_int_equal(p.f->mem[4095], 0);
    assert_int_equal(p.f->mem[8192], 0);
    assert_int_equal(p.f->up_incarnation[1], 11);
    pair_free(&p);
}

/* More operations than the window: all answered, each byte where it belongs. */
static void writes_are_visible_when_done(void **state)
{
    (void)state;
    enum { OPS = 96, LEN = 6400 }; /* crosses pages */
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct tp_ledger l;

    for (unsigned i = 0; i < OPS * LEN; i++)
        p.f->mem[i] = (uint8_t)(i * 7 + i / 251);
    for (unsigned i = 0; i < OPS; i++)
        fab_write(p.f, i + 1, i * LEN, LEN, 8 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, OPS, 8000));
    /* Announcements come in order with the bytes, so that they are all there now. */
    assert_int_equal(atoi(fab_ask(p.c, "count rx")), OPS * LEN);
    assert_int_equal(atoi(fab_ask(p.c, "count landed")), OPS * LEN);
    assert_int_equal(strtoul(fab_ask(p.c, "sum 0 %d", OPS * LEN), NULL, 10),
                     fab_sum(p.f->mem, OPS * LEN));
    for (unsigned i = 0; i < OPS; i++)
        assert_int_equal(fab_status(p.f, i + 1), FL_OK);
    p.f->port->ops->ledger(p.f->port, &l);
    assert_int_equal(l.write_ops, OPS);
    assert_int_equal(l.write_bytes, OPS * LEN);
    assert_int_equal(l.errors + l.timeouts, 0);
    pair_free(&p);
}

/* A reader that follows a write of another page by a chain of callbacks: no answer is mixed up. */
static unsigned chain_left;

static void chain_next(struct fab *f, uint64_t tag, int status)
{
    if (status != FL_OK || chain_left == 0)
        return;
    chain_left--;
    uint64_t off = (tag + 1) % 512 * 4096;
    if (tag % 2 != 0) {
        memset(f->mem + off, (int)(tag + 1) & 0xff, 4096);
        fab_write(f, tag + 1, off, 4096, 5 * FL_NS_PER_S);
    } else {
        memset(f->mem + tag % 512 * 4096, 0, 4096);
        struct tp_rma r = {.tag = tag + 1,
                           .peer = 1,
                           .cls = FL_NORMAL,
                           .remote_off = tag % 512 * 4096,
                           .local = f->mem + tag % 512 * 4096,
                           .len_bytes = 4096,
                           .deadline_ns = 5 * FL_NS_PER_S};
        f->port->ops->read(f->port, &r);
    }
}

static void callbacks_may_submit(void **state)
{
    (void)state;
    enum { OPS = 200 };
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    chain_left = OPS - 1;
    p.f->on_done = chain_next;
    memset(p.f->mem + 2 * 4096, 2, 4096);
    fab_write(p.f, 2, 2 * 4096, 4096, 5 * FL_NS_PER_S); /* even: a write; odd: it is read back */
    assert_true(fab_until(p.f, fab_has_done, OPS, 20000));
    for (unsigned tag = 2; tag < OPS; tag += 2)
        assert_int_equal(p.f->mem[tag % 512 * 4096 + 17], tag & 0xff);
    pair_free(&p);
}

static void messages_are_answered(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    for (unsigned i = 1; i <= 50; i++) {
        fab_send(p.f, i, FL_MSG_OPEN_REQ, i * 1000);
        assert_true(fab_until(p.f, fab_has_msgs, i, 5000));
        assert_int_equal(p.f->last_msg.type, FL_MSG_OPEN_ACK);
        assert_int_equal(p.f->last_msg.a, i * 1000);
    }
    pair_free(&p);
}

static void bulk_messages_carry_pages(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct fl_msg m = {.type = FL_MSG_LOG_BATCH, .entry_count = 16, .seq = 3};
    const uint8_t *lines[16];
    struct tp_ledger l;

    for (unsigned i = 0; i < 16; i++) {
        m.entries[i] = (struct fl_msg_entry){.page = i, .mask = FL_MASK_ALL, .seq = i};
        lines[i] = p.f->mem + i * FL_PAGE_BYTES;
    }
    for (unsigned i = 0; i < 8; i++)
        p.f->port->ops->send(p.f->port, 1, &m, lines, i + 1);
    assert_true(fab_until(p.f, fab_has_done, 8, 5000));
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(fab_status(p.f, i + 1), FL_OK);
    fab_send(p.f, 100, FL_MSG_OPEN_REQ, 1);
    assert_true(fab_until(p.f, fab_has_msgs, 1, 5000));
    for (int i = 0; i < 200 && atoi(fab_ask(p.c, "count msg")) < 9; i++)
        fab_until(p.f, fab_has_done, 1000, 10);
    assert_int_equal(atoi(fab_ask(p.c, "count msg")), 9);
    p.f->port->ops->ledger(p.f->port, &l);
    assert_int_equal(l.msg_payload_bytes, 8 * 16 * FL_PAGE_BYTES);
    pair_free(&p);
}

static bool has_credit(struct fab *f, uint64_t arg)
{
    (void)arg;
    return f->credit[1] > 0;
}

/* Nothing is sent beyond the credits; each comes back, for as long as one wants. */
static void credits_run_out_and_come_back(void **state)
{
    (void)state;
    for (uint16_t credits = 1; credits <= 16; credits *= 4) {
        struct tp_cfg cfg = fab_cfg(provider);
        cfg.credits = credits;
        struct pair p = pair_up(&cfg);
        unsigned sent = 0, refused = 0;

        fab_ask(p.c, "hush");
        for (unsigned tag = 1; sent < 20U * credits;) {
            /* One more than there can be credits, in one go: nothing comes back in between. */
            unsigned before = p.f->done_count, first = tag;
            p.f->credit[1] = 0;
            while (tag <= first + credits)
                fab_send(p.f, tag++, FL_MSG_OPEN_REQ, first);
            assert_true(fab_until(p.f, fab_has_done, before + credits + 1, 5000));
            assert_int_equal(fab_status(p.f, tag - 1), FL_EAGAIN);
            refused++;
            for (unsigned t = first; t < tag; t++)
                sent += fab_status(p.f, t) == FL_OK;
            assert_true(fab_until(p.f, has_credit, 0, 5000));
        }
        for (int i = 0; i < 200 && atoi(fab_ask(p.c, "count msg")) < (int)sent; i++)
            fab_until(p.f, fab_has_done, FAB_EVENTS_MAX, 10);
        assert_int_equal(atoi(fab_ask(p.c, "count msg")), sent);
        assert_true(refused >= 20);
        pair_free(&p);
    }
}

/* A stopped peer grants nothing: exactly the credits are accepted, the next is refused. */
static void a_stopped_peer_takes_no_more_than_its_credits(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_signal(p.c, SIGSTOP);
    for (unsigned tag = 1; tag <= 12; tag++)
        fab_send(p.f, tag, FL_MSG_OPEN_REQ, tag);
    assert_true(fab_until(p.f, fab_has_done, 12, 5000));
    for (unsigned tag = 1; tag <= 12; tag++)
        assert_int_equal(fab_status(p.f, tag), tag <= cfg.credits ? FL_OK : FL_EAGAIN);
    assert_int_equal(p.f->credit[1], 0);
    fab_signal(p.c, SIGCONT);
    assert_true(fab_until(p.f, fab_has_msgs, 8, 5000));
    assert_true(fab_until(p.f, has_credit, 0, 5000));
    pair_free(&p);
}

/* --- refusals ---------------------------------------------------------------------------------- */

static void expect_refused(const struct tp_cfg *ours, const struct tp_cfg *theirs, uint16_t version,
                           int cause)
{
    struct tp_cfg child = *theirs;
    struct fl_errmsg err = {0};

    child.self = 1;
    struct fab_child *c = fab_child_new(&child);
    struct fab *f = fab_new(ours);
    ((struct tpo_port *)f->port)->version = version;
    assert_int_equal(f->port->ops->connect(f->port, 1, &c->addr, &err), FL_OK);
    assert_true(fab_until(f, fab_is_down, 1, 10000));
    assert_int_equal(f->down_cause[1], cause);
    assert_int_equal(f->down[1], 1);
    assert_int_equal(f->up[1], 0);
    assert_int_equal(atoi(fab_ask(c, "count up")), 0);
    /* It still serves who is right. */
    fab_free(f);
    f = fab_new(theirs);
    fab_join(f, c, 1);
    fab_free(f);
    fab_child_free(c);
}

static void a_wrong_key_is_refused(void **state)
{
    (void)state;
    struct tp_cfg theirs = fab_cfg(provider), ours = theirs;

    ours.key[0] ^= 1; /* the helper fills the whole key with its first byte */
    memset(ours.key, ours.key[0], sizeof(ours.key));
    expect_refused(&ours, &theirs, TP_WIRE_VERSION, FL_EAUTH);
}

static void another_version_is_refused(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);

    expect_refused(&cfg, &cfg, TP_WIRE_VERSION + 1, FL_EVERSION);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct fab_child *c = fab_child_new(&(struct tp_cfg){.self = 1,
                                                         .nodes = 2,
                                                         .incarnation = 1,
                                                         .provider = provider,
                                                         .credits = 8,
                                                         .window_ops = 8,
                                                         .window_bytes = 65536,
                                                         .connect_deadline_ns = FL_NS_PER_S,
                                                         .fence_deadline_ns = FL_NS_PER_S});
    struct tp_addr addr = c->addr;
    struct fl_errmsg err = {0};

    fab_child_free(c);
    struct fab *f = fab_new(&cfg);
    assert_int_equal(f->port->ops->connect(f->port, 1, &addr, &err), FL_OK);
    assert_true(fab_until(f, fab_is_down, 1, 9500));
    assert_int_equal(f->down_cause[1], FL_EPEERDEAD);
    fab_read(f, 1, 0, 64, FL_NS_PER_S); /* answered all the same */
    assert_true(fab_until(f, fab_has_done, 1, 1000));
    assert_int_equal(fab_status(f, 1), FL_EPEERDEAD);
    fab_free(f);
}

static void a_taken_port_is_told(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct tp_addr addr;
    struct sockaddr_in sin;
    struct fl_errmsg err = {0};
    char bind[64];

    struct fab *f = fab_new(&cfg);
    struct tp_handler nobody = {0};
    struct tp_port *second = NULL;
    assert_int_equal(f->port->ops->listen(f->port, &addr, &err), FL_OK);
    memcpy(&sin, addr.bytes, sizeof(sin));
    snprintf(bind, sizeof(bind), "%s:%u", inet_ntoa(sin.sin_addr), ntohs(sin.sin_port));
    cfg.bind = bind;
    int e = tp_ofi_new(f->loop, &cfg, &nobody, &second, &err); /* verbs sees it already here */
    if (e == FL_OK) {
        e = second->ops->listen(second, &addr, &err);
        second->ops->close(&second);
    }
    assert_int_equal(e, FL_EADDRINUSE);
    assert_non_null(strstr(err.text, "the port is taken; choose another"));
    fab_free(f);
}

/* An address outside what the peer exposed never gets to the wire; the connection lives. */
static void bounds_are_kept(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct tp_rma r = {.tag = 1,
                       .peer = 1,
                       .cls = FL_NORMAL,
                       .remote_off = FAB_EXPOSED_BYTES - 4096,
                       .local = p.f->mem,
                       .len_bytes = 4097,
                       .deadline_ns = FL_NS_PER_S};

    p.f->port->ops->write(p.f->port, &r);
    r.tag = 2;
    r.remote_off = UINT64_MAX - 10;
    p.f->port->ops->read(p.f->port, &r);
    r.tag = 3;
    r.remote_off = FAB_EXPOSED_BYTES - 4097;
    p.f->port->ops->read(p.f->port, &r);
    assert_true(fab_until(p.f, fab_has_done, 3, 5000));
    assert_int_equal(fab_status(p.f, 1), FL_EPERM);
    assert_int_equal(fab_status(p.f, 2), FL_EPERM);
    assert_int_equal(fab_status(p.f, 3), FL_OK);
    assert_int_equal(p.f->down[1], 0);
    pair_free(&p);
}

/* A wrong memory key: never a success, whatever the provider does with the connection. */
static void a_wrong_memory_key_writes_nothing(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct tpo_port *port = (struct tpo_port *)p.f->port;

    memset(p.f->mem, 99, 4096);
    port->peers[1].rma_key ^= 1;
    fab_write(p.f, 1, 0, 4096, 2 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    int status = fab_status(p.f, 1);
    assert_true(status == FL_EPERM || status == FL_EPEERDEAD);
    assert_int_equal(atoi(fab_ask(p.c, "peek 0")), 0);
    pair_free(&p);
}

/* --- quiet, clean, unbothered ------------------------------------------------------------------ */

static uint64_t wakeups(struct fab *f)
{
    struct tp_ledger l;

    f->port->ops->ledger(f->port, &l);
    return l.wakeups;
}

static void an_idle_port_sleeps(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_read(p.f, 1, 0, 4096, 5 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    fab_until(p.f, fab_has_done, 2, 100); /* what follows a connection is over */
    uint64_t mine = wakeups(p.f), theirs = strtoull(fab_ask(p.c, "count wakeups"), NULL, 10);
    fab_until(p.f, fab_has_done, 2, 1000);
    assert_in_range(wakeups(p.f) - mine, 0, 2);
    assert_in_range(strtoull(fab_ask(p.c, "count wakeups"), NULL, 10) - theirs, 0, 2);
    pair_free(&p);
}

static void heartbeats_are_the_only_wakeups(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    cfg.heartbeat_ns = 100 * FL_NS_PER_MS;
    cfg.heartbeat_miss_ns = 5 * FL_NS_PER_S;
    struct pair p = pair_up(&cfg);

    fab_until(p.f, fab_has_done, 1, 100);
    uint64_t before = wakeups(p.f);
    fab_until(p.f, fab_has_done, 1, 1000);
    /* Ten sent, ten received, a few that return credits; one wakeup may serve several. */
    assert_in_range(wakeups(p.f) - before, 5, 50);
    pair_free(&p);
}

static void a_clean_shutdown_is_no_death(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_ask(p.c, "quit");
    assert_true(fab_until(p.f, fab_is_down, 1, 5000));
    assert_int_equal(p.f->down_cause[1], FL_OK);
    assert_int_equal(p.f->down[1], 1);
    pair_free(&p);

    p = pair_up(&cfg); /* and the other way round */
    fab_free(p.f);
    for (int i = 0; i < 500 && atoi(fab_ask(p.c, "count down")) == 0; i++)
        usleep(10000);
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 1);
    assert_int_equal(atoi(fab_ask(p.c, "cause")), FL_OK);
    fab_child_free(p.c);
}

/* A node that comes back with a higher incarnation is another peer; the old one's death is told. */
static void a_restarted_peer_is_told_apart(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);
    struct fab *old = p.f;

    cfg.incarnation = 2;
    p.f = fab_new(&cfg); /* beside the old one, which said nothing yet */
    fab_join(p.f, p.c, 1);
    for (int i = 0; i < 500 && atoi(fab_ask(p.c, "count up")) < 2; i++)
        fab_until(p.f, fab_has_done, 1, 10);
    assert_int_equal(atoi(fab_ask(p.c, "count up")), 2);
    assert_int_equal(atoi(fab_ask(p.c, "count down")), 1);
    assert_int_equal(atoi(fab_ask(p.c, "cause")), FL_EPEERDEAD);
    assert_true(fab_until(old, fab_is_down, 1, 5000));
    fab_read(p.f, 1, 0, 64, 5 * FL_NS_PER_S);
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    assert_int_equal(fab_status(p.f, 1), FL_OK);
    fab_free(old);
    pair_free(&p);
}

static int raw_socket(const struct tp_addr *addr)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(s >= 0);
    assert_int_equal(connect(s, (const struct sockaddr *)addr->bytes, addr->len), 0);
    return s;
}

/* Whatever strangers do to the listening port, who is right is served. */
static void garbage_on_the_listening_port(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider), child = cfg;
    uint8_t junk[4096];
    int silent[8];

    child.self = 1;
    struct fab_child *c = fab_child_new(&child);
    for (unsigned i = 0; i < sizeof(junk); i++)
        junk[i] = (uint8_t)(i * 131 + 7);
    for (int i = 0; i < 8; i++) {
        silent[i] = raw_socket(&c->addr); /* says nothing, or only a little, and stays */
        if (i % 2)
            assert_int_equal(send(silent[i], junk, (size_t)i, MSG_NOSIGNAL), i);
    }
    for (int i = 0; i < 20; i++) {
        int s = raw_socket(&c->addr);
        (void)!send(s, junk + i, 64 + (size_t)i * 100, MSG_NOSIGNAL);
        close(s);
    }
    struct fab *f = fab_new(&cfg);
    fab_join(f, c, 1);
    fab_read(f, 1, 0, 4096, 5 * FL_NS_PER_S);
    assert_true(fab_until(f, fab_has_done, 1, 5000));
    assert_int_equal(fab_status(f, 1), FL_OK);
    /* Once more with the connection up, and it does not spin on what never ends. */
    int s = raw_socket(&c->addr);
    (void)!send(s, junk, 3, MSG_NOSIGNAL);
    fab_until(f, fab_has_done, 2, 100);
    uint64_t before = strtoull(fab_ask(c, "count wakeups"), NULL, 10);
    fab_until(f, fab_has_done, 2, 500);
    assert_in_range(strtoull(fab_ask(c, "count wakeups"), NULL, 10) - before, 0, 20);
    fab_read(f, 2, 0, 4096, 5 * FL_NS_PER_S);
    assert_true(fab_until(f, fab_has_done, 2, 5000));
    assert_int_equal(fab_status(f, 2), FL_OK);
    close(s);
    for (int i = 0; i < 8; i++)
        close(silent[i]);
    fab_free(f);
    fab_child_free(c);
}

/* A listener that accepts and never answers: the deadline of the connection ends it. */
static void a_silent_listener_times_out(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    struct tp_addr addr = {.len = sizeof(sin)};
    struct fl_errmsg err = {0};

    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(listen(s, 8), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&sin, &len), 0);
    memcpy(addr.bytes, &sin, sizeof(sin));
    cfg.connect_deadline_ns = 300 * FL_NS_PER_MS;
    struct fab *f = fab_new(&cfg);
    assert_int_equal(f->port->ops->connect(f->port, 1, &addr, &err), FL_OK);
    assert_true(fab_until(f, fab_is_down, 1, 5000));
    assert_int_equal(f->down_cause[1], FL_ETIMEDOUT);
    fab_free(f);
    close(s);
}

/* --- polling ----------------------------------------------------------------------------------- */

static void polling_needs_no_loop(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    cfg.wait = 2;
    struct pair p = pair_up(&cfg);

    for (unsigned i = 1; i <= 20; i++) {
        uint64_t end = fab_now_ns() + 5 * FL_NS_PER_S;
        fab_read(p.f, i, 0, 4096, 5 * FL_NS_PER_S);
        while (p.f->done_count < i && fab_now_ns() < end)
            p.f->port->ops->poll(p.f->port);
        assert_int_equal(fab_status(p.f, i), FL_OK);
    }
    fab_send(p.f, 100, FL_MSG_OPEN_REQ, 1);
    uint64_t end = fab_now_ns() + 5 * FL_NS_PER_S;
    while (p.f->msg[1] == 0 && fab_now_ns() < end)
        p.f->port->ops->poll(p.f->port);
    assert_int_equal(p.f->msg[1], 1);
    fab_signal(p.c, SIGKILL);
    end = fab_now_ns() + 5 * FL_NS_PER_S;
    while (p.f->down[1] == 0 && fab_now_ns() < end)
        p.f->port->ops->poll(p.f->port);
    assert_int_equal(p.f->down_cause[1], FL_EPEERDEAD);
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
        ON(reads_see_the_peers_memory, tcp),
        ON(writes_are_visible_when_done, tcp),
        ON(callbacks_may_submit, tcp),
        ON(messages_are_answered, tcp),
        ON(bulk_messages_carry_pages, tcp),
        ON(credits_run_out_and_come_back, tcp),
        ON(a_stopped_peer_takes_no_more_than_its_credits, tcp),
        ON(a_wrong_key_is_refused, tcp),
        ON(another_version_is_refused, tcp),
        ON(nobody_listens, tcp),
        ON(a_taken_port_is_told, tcp),
        ON(bounds_are_kept, tcp),
        ON(a_wrong_memory_key_writes_nothing, tcp),
        ON(an_idle_port_sleeps, tcp),
        ON(heartbeats_are_the_only_wakeups, tcp),
        ON(a_clean_shutdown_is_no_death, tcp),
        ON(a_restarted_peer_is_told_apart, tcp),
        ON(garbage_on_the_listening_port, tcp),
        ON(a_silent_listener_times_out, tcp),
        ON(polling_needs_no_loop, tcp),
        ON(reads_see_the_peers_memory, sockets),
        ON(messages_are_answered, sockets),
        ON(another_version_is_refused, sockets),
        ON(a_wrong_key_is_refused, sockets),
        ON(an_idle_port_sleeps, sockets),
        ON(a_clean_shutdown_is_no_death, sockets),
    };
    const struct CMUnitTest verbs[] = {
        ON(reads_see_the_peers_memory, verbs),
        ON(writes_are_visible_when_done, verbs),
        ON(callbacks_may_submit, verbs),
        ON(messages_are_answered, verbs),
        ON(bulk_messages_carry_pages, verbs),
        ON(credits_run_out_and_come_back, verbs),
        ON(a_stopped_peer_takes_no_more_than_its_credits, verbs),
        ON(a_wrong_key_is_refused, verbs),
        ON(another_version_is_refused, verbs),
        ON(nobody_listens, verbs),
        ON(a_taken_port_is_told, verbs),
        ON(bounds_are_kept, verbs),
        ON(a_wrong_memory_key_writes_nothing, verbs),
        ON(an_idle_port_sleeps, verbs),
        ON(heartbeats_are_the_only_wakeups, verbs),
        ON(a_clean_shutdown_is_no_death, verbs),
        ON(a_restarted_peer_is_told_apart, verbs),
        ON(polling_needs_no_loop, verbs),
    };

    if (fab_verbs_addr() != NULL) /* a guest of ci/rxe-guest: its kernel is there for this */
        return cmocka_run_group_tests(verbs, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
