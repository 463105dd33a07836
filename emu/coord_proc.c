/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/coord.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"

/* --- the control port ----------------------------------------------------------------------- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
                      void *arg)
{
    (void)l;
    (void)sa;
    (void)len;
    coord_take(arg, fd);
}

int coord_listen(struct coord *c)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *where = c->o->listen ? c->o->listen : "127.0.0.1";
    int sin_len = sizeof(sin);
    if (evutil_parse_sockaddr_port(where, (struct sockaddr *)&sin, &sin_len) ||
        sin.sin_family != AF_INET)
        return fl_fail(c->err, FL_EINVAL, "--listen %.64s is not ADDR[:PORT]", where);
    c->listener = evconnlistener_new_bind(
        c->base, on_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
        c->stranger_max, (struct sockaddr *)&sin, sizeof(sin));
    socklen_t len = sizeof(sin);
    if (!c->listener ||
        getsockname(evconnlistener_get_fd(c->listener), (struct sockaddr *)&sin, &len))
        return fl_fail(c->err, fl_err_from_errno(errno),
                       "cannot listen on %.64s for the control connections of nodes: %s; choose "
                       "another address or port with --listen, and check that the interface is up",
                       where, strerror(errno));
    char ip[INET_ADDRSTRLEN] = "";
    bool any = sin.sin_addr.s_addr == htonl(INADDR_ANY);
    inet_ntop(AF_INET, &sin.sin_addr, ip, sizeof(ip));
    snprintf(c->addr, sizeof(c->addr), "%s:%u", ip, ntohs(sin.sin_port));
    snprintf(c->join, sizeof(c->join), "%s:%u", any ? "127.0.0.1" : ip, ntohs(sin.sin_port));
    return FL_OK;
}

/* --- starting a node ------------------------------------------------------------------------ */

/** A pipe that holds the key: the child reads it from descriptor 3, nobody else ever sees it. */
static int token_pipe(struct coord *c)
{
    int fds[2];
    char hex[2 * CTL_KEY_BYTES + 2];
    if (pipe2(fds, O_CLOEXEC))
        return -1;
    ctl_hex(c->key, CTL_KEY_BYTES, hex);
    hex[2 * CTL_KEY_BYTES] = '\n';
    ssize_t n = write(fds[1], hex, 2 * CTL_KEY_BYTES + 1);
    memset(hex, 0, sizeof(hex));
    close(fds[1]);
    if (n != 2 * CTL_KEY_BYTES + 1) {
        close(fds[0]);
        return -1;
    }
    return fds[0];
}

/** Between fork and exec: async-signal-safe calls only. */
static _Noreturn void child(pid_t parent, int token, int log, int memory, char *const argv[])
{
    int null = open("/dev/null", O_RDONLY);
    /* Above the numbers that are given out below, so that none is overwritten too early. */
    int t = fcntl(token, F_DUPFD, 10), l = fcntl(log, F_DUPFD, 10);
    int m = memory >= 0 ? fcntl(memory, F_DUPFD, 10) : -1;
    if (null < 0 || t < 0 || l < 0 || dup2(null, 0) < 0 || dup2(l, 1) < 0 || dup2(l, 2) < 0 ||
        dup2(t, 3) < 0 || (memory >= 0 && dup2(m, COORD_MEMORY_FD) < 0))
        _exit(126);
    int first = memory >= 0 ? COORD_MEMORY_FD + 1 : COORD_MEMORY_FD;
    if (close_range((unsigned)first, ~0U, 0))
        for (int fd = first; fd < 1024; fd++)
            close(fd);
    setpgid(0, 0); /* the terminal's Ctrl-C is for the coordinator, which then ends its nodes */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(125);
    execv("/proc/self/exe", argv);
    static const char msg[] = "farline: cannot execute /proc/self/exe as a node\n";
    if (write(2, msg, sizeof(msg) - 1) < 0)
        _exit(127);
    _exit(127);
}

int coord_spawn(struct coord *c, uint16_t idx)
{
    struct coord_node *n = &c->nodes[idx];
    const char *name = c->p->nodes[idx].name;
    char path[512];
    snprintf(path, sizeof(path), "%s/%s.log", c->o->out_dir, name);
    int anew = n->incarnation > 1 ? 0 : O_TRUNC; /* one log for all lives */
    int log = open(path, O_WRONLY | O_CREAT | anew | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        return fl_fail(c->err, fl_err_from_errno(errno),
                       "cannot write %s: %s; choose another directory with --out", path,
                       strerror(errno));
    int token = token_pipe(c);
    char *argv[] = {"farline",    "node",       "--join", c->join, "--name",
                    (char *)name, "--token-fd", "3",      NULL};
    pid_t parent = getpid();
    pid_t pid = token < 0 ? -1 : fork();
    int err_no = errno;
    if (pid == 0)
        child(parent, token, log, n->memory_fd, argv);
    if (token >= 0)
        close(token);
    close(log);
    if (pid < 0)
        return fl_fail(c->err, fl_err_from_errno(err_no),
                       "cannot start node %s: %s; check the limits on processes and descriptors",
                       name, strerror(err_no));
    setpgid(pid, pid); /* both sides do it: whoever comes first */
    n->pid = pid;
    c->r->nodes[idx].pid = (int)pid;
    return FL_OK;
}

/* --- the end of a node ---------------------------------------------------------------------- */

/** Last lines of the node's log on one line, into @ret. */
static void log_tail(const struct coord_node *n, char *ret, size_t cap)
{
    char path[512], buf[2048];
    ret[0] = 0;
    snprintf(path, sizeof(path), "%s/%s.log", n->c->o->out_dir, n->c->p->nodes[n->idx].name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)cap - 1 ? end - (off_t)cap + 1 : 0;
    ssize_t got = pread(fd, buf, sizeof(buf) < cap ? sizeof(buf) : cap - 1, from);
    close(fd);
    while (got > 0 && (buf[got - 1] == '\n' || buf[got - 1] == ' '))
        got--;
    if (got <= 0)
        return;
    size_t len = (size_t)got;
    for (size_t i = 0; i < len; i++)
        ret[i] = buf[i] == '\n' ? '|' : (buf[i] >= ' ' && buf[i] < 127) ? buf[i] : '?';
    ret[len] = 0;
}

static void describe_exit(const struct coord_node *n, char *ret, size_t cap)
{
    if (n->external)
        snprintf(ret, cap, "%s", n->lost_how);
    else if (WIFSIGNALED(n->wstatus))
        snprintf(ret, cap, "was killed by signal %d (%s)", WTERMSIG(n->wstatus),
                 strsignal(WTERMSIG(n->wstatus)));
    else
        snprintf(ret, cap, "exited with status %d", WEXITSTATUS(n->wstatus));
}

/** The plan kills this node at one of its own sites; it then simply dies there. */
static bool dies_in_own_site(const struct coord_node *n)
{
    const struct plan *p = n->c->p;
    if (!n->c->started || !WIFSIGNALED(n->wstatus) || WTERMSIG(n->wstatus) != SIGKILL)
        return false;
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->when == PLAN_AT_SITE && s->action == PLAN_KILL && s->node == n->idx &&
            s->target == n->idx && !n->c->steps[i].ended) {
            n->c->steps[i].begun = true;
            return true;
        }
    }
    return false;
}

