/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/live.h"

#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/plan.h"
#include "tests/support/plans.h"

enum { SPIN_ROUNDS = 64, SERVE_S = 280, WAIT_S = 60 };
enum { COMPUTE, MEMORY };
enum ask { ASK_NONE, ASK_OPEN, ASK_CLOSE, ASK_PAUSE, ASK_QUIT };

struct live {
    struct plan *plan;
    uint16_t self;
    int wait;
    struct event_base *base;
    struct emu_node *node;
    struct tp_port *port;
    struct coh_tracker *trk;
    struct event *timer_ev, *ask_ev, *trk_ev;
    int timer_fd, ask_fd;
    bool soon, connected, quit;
    pid_t memory;
    pthread_t device;
    enum ask ask; /* of the application thread, given by ask_fd, answered by answered */
    uint16_t region;
    sem_t answered, go_on;
    int status;
    uint64_t asked_ns, answered_ns;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "live: %s: %s\n", what, why);
    exit(1);
}

static void check(int rv, const char *what, const struct fl_errmsg *err)
{
    if (rv)
        die(what, err->text[0] ? err->text : fl_strerror(rv));
}

/* --- emu_loop ------------------------------------------------------------------------------- */

static uint64_t now_ns(void *arg)
{
    (void)arg;
    return fl_clock_ns();
}

static void wake_soon(void *arg, struct emu_node *n)
{
    (void)n;
    ((struct live *)arg)->soon = true;
}

static void wake_at(void *arg, struct emu_node *n, uint64_t at_ns)
{
    struct live *l = arg;
    struct itimerspec at = {{0, 0}, {0, 0}};
    (void)n;
    if (at_ns != FL_NEVER && at_ns <= now_ns(l)) {
        l->soon = true;
        return;
    }
    if (at_ns != FL_NEVER) {
        at.it_value.tv_sec = (time_t)(at_ns / FL_NS_PER_S);
        at.it_value.tv_nsec = (long)(at_ns % FL_NS_PER_S);
    }
    if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL))
        die("timer", "refused");
}

static void loop_answer(void *arg, struct emu_node *n, uint32_t ticket, int status)
{
    struct live *l = arg;
    (void)n;
    (void)ticket;
    l->answered_ns = fl_clock_ns();
    l->status = status;
    sem_post(&l->answered);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    uint64_t times;
    (void)what;
    if (read(fd, &times, sizeof(times)) > 0)
        ((struct live *)arg)->soon = true;
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ((struct live *)arg)->soon = true;
}

static void hold(struct live *l)
{
    sem_post(&l->answered);
    while (sem_wait(&l->go_on))
        ;
}

static void on_ask(evutil_socket_t fd, short what, void *arg)
{
    struct live *l = arg;
    uint64_t times;
    (void)what;
    if (read(fd, &times, sizeof(times)) < 0)
        return;
    l->asked_ns = fl_clock_ns();
    if (l->ask == ASK_OPEN)
        emu_node_open(l->node, l->region);
    else if (l->ask == ASK_CLOSE)
        emu_node_close(l->node, l->region);
    else if (l->ask == ASK_PAUSE)
        hold(l);
    else
        l->quit = true;
}

static void loop_peer(void *arg, struct emu_node *n, uint16_t peer, bool up, int cause)
{
    struct live *l = arg;
    (void)n;
    (void)peer;
    if (up) {
        l->connected = true;
        if (l->self == COMPUTE)
            sem_post(&l->answered);
        return;
    }
    if (l->self == COMPUTE && !l->quit)
        die("the memory node is down", fl_strerror(cause));
    l->quit = true;
}

/* --- building ------------------------------------------------------------------------------- */

static void make_events(struct live *l)
{
    l->base = event_base_new();
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    l->ask_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->timer_ev = event_new(l->base, l->timer_fd, EV_READ | EV_PERSIST, on_timer, l);
    l->ask_ev = event_new(l->base, l->ask_fd, EV_READ | EV_PERSIST, on_ask, l);
    if (l->trk)
        l->trk_ev =
            event_new(l->base, l->trk->ops->wake_fd(l->trk), EV_READ | EV_PERSIST, on_due, l);
    if (!l->timer_ev || !l->ask_ev || event_add(l->timer_ev, NULL) || event_add(l->ask_ev, NULL) ||
        (l->trk && (!l->trk_ev || event_add(l->trk_ev, NULL))))
        die("event loop", "cannot set it up");
}

static void make_node(struct live *l)
{
    struct fl_errmsg err = {{0}};
    struct emu_node_cfg cfg = {.plan = l->plan,
                               .self = l->self,
                               .incarnation = 1,
                               .loop = {.arg = l,
                                        .now_ns = now_ns,
                                        .wake_at = wake_at,
                                        .wake_soon = wake_soon,
                                        .peer = loop_peer,
                                        .answer = loop_answer},
                               .tracker = l->trk};
    check(emu_node_new(&cfg, &l->node, &err), "node", &err);
}

static void make_port(struct live *l, struct tp_addr *ret_addr)
{
    struct fl_errmsg err = {{0}};
    struct tp_cfg cfg;
    emu_node_port_cfg(l->plan, l->self, &cfg);
    cfg.wait = l->wait;
    const struct tp_handler h = emu_node_handler(l->node);
    check(tp_ofi_new(l->base, &cfg, &h, &l->port, &err), "port", &err);
    check(emu_node_attach(l->node, l->port, &err), "attach", &err);
    check(l->port->ops->listen(l->port, ret_addr, &err), "listen", &err);
}

