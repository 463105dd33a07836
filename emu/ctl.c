/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/ctl.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/ctl_auth.h"

enum ctl_phase { CTL_HELLO, CTL_PROOF, CTL_UP, CTL_DEAD };

struct ctl_conn {
    int fd;
    int version;
    bool node_side;
    bool busy;   /* inside dispatch: free later */
    bool closed; /* owner called ctl_close */
    enum ctl_phase phase;
    struct event *rd, *wr, *auth_timer;
    struct evbuffer *in, *out;
    json_t *kept; /* messages that arrived while ctl_wait looked for another one */
    char name[CTL_NAME_MAX];
    struct ctl_auth auth;
    struct ctl_handler h;
    void *user;
};

static void on_read(evutil_socket_t fd, short what, void *arg);
static void on_write(evutil_socket_t fd, short what, void *arg);

static void conn_free(struct ctl_conn *c)
{
    if (c->rd)
        event_free(c->rd);
    if (c->wr)
        event_free(c->wr);
    if (c->auth_timer)
        event_free(c->auth_timer);
    if (c->in)
        evbuffer_free(c->in);
    if (c->out)
        evbuffer_free(c->out);
    json_decref(c->kept);
    close(c->fd);
    ctl_auth_wipe(&c->auth);
    free(c);
}

/** The connection ends by itself: tell the owner, free unless a dispatch below still needs it. */
static void conn_down(struct ctl_conn *c, int cause, const char *why)
{
    if (c->phase == CTL_DEAD)
        return;
    c->phase = CTL_DEAD;
    event_del(c->rd);
    event_del(c->wr);
    event_del(c->auth_timer);
    bool outer = !c->busy;
    c->busy = true; /* down() may call ctl_close */
    if (!c->closed && c->h.down)
        c->h.down(c->h.arg, c, cause, why);
    c->closed = true;
    if (outer)
        conn_free(c);
}

void ctl_close(struct ctl_conn **cp)
{
    struct ctl_conn *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    c->closed = true;
    if (c->busy) {
        event_del(c->rd);
        event_del(c->wr);
        event_del(c->auth_timer);
        c->phase = CTL_DEAD;
        return; /* whoever is dispatching frees it */
    }
    conn_free(c);
}

static void on_auth_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conn_down(arg, FL_ETIMEDOUT, "peer did not authenticate in time");
}

/** A peer that vanished without a word (its host, its link) has to be noticed; a short message that
 * follows another must not wait for its answer (40 ms). Not for the pipes of tests, which have no
 * such options. */
static void set_options(int fd)
{
    int on = 1, idle_s = 3, every_s = 1, ms = CTL_SILENCE_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

struct ctl_conn *ctl_new(struct event_base *base, int fd, const char *name, int version,
                         const uint8_t key[CTL_KEY_BYTES], const struct ctl_handler *h)
{
    struct ctl_conn *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return NULL;
    }
    c->fd = fd;
    c->version = version;
    c->h = *h;
    c->node_side = name != NULL;
    c->kept = json_array();
    c->in = evbuffer_new();
    c->out = evbuffer_new();
    c->rd = event_new(base, fd, EV_READ | EV_PERSIST, on_read, c);
    c->wr = event_new(base, fd, EV_WRITE, on_write, c);
    c->auth_timer = event_new(base, -1, EV_TIMEOUT, on_auth_deadline, c);
    if (!c->kept || !c->in || !c->out || !c->rd || !c->wr || !c->auth_timer ||
        evutil_make_socket_nonblocking(fd) || evutil_make_socket_closeonexec(fd) ||
        ctl_auth_init(&c->auth, key)) {
        conn_free(c);
        return NULL;
    }
    set_options(fd);
    struct timeval tv = {CTL_AUTH_DEADLINE_MS / 1000, (CTL_AUTH_DEADLINE_MS % 1000) * 1000};
    event_add(c->auth_timer, &tv);
    event_add(c->rd, NULL);
    if (name) {
        strncpy(c->name, name, sizeof(c->name) - 1);
        char nonce[2 * CTL_NONCE_BYTES + 1];
        ctl_hex(c->auth.mine, CTL_NONCE_BYTES, nonce);
        ctl_send(c, json_pack("{s:s,s:i,s:s,s:s}", "t", "hello", "version", version, "name",
                              c->name, "nonce", nonce));
    }
    return c;
}

void ctl_set_user(struct ctl_conn *c, void *user)
{
    c->user = user;
}

void *ctl_user(const struct ctl_conn *c)
{
    return c->user;
}

bool ctl_is_up(const struct ctl_conn *c)
{
    return c->phase == CTL_UP;
}

const char *ctl_name(const struct ctl_conn *c)
{
    return c->name;
}

/* --- sending -------------------------------------------------------------------------------- */

static int write_some(struct ctl_conn *c)
{
    while (evbuffer_get_length(c->out) > 0) {
        int n = evbuffer_write(c->out, c->fd);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? FL_EAGAIN : FL_ECONN;
    }
    return FL_OK;
}

