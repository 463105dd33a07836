/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/ctl.h"
#include "emu/ctl_auth.h"

enum { LOOPS_MAX = 2000 };

/** One end of a control connection and what happened to it. */
struct end {
    struct ctl_conn *conn;
    bool up, down, refuse, close_on_msg;
    int cause;
    char why[512], name[64], types[256];
    unsigned messages;
};

struct fixture {
    struct event_base *base;
    struct end coord, node;
    uint8_t key[CTL_KEY_BYTES];
};

static bool on_up(void *arg, struct ctl_conn *c, const char *name)
{
    struct end *e = arg;
    (void)c;
    e->up = true;
    snprintf(e->name, sizeof(e->name), "%s", name);
    return !e->refuse;
}

static void on_msg(void *arg, struct ctl_conn *c, const char *type, const json_t *m)
{
    struct end *e = arg;
    (void)c;
    (void)m;
    e->messages++;
    strncat(e->types, type, sizeof(e->types) - strlen(e->types) - 2);
    strcat(e->types, " ");
    if (e->close_on_msg)
        ctl_close(&e->conn);
}

static void on_down(void *arg, struct ctl_conn *c, int cause, const char *why)
{
    struct end *e = arg;
    (void)c;
    e->down = true;
    e->cause = cause;
    e->conn = NULL;
    snprintf(e->why, sizeof(e->why), "%s", why);
}

static struct ctl_handler handler(struct end *e)
{
    return (struct ctl_handler){.arg = e, .up = on_up, .msg = on_msg, .down = on_down};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    signal(SIGPIPE, SIG_IGN);
    f->base = event_base_new();
    *state = f;
    return !f->base || ctl_key_new(f->key);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ctl_close(&f->coord.conn);
    ctl_close(&f->node.conn);
    event_base_free(f->base);
    free(f);
    return 0;
}