static struct live *make(const char *scenario, uint16_t self, int wait, struct tp_addr *ret_addr)
{
    struct live *l = calloc(1, sizeof(*l));
    struct fl_errmsg err = {{0}};
    if (!l || !(l->plan = calloc(1, sizeof(*l->plan))))
        die("memory", "none left");
    check(plans_eval_text(scenario, l->plan, &err), "scenario", &err);
    check(plan_validate(l->plan, &err), "plan", &err);
    l->self = self;
    l->wait = wait;
    sem_init(&l->answered, 0, 0);
    sem_init(&l->go_on, 0, 0);
    if (self == COMPUTE) {
        uint64_t memory = l->plan->nodes[self].device_memory_bytes;
        struct coh_cfg cfg = {.threads_max = 1,
                              .cached_pages_max = (uint32_t)(memory / FL_PAGE_BYTES),
                              .access_deadline_ns = 20 * FL_NS_PER_S,
                              .spin = wait};
        check(coh_mprotect_new(&cfg, &l->trk, &err), "tracker", &err);
    }
    make_events(l);
    make_node(l);
    make_port(l, ret_addr);
    return l;
}

/* --- the loop ------------------------------------------------------------------------------- */

static void run_node(struct live *l)
{
    if (l->soon) {
        l->soon = false;
        emu_node_run(l->node);
    }
}

static void spin(struct live *l)
{
    bool any = false;
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        any |= l->port->ops->poll(l->port);
        l->soon = true;
        run_node(l);
    }
    if (!any)
        sched_yield();
}

static void *loop(void *arg)
{
    struct live *l = arg;
    while (!l->quit) {
        bool spinning = l->wait == COH_WAIT_SPIN && l->connected;
        run_node(l);
        if (spinning)
            spin(l);
        int flags = spinning || l->soon ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE;
        if (event_base_loop(l->base, flags) != 0)
            die("event loop", "failed");
    }
    return NULL;
}

/* --- the memory node's process --------------------------------------------------------------- */

int live_memory_main(int argc, char **argv)
{
    struct tp_addr addr = {0};
    if (argc != 2 || strcmp(argv[0], "memory-node") != 0)
        return -1;
    alarm(SERVE_S);
    struct live *l = make(argv[1], MEMORY, COH_WAIT_BLOCK, &addr);
    if (write(1, &addr, sizeof(addr)) != (ssize_t)sizeof(addr))
        die("address", "nobody reads it");
    emu_node_start(l->node);
    (void)loop(l);
    return 0;
}

static pid_t memory_start(const char *scenario, struct tp_addr *ret_addr)
{
    int out[2];
    if (pipe(out))
        die("memory node", "no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        execl("/proc/self/exe", "memory-node", scenario, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    if (pid < 0 || read(out[0], ret_addr, sizeof(*ret_addr)) != (ssize_t)sizeof(*ret_addr))
        die("memory node", "did not start");
    close(out[0]);
    return pid;
}

/* --- the application's side ------------------------------------------------------------------ */

static void wait_answer(struct live *l, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    if (sem_timedwait(&l->answered, &until))
        die(what, "no answer");
    if (l->status)
        die(what, fl_strerror(l->status));
}

static void ask(struct live *l, enum ask what, uint16_t region)
{
    uint64_t one = 1;
    l->ask = what;
    l->region = region;
    if (write(l->ask_fd, &one, sizeof(one)) < 0)
        die("device thread", "cannot be asked");
}

struct live *live_new(const char *scenario, int wait)
{
    struct fl_errmsg err = {{0}};
    struct tp_addr mine, theirs;
    uint32_t ticket;
    pid_t memory = memory_start(scenario, &theirs);
    struct live *l = make(scenario, COMPUTE, wait, &mine);
    l->memory = memory;
    check(l->port->ops->connect(l->port, MEMORY, &theirs, &err), "connect", &err);
    emu_node_start(l->node);
    if (pthread_create(&l->device, NULL, loop, l))
        die("device thread", "cannot be started");
    wait_answer(l, "connect");
    check(coh_thread_enter(l->trk, &ticket, &err), "thread", &err);
    return l;
}

uint8_t *live_open(struct live *l, uint16_t region)
{
    ask(l, ASK_OPEN, region);
    wait_answer(l, "open");
    return emu_node_region_base(l->node, region);
}

uint64_t live_close(struct live *l, uint16_t region)
{
    ask(l, ASK_CLOSE, region);
    wait_answer(l, "close");
    return l->answered_ns - l->asked_ns;
}

void live_pause(struct live *l)
{
    ask(l, ASK_PAUSE, 0);
    wait_answer(l, "pause");
}

void live_resume(struct live *l)
{
    sem_post(&l->go_on);
}

struct wanted {
    const char *name;
    double value;
};

static void look(void *arg, const char *name, double value)
{
    struct wanted *w = arg;
    if (strcmp(w->name, name) == 0)
        w->value = value;
}

double live_metric(struct live *l, const char *name)
{
    struct wanted w = {name, -1};
    emu_node_metrics(l->node, look, &w);
    return w.value;
}

void live_free(struct live *l)
{
    ask(l, ASK_QUIT, 0);
    pthread_join(l->device, NULL);
    coh_thread_leave(l->trk);
    event_free(l->timer_ev);
    event_free(l->ask_ev);
    event_free(l->trk_ev);
    emu_node_free(&l->node); /* with port and tracker */
    close(l->timer_fd);
    close(l->ask_fd);
    event_base_free(l->base);
    kill(l->memory, SIGKILL);
    waitpid(l->memory, NULL, 0);
    sem_destroy(&l->answered);
    sem_destroy(&l->go_on);
    free(l->plan);
    free(l);
}