int ctl_send(struct ctl_conn *c, json_t *m)
{
    if (!m)
        return FL_ENOMEM;
    char *text = json_dumps(m, JSON_COMPACT);
    json_decref(m);
    if (!text)
        return FL_ENOMEM;
    size_t len = strlen(text);
    if (c->phase == CTL_DEAD || len >= CTL_LINE_MAX) {
        free(text);
        return c->phase == CTL_DEAD ? FL_ECONN : FL_ETOOBIG;
    }
    text[len] = '\n'; /* in place of the NUL */
    int rv = evbuffer_add(c->out, text, len + 1);
    free(text);
    if (rv)
        return FL_ENOMEM;
    /* A broken connection is reported by the reader, which sees the end of file as well. */
    if (write_some(c) == FL_EAGAIN)
        event_add(c->wr, NULL);
    return FL_OK;
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    struct ctl_conn *c = arg;
    (void)fd;
    (void)what;
    int rv = write_some(c);
    if (rv == FL_EAGAIN)
        event_add(c->wr, NULL);
    else if (rv)
        conn_down(c, FL_ECONN, "control connection closed while writing");
}

/** Waits for @events on the socket until @deadline_ns. */
static int wait_fd(const struct ctl_conn *c, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = fl_clock_ns();
        if (now >= deadline_ns)
            return FL_ETIMEDOUT;
        uint64_t ms = (deadline_ns - now) / FL_NS_PER_MS + 1;
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, ms > 60000 ? 60000 : (int)ms);
        if (n > 0)
            return FL_OK;
        if (n < 0 && errno != EINTR)
            return FL_EIO;
    }
}

int ctl_flush(struct ctl_conn *c, uint64_t deadline_ns)
{
    for (;;) {
        int rv = c->phase == CTL_DEAD ? FL_ECONN : write_some(c);
        if (rv != FL_EAGAIN)
            return rv;
        rv = wait_fd(c, POLLOUT, deadline_ns);
        if (rv)
            return rv;
    }
}

/* --- receiving ------------------------------------------------------------------------------ */

/** Next complete line as JSON object; NULL with *ret_err FL_OK when there is none yet. */
static json_t *next_line(struct ctl_conn *c, int *ret_err)
{
    size_t max = c->phase == CTL_UP ? CTL_LINE_MAX : CTL_LINE_MAX_UNAUTH;
    size_t len = 0;
    *ret_err = FL_OK;
    struct evbuffer_ptr eol = evbuffer_search_eol(c->in, NULL, &len, EVBUFFER_EOL_LF);
    if (eol.pos < 0) {
        if (evbuffer_get_length(c->in) >= max)
            *ret_err = FL_ETOOBIG;
        return NULL;
    }
    if ((size_t)eol.pos >= max) {
        *ret_err = FL_ETOOBIG;
        return NULL;
    }
    char *line = evbuffer_readln(c->in, &len, EVBUFFER_EOL_LF);
    json_t *m = line ? json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    free(line);
    if (!json_is_object(m) || !json_is_string(json_object_get(m, "t"))) {
        json_decref(m);
        *ret_err = FL_EPROTO;
        return NULL;
    }
    return m;
}

static void refuse(struct ctl_conn *c, int cause, const char *why)
{
    ctl_send(c, json_pack("{s:s,s:i,s:s}", "t", "refused", "version", c->version, "cause", why));
    conn_down(c, cause, why);
}

static bool version_ok(struct ctl_conn *c, const json_t *m, const char *peer)
{
    const json_t *v = json_object_get(m, "version");
    int theirs = json_is_integer(v) ? (int)json_integer_value(v) : -1;
    if (theirs == c->version)
        return true;
    struct fl_errmsg e;
    fl_fail(&e, FL_EVERSION,
            "%s speaks control protocol version %d, this side version %d; run the same build of "
            "farline on both",
            peer, theirs, c->version);
    if (c->node_side)
        conn_down(c, FL_EVERSION, e.text);
    else
        refuse(c, FL_EVERSION, e.text);
    return false;
}

static const char *text_of(const json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));
    return s ? s : "";
}

/** Coordinator, first message: hello. */
static void take_hello(struct ctl_conn *c, const char *type, const json_t *m)
{
    const char *name = text_of(m, "name");
    if (strcmp(type, "hello") || !name[0] || strlen(name) >= sizeof(c->name)) {
        conn_down(c, FL_EPROTO, "peer did not say hello");
        return;
    }
    memcpy(c->name, name, strlen(name) + 1);
    if (!version_ok(c, m, "node"))
        return;
    char nonce[2 * CTL_NONCE_BYTES + 1], mac[2 * CTL_MAC_BYTES + 1];
    if (!ctl_unhex(text_of(m, "nonce"), c->auth.theirs, CTL_NONCE_BYTES)) {
        conn_down(c, FL_EPROTO, "hello without a nonce");
        return;
    }
    ctl_auth_mac(&c->auth, "coordinator", c->auth.theirs, c->auth.mine, c->name, mac);
    ctl_hex(c->auth.mine, CTL_NONCE_BYTES, nonce);
    c->phase = CTL_PROOF;
    ctl_send(c, json_pack("{s:s,s:i,s:s,s:s}", "t", "challenge", "version", c->version, "nonce",
                          nonce, "mac", mac));
}