/** Turns the loop until nothing is ready any more. */
static void turn(struct fixture *f)
{
    int idle = 0;
    for (int i = 0; i < LOOPS_MAX && idle < 3; i++) {
        unsigned before = f->coord.messages + f->node.messages;
        bool ups = f->coord.up + f->node.up + f->coord.down + f->node.down;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
        idle = before == f->coord.messages + f->node.messages &&
                       ups == (bool)(f->coord.up + f->node.up + f->coord.down + f->node.down)
                   ? idle + 1
                   : 0;
    }
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

static void start(struct fixture *f, const uint8_t *coord_key, const uint8_t *node_key,
                  int node_version)
{
    int fds[2];
    struct ctl_handler hc = handler(&f->coord), hn = handler(&f->node);
    pair(fds);
    f->coord.conn = ctl_new(f->base, fds[0], NULL, CTL_VERSION, coord_key, &hc);
    f->node.conn = ctl_new(f->base, fds[1], "c0", node_version, node_key, &hn);
    assert_non_null(f->coord.conn);
    assert_non_null(f->node.conn);
    turn(f);
}

static void both_sides_prove_the_key(void **state)
{
    struct fixture *f = *state;
    start(f, f->key, f->key, CTL_VERSION);
    assert_true(f->coord.up && f->node.up);
    assert_string_equal(f->coord.name, "c0");
    assert_true(ctl_is_up(f->coord.conn));
    assert_int_equal(ctl_send(f->coord.conn, json_pack("{s:s}", "t", "plan")), FL_OK);
    assert_int_equal(ctl_send(f->node.conn, json_pack("{s:s}", "t", "ready")), FL_OK);
    turn(f);
    assert_string_equal(f->node.types, "plan ");
    assert_string_equal(f->coord.types, "ready ");
}

static void a_wrong_key_is_noticed_by_the_node(void **state)
{
    struct fixture *f = *state;
    uint8_t other[CTL_KEY_BYTES];
    memcpy(other, f->key, sizeof(other));
    other[31] ^= 1;
    start(f, f->key, other, CTL_VERSION);
    assert_false(f->coord.up || f->node.up);
    assert_int_equal(f->node.cause, FL_EAUTH);
    assert_non_null(strstr(f->node.why, "--token-file"));
    assert_true(f->coord.down);
}

static void another_version_is_named_on_both_sides(void **state)
{
    struct fixture *f = *state;
    start(f, f->key, f->key, CTL_VERSION + 6);
    assert_int_equal(f->coord.cause, FL_EVERSION);
    assert_int_equal(f->node.cause, FL_EVERSION);
    assert_non_null(strstr(f->coord.why, "version 8"));
    assert_non_null(strstr(f->coord.why, "version 2"));
    assert_non_null(strstr(f->node.why, "version 8"));
    assert_non_null(strstr(f->node.why, "version 2"));
}

static void a_refused_name_is_told(void **state)
{
    struct fixture *f = *state;
    f->coord.refuse = true;
    start(f, f->key, f->key, CTL_VERSION);
    assert_true(f->coord.down);
    assert_int_equal(f->node.cause, FL_EAUTH);
    assert_non_null(strstr(f->node.why, "name"));
}

/** A stranger that writes @text to the coordinator. */
static int stranger(struct fixture *f, const char *text, size_t len)
{
    int fds[2];
    struct ctl_handler h = handler(&f->coord);
    pair(fds);
    f->coord = (struct end){0};
    f->coord.conn = ctl_new(f->base, fds[0], NULL, CTL_VERSION, f->key, &h);
    assert_int_equal(write(fds[1], text, len), len);
    turn(f);
    return fds[1];
}

static void garbage_is_dropped(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n",
        "{\"t\":1}\n",
        "[]\n",
        "{}\n",
        "{\"t\":\"plan\"}\n",
        "{\"t\":\"hello\"}\n",
        "{\"t\":\"hello\",\"version\":2,\"name\":\"c0\",\"nonce\":\"zz\"}\n",
        "{\"t\":\"hello\",\"version\":\"x\",\"name\":\"c0\"}\n",
        "{\"t\":\"hello\",\"version\":2,\"name\":\"0123456789012345678901234567890123\"}\n",
        "\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int fd = stranger(f, texts[i], strlen(texts[i]));
        if (!f->coord.down)
            fail_msg("not dropped: %s", texts[i]);
        assert_false(f->coord.up);
        close(fd);
    }
}

static void a_stranger_cannot_send_a_long_line(void **state)
{
    struct fixture *f = *state;
    char text[CTL_LINE_MAX_UNAUTH + 1];
    memset(text, 'a', sizeof(text));
    int fd = stranger(f, text, sizeof(text));
    assert_true(f->coord.down);
    assert_int_equal(f->coord.cause, FL_ETOOBIG);
    close(fd);
}

static void an_answer_cannot_be_played_back(void **state)
{
    struct fixture *f = *state;
    /* The stranger sends a nonce and returns the coordinator's own proof as its answer. */
    char hello[200], nonce[2 * CTL_NONCE_BYTES + 1], line[1024] = {0};
    uint8_t zero[CTL_NONCE_BYTES] = {0};
    ctl_hex(zero, sizeof(zero), nonce);
    snprintf(hello, sizeof(hello),
             "{\"t\":\"hello\",\"version\":2,\"name\":\"c0\",\"nonce\":\"%s\"}\n", nonce);
    int fd = stranger(f, hello, strlen(hello));
    assert_true(read(fd, line, sizeof(line) - 1) > 0);
    json_t *m = json_loads(line, 0, NULL);
    const char *mac = json_string_value(json_object_get(m, "mac"));
    assert_non_null(mac);
    char auth[200];
    int len = snprintf(auth, sizeof(auth), "{\"t\":\"auth\",\"mac\":\"%s\"}\n", mac);
    assert_int_equal(write(fd, auth, (size_t)len), len);
    turn(f);
    assert_false(f->coord.up);
    assert_int_equal(f->coord.cause, FL_EAUTH);
    json_decref(m);
    close(fd);
}

