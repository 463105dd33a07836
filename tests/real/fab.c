/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/real/fab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "emu/base/clock.h"
#include "tests/real/fab_remote.h"

uint64_t fab_now_ns(void)
{
    return fl_clock_ns();
}

const char *fab_verbs_addr(void)
{
    return getenv("FARLINE_RXE_ADDR");
}

struct tp_cfg fab_cfg(const char *provider)
{
    struct tp_cfg c = {.self = 0,
                       .nodes = 2,
                       .incarnation = 1,
                       .provider = provider,
                       .bind = strcmp(provider, "verbs") == 0 ? fab_verbs_addr() : NULL,
                       .credits = 8,
                       .window_ops = 16,
                       .window_bytes = 1 << 20,
                       .connect_deadline_ns = 8 * FL_NS_PER_S,
                       .fence_deadline_ns = 8 * FL_NS_PER_S,
                       .wait = 1,
                       .announce = true};

    memset(c.key, 0x5a, sizeof(c.key));
    return c;
}

/* --- what the port tells ----------------------------------------------------------------------- */

static void on_done(void *arg, uint64_t tag, int status)
{
    struct fab *f = arg;

    if (f->done_count < FAB_EVENTS_MAX)
        f->done[f->done_count++] = (struct fab_done){tag, status};
    if (f->on_done != NULL)
        f->on_done(f, tag, status);
}

static void on_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                   size_t bytes)
{
    struct fab *f = arg;

    f->msg[peer]++;
    f->last_msg = *m;
    memcpy(f->last_payload, payload, bytes);
    f->last_payload_bytes = bytes;
}

static void on_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    struct fab *f = arg;

    (void)cls;
    f->credit[peer]++;
}

static void on_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    struct fab *f = arg;

    f->up[peer]++;
    f->up_incarnation[peer] = incarnation;
}

static void on_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    struct fab *f = arg;

    (void)incarnation;
    f->down[peer]++;
    f->down_cause[peer] = cause;
    f->down_at_done[peer] = f->done_count;
    f->down_ns[peer] = fl_clock_ns();
}

static uint64_t landed_bytes;

static void on_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    (void)arg;
    (void)peer;
    landed_bytes += bytes;
}

static struct tp_handler handler(struct fab *f)
{
    return (struct tp_handler){.arg = f,
                               .done = on_done,
                               .msg = on_msg,
                               .credit = on_credit,
                               .peer_up = on_up,
                               .peer_down = on_down,
                               .landed = on_landed};
}

/* --- node 0 ------------------------------------------------------------------------------------ */

struct fab *fab_new(const struct tp_cfg *cfg)
{
    struct fab *f = calloc(1, sizeof(*f));
    struct fl_errmsg err = {0};

