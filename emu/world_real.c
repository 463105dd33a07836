/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/world_real.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/util.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "emu/base/log.h"
#include "emu/world.h"

enum {
    SPIN_ROUNDS = 64, /* looks at the fabric between two looks at everything else */
};

/* Source: assumed; the tracker's own deadline only catches what the core's deadlines miss. */
#define ACCESS_SLACK_NS (5 * FL_NS_PER_S)

void rw_exit(int code)
{
    _exit(code);
}

/* --- emu_loop ------------------------------------------------------------------------------- */

static uint64_t now_ns(void *arg)
{
    return fl_clock_ns() - ((struct rw *)arg)->epoch_ns;
}

static void wake_soon(void *arg, struct emu_node *n)
{
    (void)n;
    ((struct rw *)arg)->soon = true;
}

/* A timer descriptor of our own: libevent's precise timers cost a system call in every turn of the
 * loop, this one only when the time changes. */
static void wake_at(void *arg, struct emu_node *n, uint64_t at_ns)
{
    struct rw *w = arg;
    struct itimerspec at = {{0, 0}, {0, 0}};
    (void)n;
    if (at_ns != FL_NEVER && at_ns <= now_ns(w)) {
        w->soon = true;
        return;
    }
    if (at_ns != FL_NEVER) {
        uint64_t t = at_ns + w->epoch_ns;
        at.it_value.tv_sec = (time_t)(t / FL_NS_PER_S);
        at.it_value.tv_nsec = (long)(t % FL_NS_PER_S);
    }
    FL_ASSERT(timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

static void loop_answer(void *arg, struct emu_node *n, uint32_t ticket, int status)
{
    (void)n;
    rw_answer(arg, ticket, status);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ((struct rw *)arg)->soon = true;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    uint64_t times;
    (void)what;
    if (read(fd, &times, sizeof(times)) > 0)
        ((struct rw *)arg)->soon = true;
}

static void on_threads(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    rw_threads_done(arg);
}

static void loop_peer(void *arg, struct emu_node *n, uint16_t peer, bool up, int cause)
{
    struct rw *w = arg;
    (void)n;
    if (peer >= w->plan->node_count)
        return;
    const char *name = w->plan->nodes[peer].name;
    if (up) {
        w->peer_up[peer] = 1;
        rw_connected(w);
        return;
    }
    w->peer_up[peer] = 0;
    rw_peer_lost(w, peer);
    fl_log(cause ? FL_LOG_WARN : FL_LOG_INFO, "peer %s is down: %s", name, fl_strerror(cause));
    if (w->connecting && !w->connected && w->peer_need[peer]) {
        struct fl_errmsg err;
        bool pins = cause == FL_ENOMEM && strcmp(w->fabric, "verbs") == 0;
        if (pins) /* what a connection takes is registered */
            cause = FL_EUNSUPPORTED;
        fl_fail(&err, cause, "cannot connect to %s: %s%s", name, fl_strerror(cause),
                pins
                    ? ": no more memory can be pinned for the device; raise the limit with `ulimit "
                      "-l unlimited` (containers: --ulimit memlock=-1)"
                    : "");
        rw_tell_failure(w, cause ? cause : FL_ECONN, err.text);
        rw_exit(1);
    }
}

/* --- building ------------------------------------------------------------------------------- */

static int make_tracker(struct rw *w, struct fl_errmsg *err)
{
    const struct plan_node *pn = &w->plan->nodes[w->self];
    uint64_t longest = 0;
    for (uint16_t r = 0; r < w->plan->region_count; r++) {
        const struct plan_region *g = &w->plan->regions[r];
        if (g->on == w->self && g->op_deadline_ns > longest)
            longest = g->op_deadline_ns;
    }
    uint32_t threads = rw_threads_of(w->plan, w->self);
    /* An access may wait for a read, and before it for the eviction that makes room, each with its
     * retries; the core answers it in the end, so this bound is for a device that is gone. */
    struct coh_cfg cfg = {.threads_max = threads ? threads : 1,
                          .cached_pages_max = (uint32_t)(pn->device_memory_bytes / FL_PAGE_BYTES),
                          .access_deadline_ns =
                              longest * 4 * (pn->retry_max + 1U) + ACCESS_SLACK_NS,
                          .spin = w->wait,
                          .plants = w->plan->plants};
    return coh_mprotect_new(&cfg, &w->trk, err);
}

static int make_node(struct rw *w, struct fl_errmsg *err)
{
    struct emu_node_cfg cfg = {.plan = w->plan,
                               .self = w->self,
                               .incarnation = w->incarnation,
                               .loop = {.arg = w,
                                        .now_ns = now_ns,
                                        .wake_at = wake_at,
                                        .wake_soon = wake_soon,
                                        .site = rw_site,
                                        .peer = loop_peer,
                                        .answer = loop_answer},
                               .trace = w->trace,
                               .tracker = w->trk,
                               .oracles = true,
                               .image = w->image,
                               .record = w->record};
    return emu_node_new(&cfg, &w->node, err);
}

static int make_port(struct rw *w, struct tp_addr *ret_addr, struct fl_errmsg *err)
{
    struct tp_cfg cfg;
    emu_node_port_cfg(w->plan, w->self, &cfg);
    cfg.incarnation = w->incarnation;
    cfg.provider = w->fabric;
    cfg.bind = w->bind[0] != '\0' ? w->bind : NULL;
    cfg.wait = w->wait;
    ctl_key_derive(w->key, "farline fabric", cfg.key);
    struct tp_handler h = emu_node_handler(w->node);
    int rv = rw_filters_make(w, &cfg, &h, err);
    if (!rv)
        rv = tp_ofi_new(w->base, &cfg, &h, &w->port, err);
    if (!rv && w->filters)
        w->port = tp_filters_over(w->filters, w->port);
    if (!rv)
        rv = emu_node_attach(w->node, w->port, err);
    if (!rv)
        rv = w->port->ops->listen(w->port, ret_addr, err);
    return rv;
}

/** Compute nodes need the memory nodes of their regions, and the other way round. */
static int find_peers(struct rw *w, struct fl_errmsg *err)
{
    w->peer_need = calloc(w->plan->node_count, 1);
    w->peer_up = calloc(w->plan->node_count, 1);
    if (!w->peer_need || !w->peer_up)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    for (uint16_t r = 0; r < w->plan->region_count; r++) {
        const struct plan_region *g = &w->plan->regions[r];
        for (uint16_t k = 0; k < g->chunk_count; k++) {
            if (g->on == w->self)
                w->peer_need[g->chunks[k].node] = 1;
            if (g->chunks[k].node == w->self)
                w->peer_need[g->on] = 1;
        }
    }
    return FL_OK;
}

static int make_events(struct rw *w, struct fl_errmsg *err)
{
    w->threads_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    w->timer_ev = event_new(w->base, w->timer_fd, EV_READ | EV_PERSIST, on_timer, w);
    w->threads_ev = event_new(w->base, w->threads_fd, EV_READ | EV_PERSIST, on_threads, w);
    int wake = w->trk ? w->trk->ops->wake_fd(w->trk) : -1;
    if (wake >= 0)
        w->trk_ev = event_new(w->base, wake, EV_READ | EV_PERSIST, on_due, w);
    if (w->threads_fd < 0 || w->timer_fd < 0 || !w->timer_ev || !w->threads_ev ||
        (wake >= 0 && !w->trk_ev) || event_add(w->timer_ev, NULL) ||
        event_add(w->threads_ev, NULL) || (w->trk_ev && event_add(w->trk_ev, NULL)))
        return fl_fail(err, FL_ENOMEM, "cannot set up the event loop");
    return FL_OK;
}

int rw_make(struct rw *w, struct tp_addr *ret_addr, struct fl_errmsg *err)
{
    int rv = find_peers(w, err);
    if (!rv && native_guard_init())
        rv = fl_fail(err, FL_EIO, "cannot install a signal handler");
    if (!rv && w->plan->nodes[w->self].role == PLAN_COMPUTE)
        rv = make_tracker(w, err);
    if (!rv)
        rv = make_events(w, err);
    if (!rv)
        rv = make_node(w, err);
    if (!rv)
        rv = make_port(w, ret_addr, err);
    return rv;
}

/* --- the loop ------------------------------------------------------------------------------- */

static void run_node(struct rw *w)
{
    if (w->node && w->soon) {
        w->soon = false;
        emu_node_run(w->node);
        if (w->any_fault)
            rw_hits_tell(w, true);
    }
}

/** Looks at fabric and tracker without ever sleeping. */
static void spin(struct rw *w)
{
    bool any = false;
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        any |= w->port->ops->poll(w->port);
        w->soon = true; /* notes of the tracker, timers */
        run_node(w);
    }
    if (!any)
        sched_yield(); /* others may have to run before anything can come */
}

static void loop(struct rw *w)
{
    while (!w->quit) {
        bool spinning = w->wait == COH_WAIT_SPIN && w->connected;
        run_node(w);
        if (spinning)
            spin(w);
        int flags = spinning || w->soon ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE;
        if (event_base_loop(w->base, flags) != 0) {
            rw_tell_failure(w, FL_EIO, "the event loop failed");
            rw_exit(1);
        }
    }
}

/* --- command line --------------------------------------------------------------------------- */

struct node_args {
    const char *join, *name, *token_file, *bind;
    int token_fd, version, join_s;
};

void emu_own_signals(void)
{
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
        signal(sigs[i], SIG_DFL);
}

static int parse_number(const char *text, int min, int max)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    return *text && !*end && !errno && v >= min && v <= max ? (int)v : -1;
}