static void messages_may_come_in_pieces(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    struct ctl_handler h = handler(&f->node);
    struct ctl_auth me;
    char theirs[2 * CTL_NONCE_BYTES + 1], text[512], mac[2 * CTL_MAC_BYTES + 1];
    pair(fds);
    f->node.conn = ctl_new(f->base, fds[1], "m0", CTL_VERSION, f->key, &h);
    turn(f);
    ssize_t n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = 0;
    json_t *m = json_loads(text, 0, NULL);
    assert_int_equal(ctl_auth_init(&me, f->key), FL_OK);
    assert_true(
        ctl_unhex(json_string_value(json_object_get(m, "nonce")), me.theirs, CTL_NONCE_BYTES));
    json_decref(m);
    ctl_auth_mac(&me, "coordinator", me.theirs, me.mine, "m0", mac);
    ctl_hex(me.mine, CTL_NONCE_BYTES, theirs);
    int len = snprintf(text, sizeof(text),
                       "{\"t\":\"challenge\",\"version\":2,\"nonce\":\"%s\",\"mac\":\"%s\"}\n"
                       "{\"t\":\"welcome\"}\n{\"t\":\"a\"}\n{\"t\":\"b\"}\n",
                       theirs, mac);
    for (int i = 0; i < len; i++) { /* byte by byte */
        assert_int_equal(write(fds[0], text + i, 1), 1);
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_true(f->node.up);
    assert_string_equal(f->node.types, "a b ");
    close(fds[0]);
    turn(f);
    assert_int_equal(f->node.cause, FL_ECONN);
}

static void waiting_keeps_other_messages_in_order(void **state)
{
    struct fixture *f = *state;
    json_t *m = NULL;
    start(f, f->key, f->key, CTL_VERSION);
    for (const char *t = "abxcd"; *t; t++) {
        char type[2] = {*t, 0};
        ctl_send(f->coord.conn, json_pack("{s:s,s:i}", "t", type, "n", *t));
    }
    assert_int_equal(ctl_wait(f->node.conn, "x", fl_clock_ns() + 5 * FL_NS_PER_S, &m), FL_OK);
    assert_int_equal(json_integer_value(json_object_get(m, "n")), 'x');
    json_decref(m);
    assert_int_equal(f->node.messages, 0);
    turn(f);
    assert_string_equal(f->node.types, "a b c d ");
}

static void waiting_ends_at_its_deadline_and_with_the_peer(void **state)
{
    struct fixture *f = *state;
    json_t *m = NULL;
    start(f, f->key, f->key, CTL_VERSION);
    assert_int_equal(ctl_wait(f->node.conn, "x", fl_clock_ns() + FL_NS_PER_MS, &m), FL_ETIMEDOUT);
    ctl_close(&f->coord.conn);
    assert_int_equal(ctl_wait(f->node.conn, "x", fl_clock_ns() + 5 * FL_NS_PER_S, &m), FL_ECONN);
    assert_null(m);
}

static void a_connection_may_be_closed_inside_its_callback(void **state)
{
    struct fixture *f = *state;
    start(f, f->key, f->key, CTL_VERSION);
    f->node.close_on_msg = true;
    ctl_send(f->coord.conn, json_pack("{s:s}", "t", "a"));
    ctl_send(f->coord.conn, json_pack("{s:s}", "t", "b"));
    turn(f);
    assert_int_equal(f->node.messages, 1);
    assert_null(f->node.conn);
    assert_true(f->coord.down);
}

static void large_messages_pass_a_full_socket(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 * 1024 * 1024;
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = 0;
    start(f, f->key, f->key, CTL_VERSION);
    assert_int_equal(ctl_send(f->coord.conn, json_pack("{s:s,s:s}", "t", "big", "x", text)), FL_OK);
    for (int i = 0; i < LOOPS_MAX && !f->node.messages; i++)
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    assert_string_equal(f->node.types, "big ");
    free(text);
    text = malloc((size_t)CTL_LINE_MAX + 1);
    memset(text, 'x', CTL_LINE_MAX);
    text[CTL_LINE_MAX] = 0;
    assert_int_equal(ctl_send(f->coord.conn, json_pack("{s:s,s:s}", "t", "big", "x", text)),
                     FL_ETOOBIG);
    assert_int_equal(ctl_send(f->coord.conn, NULL), FL_ENOMEM);
    free(text);
}

static int key_from(const char *text, size_t len, uint8_t *ret)
{
    char path[256];
    struct fl_errmsg err;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/key.XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    int rv = ctl_key_read(-1, path, ret, &err);
    unlink(path);
    return rv;
}

static void keys_are_read_from_files_and_descriptors(void **state)
{
    struct fixture *f = *state;
    char hex[2 * CTL_KEY_BYTES + 2];
    uint8_t got[CTL_KEY_BYTES];
    struct fl_errmsg err;
    int fds[2];
    ctl_hex(f->key, CTL_KEY_BYTES, hex);
    assert_int_equal(key_from(hex, 64, got), FL_OK);
    assert_memory_equal(got, f->key, CTL_KEY_BYTES);
    strcat(hex, "\n");
    assert_int_equal(key_from(hex, 65, got), FL_OK);
    assert_int_equal(key_from(hex, 63, got), FL_EINVAL);
    assert_int_equal(key_from("", 0, got), FL_EINVAL);
    hex[64] = '0';
    assert_int_equal(key_from(hex, 65, got), FL_EINVAL);
    hex[3] = 'g';
    assert_int_equal(key_from(hex, 64, got), FL_EINVAL);
    hex[3] = '0';
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], hex, 64), 64);
    close(fds[1]);
    assert_int_equal(ctl_key_read(fds[0], NULL, got, &err), FL_OK);
    assert_int_not_equal(ctl_key_read(-1, "/nonexistent/key", got, &err), FL_OK);
    assert_non_null(strstr(err.text, "/nonexistent/key"));
}