    assert_non_null(f);
    f->cfg = *cfg;
    f->loop = event_base_new();
    assert_non_null(f->loop);
    f->mem =
        mmap(NULL, FAB_EXPOSED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(f->mem != MAP_FAILED);
    struct tp_handler h = handler(f);
    if (tp_ofi_new(f->loop, cfg, &h, &f->port, &err) != FL_OK)
        fail_msg("port: %s", err.text);
    if (f->port->ops->reg(f->port, f->mem, FAB_EXPOSED_BYTES, &err) != FL_OK)
        fail_msg("register: %s", err.text);
    return f;
}

void fab_free(struct fab *f)
{
    f->port->ops->close(&f->port);
    assert_null(f->port);
    event_base_free(f->loop);
    munmap(f->mem, FAB_EXPOSED_BYTES);
    free(f);
}

static void wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

bool fab_until(struct fab *f, bool (*cond)(struct fab *f, uint64_t arg), uint64_t arg, unsigned ms)
{
    uint64_t end = fl_clock_ns() + ms * FL_NS_PER_MS;

    while (!cond(f, arg)) {
        uint64_t now = fl_clock_ns();
        if (now >= end)
            return false;
        uint64_t us = (end - now) / FL_NS_PER_US + 1;
        struct timeval tv = {.tv_sec = (time_t)(us / 1000000),
                             .tv_usec = (suseconds_t)(us % 1000000)};
        struct event *t = evtimer_new(f->loop, wake, NULL);
        evtimer_add(t, &tv);
        event_base_loop(f->loop, EVLOOP_ONCE);
        event_free(t);
    }
    return true;
}

bool fab_is_up(struct fab *f, uint64_t peer)
{
    return f->up[peer] > 0;
}

bool fab_is_down(struct fab *f, uint64_t peer)
{
    return f->down[peer] > 0;
}

bool fab_has_done(struct fab *f, uint64_t count)
{
    return f->done_count >= count;
}

int fab_status(const struct fab *f, uint64_t tag)
{
    for (unsigned i = 0; i < f->done_count; i++)
        if (f->done[i].tag == tag)
            return f->done[i].status;
    return 1;
}

static struct tp_rma rma(struct fab *f, uint64_t tag, uint64_t off, uint32_t len, uint64_t deadline)
{
    return (struct tp_rma){.tag = tag,
                           .peer = 1,
                           .cls = FL_NORMAL,
                           .last = 1,
                           .announce_bytes = len,
                           .remote_off = off,
                           .local = f->mem + off,
                           .len_bytes = len,
                           .deadline_ns = deadline};
}

void fab_read(struct fab *f, uint64_t tag, uint64_t off, uint32_t len, uint64_t deadline_ns)
{
    struct tp_rma r = rma(f, tag, off, len, deadline_ns);

    f->port->ops->read(f->port, &r);
}

void fab_write(struct fab *f, uint64_t tag, uint64_t off, uint32_t len, uint64_t deadline_ns)
{
    struct tp_rma r = rma(f, tag, off, len, deadline_ns);

    f->port->ops->write(f->port, &r);
}

void fab_send(struct fab *f, uint64_t tag, uint8_t type, uint64_t a)
{
    struct fl_msg m = {.type = type, .a = a};

    f->port->ops->send(f->port, 1, &m, NULL, tag);
}

void fab_join(struct fab *f, struct fab_child *c, uint16_t peer)
{
    struct fl_errmsg err = {0};

    if (f->port->ops->connect(f->port, peer, &c->addr, &err) != FL_OK)
        fail_msg("connect: %s", err.text);
    if (!fab_until(f, fab_is_up, peer, 10000))
        fail_msg("peer %u not up, down cause %d", peer, f->down_cause[peer]);
}

/* --- starting and driving another process ------------------------------------------------------ */

static void exec_child(const struct fab_args *a, int in, int out)
{
    char *argv[FAB_ARGS + 2] = {(char *)"fab-child"};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, 0);
    dup2(out, 1);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    for (int i = 0; i < FAB_ARGS; i++)
        argv[i + 1] = (char *)a->text[i];
    execv("/proc/self/exe", argv);
    _exit(127);
}

static struct fab_args child_args(const struct tp_cfg *cfg)
{
    const uint64_t v[FAB_ARGS - 1] = {cfg->self,
                                      cfg->nodes,
                                      cfg->incarnation,
                                      cfg->credits,
                                      cfg->window_ops,
                                      cfg->window_bytes,
                                      cfg->heartbeat_ns,
                                      cfg->heartbeat_miss_ns,
                                      cfg->connect_deadline_ns,
                                      cfg->fence_deadline_ns,
                                      cfg->key[0],
                                      cfg->announce};
    struct fab_args a;

    snprintf(a.text[0], sizeof(a.text[0]), "%s", cfg->provider);
    for (int i = 1; i < FAB_ARGS; i++)
        snprintf(a.text[i], sizeof(a.text[0]), "%llu", (unsigned long long)v[i - 1]);
    return a;
}

static const char *answer(struct fab_child *c)
{
    static char line[512];
    struct pollfd p = {.fd = fileno(c->out), .events = POLLIN};

    if (poll(&p, 1, c->remote ? 60000 : 20000) <= 0 || fgets(line, sizeof(line), c->out) == NULL)
        fail_msg("process %d does not answer", (int)c->pid);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "ok ", 3) != 0)
        fail_msg("process %d: %s", (int)c->pid, line);
    return line + 3;
}