static int parse_args(int argc, char **argv, struct node_args *a, struct fl_errmsg *err)
{
    *a = (struct node_args){.token_fd = -1, .version = CTL_VERSION, .join_s = RW_CONNECT_MS / 1000};
    int i = 0;
    while (i < argc && strncmp(argv[i], "--", 2) != 0)
        i++; /* the program's and the command's name */
    for (; i < argc; i += 2) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!v)
            return fl_fail(err, FL_EINVAL, "%s needs a value", argv[i]);
        if (!strcmp(argv[i], "--join"))
            a->join = v;
        else if (!strcmp(argv[i], "--name"))
            a->name = v;
        else if (!strcmp(argv[i], "--token-file"))
            a->token_file = v;
        else if (!strcmp(argv[i], "--token-fd"))
            a->token_fd = parse_number(v, 3, 65535);
        else if (!strcmp(argv[i], "--bind"))
            a->bind = v;
        else if (!strcmp(argv[i], "--join-deadline"))
            a->join_s = parse_number(v, 1, 3600);
        else if (!strcmp(argv[i], "--protocol")) /* for tests of the refusal */
            a->version = parse_number(v, 0, 1000000);
        else
            return fl_fail(err, FL_EINVAL, "unknown option %s", argv[i]);
    }
    if (!a->join || !a->name || (!a->token_file && a->token_fd < 0))
        return fl_fail(err, FL_EINVAL,
                       "usage: farline node --join ADDR:PORT --name NAME --token-file FILE "
                       "[--bind ADDR|auto] [--join-deadline SECONDS]");
    if (a->join_s < 0)
        return fl_fail(err, FL_EINVAL, "--join-deadline is a number of seconds from 1 to 3600");
    struct in_addr in;
    if (a->bind && strcmp(a->bind, "auto") != 0 && inet_pton(AF_INET, a->bind, &in) != 1)
        return fl_fail(err, FL_EINVAL,
                       "--bind %s: it must be a numeric IPv4 address without a port, or auto",
                       a->bind);
    if (!a->name[0] || strlen(a->name) >= CTL_NAME_MAX)
        return fl_fail(err, FL_EINVAL, "a node's name has 1 to %d characters", CTL_NAME_MAX - 1);
    return FL_OK;
}