static void a_key_file_is_made_once_and_closed_to_others(void **state)
{
    uint8_t made[CTL_KEY_BYTES], again[CTL_KEY_BYTES];
    char path[256], missing[300];
    struct stat st;
    struct fl_errmsg err;
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(path, sizeof(path), "%s/token.XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    assert_int_equal(ctl_key_file(path, made, &err), FL_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(ctl_key_file(path, again, &err), FL_OK);
    assert_memory_equal(made, again, CTL_KEY_BYTES);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(ctl_key_file(path, again, &err), FL_EPERM);
    assert_non_null(strstr(err.text, "chmod 600"));
    unlink(path);
    snprintf(missing, sizeof(missing), "%s/none/token", path);
    assert_int_not_equal(ctl_key_file(missing, again, &err), FL_OK);
    assert_non_null(strstr(err.text, missing));
    assert_int_equal(ctl_key_read(-1, tmp ? tmp : "/tmp", again, &err), FL_EINVAL);
}

static void derived_keys_differ_by_label(void **state)
{
    struct fixture *f = *state;
    uint8_t a[CTL_KEY_BYTES], b[CTL_KEY_BYTES], c[CTL_KEY_BYTES];
    ctl_key_derive(f->key, "one", a);
    ctl_key_derive(f->key, "two", b);
    ctl_key_derive(f->key, "one", c);
    assert_memory_equal(a, c, sizeof(a));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, f->key, sizeof(a));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(both_sides_prove_the_key),
        T(a_wrong_key_is_noticed_by_the_node),
        T(another_version_is_named_on_both_sides),
        T(a_refused_name_is_told),
        T(garbage_is_dropped),
        T(a_stranger_cannot_send_a_long_line),
        T(an_answer_cannot_be_played_back),
        T(messages_may_come_in_pieces),
        T(waiting_keeps_other_messages_in_order),
        T(waiting_ends_at_its_deadline_and_with_the_peer),
        T(a_connection_may_be_closed_inside_its_callback),
        T(large_messages_pass_a_full_socket),
        T(keys_are_read_from_files_and_descriptors),
        T(a_key_file_is_made_once_and_closed_to_others),
        T(derived_keys_differ_by_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