static void start_here(struct fab_child *c, const struct fab_args *a)
{
    int in[2], out[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0)
        exec_child(a, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    c->in = fdopen(in[1], "w");
    c->out = fdopen(out[0], "r");
}

struct fab_child *fab_child_new(const struct tp_cfg *cfg)
{
    struct fab_child *c = calloc(1, sizeof(*c));
    struct fab_args a = child_args(cfg);

    assert_non_null(c);
    if (fab_remote())
        fab_remote_start(c, &a);
    else
        start_here(c, &a);
    setvbuf(c->in, NULL, _IOLBF, 0);
    const char *hex = answer(c);
    c->addr.len = (uint16_t)(strlen(hex) / 2);
    for (unsigned i = 0; i < c->addr.len && i < TP_ADDR_MAX; i++) {
        unsigned b;
        sscanf(hex + 2 * i, "%2x", &b);
        c->addr.bytes[i] = (uint8_t)b;
    }
    return c;
}

const char *fab_ask(struct fab_child *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(c->in, fmt, ap);
    va_end(ap);
    fputc('\n', c->in);
    fflush(c->in);
    return answer(c);
}

void fab_signal(const struct fab_child *c, int sig)
{
    if (c->remote)
        fab_remote_signal(c->pid, sig);
    else
        kill(c->pid, sig);
}

void fab_child_free(struct fab_child *c)
{
    if (c == NULL)
        return;
    if (c->pid > 0) {
        fab_signal(c, SIGCONT);
        fab_signal(c, SIGKILL);
        if (!c->remote)
            waitpid(c->pid, NULL, 0);
    }
    fclose(c->in);
    fclose(c->out);
    free(c);
}

struct pair pair_up(const struct tp_cfg *cfg)
{
    struct pair p;
    struct tp_cfg child = *cfg;

    child.self = 1;
    child.incarnation = 11;
    p.c = fab_child_new(&child);
    p.f = fab_new(cfg);
    fab_join(p.f, p.c, 1);
    /* Up at both ends: there it is told by our first frame, a moment later. */
    for (int i = 0; i < 500 && atoi(fab_ask(p.c, "count up")) == 0; i++)
        fab_until(p.f, fab_is_down, 1, 2);
    assert_int_equal(atoi(fab_ask(p.c, "count up")), 1);
    return p;
}

void pair_free(struct pair *p)
{
    fab_free(p->f);
    fab_child_free(p->c);
}

bool fab_has_msgs(struct fab *f, uint64_t n)
{
    return f->msg[1] >= n;
}

unsigned fab_sum(const uint8_t *b, size_t len)
{
    unsigned s = 1;

    for (size_t i = 0; i < len; i++)
        s = s * 31 + b[i];
    return s;
}

/* --- the other process ------------------------------------------------------------------------- */

static struct {
    struct fab *f;
    FILE *in;
    bool hush; /* messages are not answered */
} me;

static void child_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                      size_t bytes)
{
    on_msg(arg, peer, m, payload, bytes);
    if (m->type == FL_MSG_OPEN_REQ && !me.hush) {
        struct fl_msg ack = {.type = FL_MSG_OPEN_ACK, .a = m->a};
        me.f->port->ops->send(me.f->port, peer, &ack, NULL, 0);
    }
}