/** One attempt until @deadline_ns; an errno, or 0 and a descriptor. */
static int connect_once(const struct sockaddr_storage *sa, int len, uint64_t deadline_ns,
                        int *ret_fd)
{
    int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), so_err = 0;
    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)sa, (socklen_t)len) && errno != EINPROGRESS)
        so_err = errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = 0;
    for (uint64_t now = fl_clock_ns(); !so_err && n <= 0 && now < deadline_ns; now = fl_clock_ns())
        n = poll(&p, 1, (int)((deadline_ns - now) / FL_NS_PER_MS) + 1);
    socklen_t so_len = sizeof(so_err);
    if (!so_err && n > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_err, &so_len))
        so_err = errno;
    if (!so_err && n <= 0)
        so_err = ETIMEDOUT;
    if (so_err)
        close(fd);
    else
        *ret_fd = fd;
    return so_err;
}

/** ADDR:PORT, or NAME:PORT by the system's resolver. 0, EINVAL (neither), EHOSTUNREACH (not yet). */
static int resolve(const char *join, struct sockaddr_storage *ret, int *ret_len)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char name[256];
    const char *colon = strrchr(join, ':');
    *ret_len = sizeof(*ret);
    if (!evutil_parse_sockaddr_port(join, (struct sockaddr *)ret, ret_len))
        return 0;
    if (!colon || colon == join || colon - join >= (long)sizeof(name) ||
        parse_number(colon + 1, 1, 65535) < 0)
        return EINVAL;
    snprintf(name, sizeof(name), "%.*s", (int)(colon - join), join);
    if (getaddrinfo(name, colon + 1, &hints, &found) || !found)
        return EHOSTUNREACH;
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    *ret_len = (int)found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/** Connects within @seconds. Whoever starts nodes and coordinator need not start them in order. */
static int connect_to(const char *join, int seconds, int *ret_fd, struct fl_errmsg *err)
{
    struct sockaddr_storage sa;
    int len = sizeof(sa), e = 0;
    uint64_t deadline_ns = fl_clock_ns() + (uint64_t)seconds * FL_NS_PER_S;
    for (;;) {
        int once = resolve(join, &sa, &len);
        if (once == EINVAL)
            return fl_fail(err, FL_EINVAL, "--join %s is not ADDR:PORT or NAME:PORT", join);
        once = once ? once : connect_once(&sa, len, deadline_ns, ret_fd);
        if (!once || !e || once != ETIMEDOUT) /* a refusal says more than the last, hasty look */
            e = once;
        if (!e || fl_clock_ns() + RW_RETRY_MS * FL_NS_PER_MS >= deadline_ns)
            break;
        poll(NULL, 0, RW_RETRY_MS);
    }
    if (e)
        return fl_fail(
            err, fl_err_from_errno(e),
            "cannot reach the coordinator at %s within %d s: %s; is `farline run` there, "
            "and this address on a network of both?",
            join, seconds, strerror(e));
    return FL_OK;
}