static void now_up(struct ctl_conn *c)
{
    c->phase = CTL_UP;
    event_del(c->auth_timer);
    if (c->h.up && !c->h.up(c->h.arg, c, c->name))
        refuse(c, FL_EAUTH, "no node of this name is expected, or it has joined already");
}

/** Coordinator, second message: auth. */
static void take_auth(struct ctl_conn *c, const char *type, const json_t *m)
{
    if (strcmp(type, "auth") || !ctl_auth_check(&c->auth, "node", c->auth.mine, c->auth.theirs,
                                                c->name, text_of(m, "mac"))) {
        refuse(c, FL_EAUTH, "the node does not hold this run's key; check its --token-file");
        return;
    }
    ctl_send(c, json_pack("{s:s}", "t", "welcome"));
    now_up(c);
}

/** Node, first answer: challenge, which also proves that the coordinator holds the key. */
static void take_challenge(struct ctl_conn *c, const char *type, const json_t *m)
{
    if (!version_ok(c, m, "coordinator"))
        return;
    if (!strcmp(type, "refused")) {
        conn_down(c, FL_EAUTH, text_of(m, "cause"));
        return;
    }
    if (strcmp(type, "challenge") ||
        !ctl_unhex(text_of(m, "nonce"), c->auth.theirs, CTL_NONCE_BYTES)) {
        conn_down(c, FL_EPROTO, "no farline coordinator answers at this address");
        return;
    }
    if (!ctl_auth_check(&c->auth, "coordinator", c->auth.mine, c->auth.theirs, c->name,
                        text_of(m, "mac"))) {
        conn_down(c, FL_EAUTH,
                  "the coordinator does not hold the key of --token-file; use the key of its run");
        return;
    }
    char mac[2 * CTL_MAC_BYTES + 1];
    ctl_auth_mac(&c->auth, "node", c->auth.theirs, c->auth.mine, c->name, mac);
    c->phase = CTL_PROOF;
    ctl_send(c, json_pack("{s:s,s:s}", "t", "auth", "mac", mac));
}

static void take_welcome(struct ctl_conn *c, const char *type, const json_t *m)
{
    if (!strcmp(type, "welcome"))
        now_up(c);
    else
        conn_down(c, FL_EAUTH, text_of(m, "cause"));
}

static void take(struct ctl_conn *c, const json_t *m)
{
    const char *type = text_of(m, "t");
    if (c->phase == CTL_HELLO && !c->node_side)
        take_hello(c, type, m);
    else if (c->phase == CTL_PROOF && !c->node_side)
        take_auth(c, type, m);
    else if (c->phase == CTL_HELLO)
        take_challenge(c, type, m);
    else if (c->phase == CTL_PROOF)
        take_welcome(c, type, m);
    else if (c->phase == CTL_UP && !strcmp(type, "refused"))
        conn_down(c, FL_EAUTH, text_of(m, "cause"));
    else if (c->phase == CTL_UP && c->h.msg)
        c->h.msg(c->h.arg, c, type, m);
}

static void dispatch(struct ctl_conn *c)
{
    int err = FL_OK;
    while (c->phase != CTL_DEAD) {
        json_t *m;
        if (json_array_size(c->kept) > 0) {
            m = json_incref(json_array_get(c->kept, 0));
            json_array_remove(c->kept, 0);
        } else {
            m = next_line(c, &err);
        }
        if (!m)
            break;
        take(c, m);
        json_decref(m);
    }
    if (err)
        conn_down(c, err, err == FL_ETOOBIG ? "line is too long" : "not a farline message");
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    struct ctl_conn *c = arg;
    (void)what;
    if (c->busy)
        return;
    c->busy = true;
    int n = evbuffer_read(c->in, fd, 1 << 20);
    int err_no = errno;
    dispatch(c);
    /* Nobody else clears busy, so whoever closed it meanwhile has left it to us to free. */
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc) */
    if (n == 0 || (n < 0 && err_no != EAGAIN && err_no != EINTR))
        conn_down(c, FL_ECONN, "control connection was closed by the other side");
    c->busy = false;
    if (c->closed)
        conn_free(c);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
}

int ctl_wait(struct ctl_conn *c, const char *type, uint64_t deadline_ns, json_t **ret)
{
    int rv = ctl_flush(c, deadline_ns);
    while (!rv) {
        json_t *m;
        while ((m = next_line(c, &rv)) != NULL) {
            if (!strcmp(text_of(m, "t"), type)) {
                *ret = m;
                if (json_array_size(c->kept) > 0 || evbuffer_get_length(c->in) > 0)
                    event_active(c->rd, EV_READ, 1);
                return FL_OK;
            }
            if (json_array_append_new(c->kept, m))
                return FL_ENOMEM;
        }
        rv = rv ? rv : wait_fd(c, POLLIN, deadline_ns);
        if (rv)
            break;
        int n = evbuffer_read(c->in, c->fd, 1 << 20);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            rv = FL_ECONN;
    }
    return rv;
}