/* A process that outlives this one and would keep its inherited descriptors open. */
static void grandchild(void)
{
    int ready[2];
    char c;

    if (pipe2(ready, O_CLOEXEC) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 0);
        execl("/bin/sleep", "sleep", "5", (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    while (read(ready[0], &c, 1) > 0) /* ends when exec closes the other end */
        ;
    close(ready[0]);
    printf("ok %d\n", (int)pid);
}

static void count(const char *what)
{
    struct tp_ledger l;

    me.f->port->ops->ledger(me.f->port, &l);
    uint64_t n = strcmp(what, "up") == 0        ? me.f->up[0]
                 : strcmp(what, "down") == 0    ? me.f->down[0]
                 : strcmp(what, "msg") == 0     ? me.f->msg[0]
                 : strcmp(what, "landed") == 0  ? landed_bytes
                 : strcmp(what, "rx") == 0      ? l.rx_announced_bytes
                 : strcmp(what, "wakeups") == 0 ? l.wakeups
                                                : 0;
    printf("ok %llu\n", (unsigned long long)n);
}

static void command(char *line)
{
    unsigned long off, len, byte;
    char word[32] = "", rest[300] = "";

    sscanf(line, "%31s %299[^\n]", word, rest);
    if (strcmp(word, "fill") == 0 && sscanf(rest, "%lu %lu %lu", &off, &len, &byte) == 3) {
        memset(me.f->mem + off, (int)byte, len);
        printf("ok \n");
    } else if (strcmp(word, "sum") == 0 && sscanf(rest, "%lu %lu", &off, &len) == 2) {
        printf("ok %u\n", fab_sum(me.f->mem + off, len));
    } else if (strcmp(word, "peek") == 0 && sscanf(rest, "%lu", &off) == 1) {
        printf("ok %u\n", me.f->mem[off]);
    } else if (strcmp(word, "count") == 0) {
        count(rest);
    } else if (strcmp(word, "cause") == 0) {
        printf("ok %d\n", me.f->down_cause[0]);
    } else if (strcmp(word, "hush") == 0) {
        me.hush = true;
        printf("ok \n");
    } else if (strcmp(word, "grandchild") == 0) {
        grandchild();
    } else if (strcmp(word, "quit") == 0) {
        event_base_loopbreak(me.f->loop);
    } else {
        printf("unknown command\n");
    }
    fflush(stdout);
}

static void on_command(evutil_socket_t fd, short what, void *arg)
{
    static char buf[1024];
    static size_t have;

    (void)what;
    (void)arg;
    ssize_t n = read(fd, buf + have, sizeof(buf) - 1 - have);
    if (n <= 0) {
        event_base_loopbreak(me.f->loop);
        return;
    }
    have += (size_t)n;
    buf[have] = 0;
    for (char *end; (end = strchr(buf, '\n')) != NULL;) {
        *end = 0;
        command(buf);
        have -= (size_t)(end + 1 - buf);
        memmove(buf, end + 1, have + 1);
    }
}

static struct tp_cfg child_cfg(char **argv)
{
    struct tp_cfg c = fab_cfg(argv[1]);

    c.self = (uint16_t)strtoul(argv[2], NULL, 10);
    c.nodes = (uint16_t)strtoul(argv[3], NULL, 10);
    c.incarnation = strtoull(argv[4], NULL, 10);
    c.credits = (uint16_t)strtoul(argv[5], NULL, 10);
    c.window_ops = (uint32_t)strtoul(argv[6], NULL, 10);
    c.window_bytes = (uint32_t)strtoul(argv[7], NULL, 10);
    c.heartbeat_ns = strtoull(argv[8], NULL, 10);
    c.heartbeat_miss_ns = strtoull(argv[9], NULL, 10);
    c.connect_deadline_ns = strtoull(argv[10], NULL, 10);
    c.fence_deadline_ns = strtoull(argv[11], NULL, 10);
    memset(c.key, (int)strtoul(argv[12], NULL, 10), sizeof(c.key));
    c.announce = strtoul(argv[13], NULL, 10) != 0;
    return c;
}

int fab_child_main(int argc, char **argv)
{
    struct fl_errmsg err = {0};
    struct tp_addr addr;

    if (argc != FAB_ARGS + 1 || strcmp(argv[0], "fab-child") != 0)
        return -1;
    alarm(120); /* never left behind */
    struct tp_cfg cfg = child_cfg(argv);
    struct fab *f = calloc(1, sizeof(*f));
    me.f = f;
    f->loop = event_base_new();
    f->mem =
        mmap(NULL, FAB_EXPOSED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct tp_handler h = handler(f);
    h.msg = child_msg;
    int e = tp_ofi_new(f->loop, &cfg, &h, &f->port, &err);
    if (e == FL_OK)
        e = f->port->ops->reg(f->port, f->mem, FAB_EXPOSED_BYTES, &err);
    if (e == FL_OK)
        e = f->port->ops->expose(f->port, f->mem, FAB_EXPOSED_BYTES, &err);
    if (e == FL_OK)
        e = f->port->ops->listen(f->port, &addr, &err);
    if (e != FL_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    printf("ok ");
    for (unsigned i = 0; i < addr.len; i++)
        printf("%02x", addr.bytes[i]);
    printf("\n");
    fflush(stdout);
    struct event *in = event_new(f->loop, 0, EV_READ | EV_PERSIST, on_command, NULL);
    event_add(in, NULL);
    event_base_dispatch(f->loop);
    event_free(in);
    f->port->ops->close(&f->port);
    event_base_free(f->loop);
    munmap(f->mem, FAB_EXPOSED_BYTES);
    free(f);
    printf("ok bye\n");
    return 0;
}