/** --bind auto: the address that the coordinator is reached from. */
static int choose_bind(struct rw *w, const char *bind, int fd, struct fl_errmsg *err)
{
    struct sockaddr_in sin = {0};
    socklen_t len = sizeof(sin);
    if (!bind || strcmp(bind, "auto") != 0) {
        snprintf(w->bind, sizeof(w->bind), "%s", bind ? bind : "");
        return FL_OK;
    }
    if (getsockname(fd, (struct sockaddr *)&sin, &len) || sin.sin_family != AF_INET ||
        !inet_ntop(AF_INET, &sin.sin_addr, w->bind, sizeof(w->bind)))
        return fl_fail(err, FL_EINVAL,
                       "--bind auto found no IPv4 address towards the coordinator; name one");
    return FL_OK;
}

static int join(struct rw *w, const struct node_args *a, struct fl_errmsg *err)
{
    int fd = -1, rv = ctl_key_read(a->token_fd, a->token_file, w->key, err);
    if (!rv)
        rv = connect_to(a->join, a->join_s, &fd, err);
    if (!rv)
        rv = choose_bind(w, a->bind, fd, err);
    if (rv) {
        if (fd >= 0)
            close(fd);
        return rv;
    }
    w->base = event_base_new();
    w->plan = calloc(1, sizeof(*w->plan));
    if (!w->base || !w->plan) {
        close(fd);
        return fl_fail(err, FL_ENOMEM, "out of memory");
    }
    struct ctl_handler h = rw_ctl_handler;
    h.arg = w;
    snprintf(w->name, sizeof(w->name), "%s", a->name);
    w->conn = ctl_new(w->base, fd, a->name, a->version, w->key, &h);
    return w->conn ? FL_OK : fl_fail(err, FL_ENOMEM, "out of memory");
}

/** Says goodbye to peers, which would otherwise take the end for a crash. */
static void leave(struct rw *w)
{
    struct fl_errmsg err;
    emu_node_free(&w->node);
    fl_trace_free(&w->trace);
    if (history_close(&w->history, &err))
        fl_log(FL_LOG_WARN, "%s", err.text);
}

/** Process 1 of a container takes no signal without a handler. */
static void on_end_signal(int sig)
{
    _exit(128 + sig);
}

int emu_node_main(int argc, char **argv)
{
    static struct rw w;
    struct node_args a;
    struct fl_errmsg err = {{0}};
    w.threads_fd = w.timer_fd = -1;
    emu_own_signals();
    signal(SIGPIPE, SIG_IGN);
    if (getpid() == 1) {
        signal(SIGTERM, on_end_signal);
        signal(SIGINT, on_end_signal);
    }
    int rv = parse_args(argc, argv, &a, &err);
    if (rv) {
        fprintf(stderr, "farline node: %s\n", err.text);
        return EMU_USAGE;
    }
    fl_log_init(a.name, FL_LOG_INFO);
    rv = join(&w, &a, &err);
    if (rv) {
        fl_log(FL_LOG_ERROR, "%s (%s)", err.text, fl_errname(rv));
        return rv == FL_EINVAL || rv == FL_EPERM ? EMU_USAGE : 1;
    }
    loop(&w);
    leave(&w);
    return 0; /* all that could hang is over: what runs at exit may run */
}