void coord_judge_loss(struct coord_node *n)
{
    struct coord *c = n->c;
    if (!n->exited || n->conn || n->lost_judged)
        return;
    n->lost_judged = true;
    n->planned_death = n->planned_death || dies_in_own_site(n) || coord_fault_bars(n);
    bool planned = n->planned_death;
    coord_steps_check(c); /* a restart that was waiting for this begins the node's next life */
    if (planned || n->down || c->stopping)
        return;
    struct result_node *rn = &c->r->nodes[n->idx];
    char how[96], tail[360];
    describe_exit(n, how, sizeof(how));
    log_tail(n, tail, sizeof(tail));
    snprintf(rn->why, sizeof(rn->why), "%s; last log lines: %s", how,
             tail[0]       ? tail
             : n->external ? "(kept where it was started)"
                           : "(none)");
    if (n->fail_status && !c->started && !c->setup_status) {
        c->setup_status = n->fail_status;
        fl_fail(c->err, n->fail_status, "node %s: %s", rn->name, n->fail_cause);
    }
    coord_fail(c, "node %s %s", rn->name, n->fail_status ? n->fail_cause : rn->why);
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
    struct coord_node *n = arg;
    (void)fd;
    (void)what;
    if (n->pid > 0)
        kill(n->pid, SIGKILL);
}

static void reap_one(struct coord_node *n)
{
    int st;
    pid_t got = waitpid(n->pid, &st, WNOHANG | WUNTRACED | WCONTINUED);
    if (got != n->pid)
        return;
    if (WIFSTOPPED(st) || WIFCONTINUED(st)) {
        n->stopped = WIFSTOPPED(st);
        coord_steps_check(n->c);
        return;
    }
    struct result_node *rn = &n->c->r->nodes[n->idx];
    n->exited = true;
    n->stopped = false;
    n->wstatus = st;
    n->pid = 0;
    rn->exit_code = WIFEXITED(st) ? WEXITSTATUS(st) : 0;
    rn->signal = WIFSIGNALED(st) ? WTERMSIG(st) : 0;
    coord_judge_loss(n);
}

void coord_reap(struct coord *c)
{
    coord_driver_reap(c);
    for (uint16_t i = 0; i < c->p->node_count; i++) {
        struct coord_node *n = &c->nodes[i];
        if (n->pid > 0)
            reap_one(n);
        /* A process without its connection is of no use; normally it is just about to end. */
        if (n->pid > 0 && !n->conn && n->ready && !n->grace && !c->stopping) {
            struct timeval tv = {1, 0};
            n->grace = evtimer_new(c->base, on_grace, n);
            if (n->grace)
                evtimer_add(n->grace, &tv);
        }
    }
}

bool coord_all_gone(const struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count; i++) {
        const struct coord_node *n = &c->nodes[i];
        /* One that is stopped or cut off cannot leave: it ends when it finds us gone. */
        if (n->pid > 0 || (n->external && n->conn && !n->stopped && !n->down))
            return false;
    }
    return true;
}

void coord_kill_all(struct coord *c)
{
    c->stopping = true;
    if (!c->nodes)
        return;
    coord_driver_finish(c);
    for (uint16_t i = 0; i < c->p->node_count; i++)
        ctl_close(&c->nodes[i].conn); /* what ends the external ones */
    for (uint16_t i = 0; i < c->p->node_count; i++)
        if (c->nodes[i].pid > 0)
            kill(c->nodes[i].pid, SIGKILL);
    for (uint16_t i = 0; i < c->p->node_count; i++) {
        struct coord_node *n = &c->nodes[i];
        int st;
        if (n->pid > 0 && waitpid(n->pid, &st, 0) == n->pid) { /* SIGKILL cannot be put off */
            c->r->nodes[i].signal = WIFSIGNALED(st) ? WTERMSIG(st) : 0;
            c->r->nodes[i].exit_code = WIFEXITED(st) ? WEXITSTATUS(st) : 0;
            n->exited = true;
            n->wstatus = st;
            n->pid = 0;
        }
    }
}
