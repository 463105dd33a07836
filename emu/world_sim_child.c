/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated run in a process of its own. One that really touches memory takes over signals and
 * fixed addresses and leaves libraries in the middle of things; and its program may crash or never
 * come back. The child writes what it found into memory that both share and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/world_sim.h"

/* Counters of a build that measures coverage: they are lost unless they are written here. */
__attribute__((weak)) void __gcov_dump(void);

struct reply {
    bool whole;
    int rc;
    struct fl_errmsg err;
    struct result r;
    struct result_metric metrics[RESULT_METRICS_MAX];
    struct result_node nodes[PLAN_NODES_MAX];
    uint64_t site_counts[(size_t)PLAN_NODES_MAX * FL_SITE_COUNT];
};

static void copy_result(struct result *to, const struct result *from, struct result_metric *metrics,
                        struct result_node *nodes)
{
    memcpy(metrics, from->metrics, from->metric_count * sizeof *metrics);
    memcpy(nodes, from->nodes, from->node_count * sizeof *nodes);
    *to = *from;
    to->metrics = metrics;
    to->nodes = nodes;
}

static _Noreturn void child(ws_run_fn *run, const struct plan *p, const struct run_opts *o,
                            struct result *r, struct reply *reply, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    size_t counts = (size_t)p->node_count * FL_SITE_COUNT * sizeof(uint64_t);
    if (o->site_counts)
        memcpy(reply->site_counts, o->site_counts, counts);
    reply->rc = run(p, o, r, &reply->err);
    if (o->site_counts)
        memcpy(reply->site_counts, o->site_counts, counts);
    copy_result(&reply->r, r, reply->metrics, reply->nodes);
    reply->whole = true;
    if (__gcov_dump)
        __gcov_dump();
    _exit(0);
}

/** Until the child's end of the pipe is closed, or too long. */
static bool wait_for_end(int fd, uint64_t wall_ns)
{
    uint64_t until = fl_clock_ns() + wall_ns;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now = fl_clock_ns();
        if (now >= until)
            return false;
        uint64_t ms = (until - now) / FL_NS_PER_MS + 1;
        int n = poll(&p, 1, ms < 1000 ? (int)ms : 1000);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return true; /* waitpid will say */
    }
}

/** What a child that told nothing means. */
static void lost(struct result *r, int status, bool ended, uint64_t wall_ns)
{
    if (!ended) {
        r->timed_out = true;
        snprintf(r->why, sizeof r->why,
                 "the simulated run took more than %llu ms of wall time; does its program loop "
                 "without end?",
                 (unsigned long long)(wall_ns / FL_NS_PER_MS));
        return;
    }
    r->node_failed = true;
    if (WIFSIGNALED(status))
        snprintf(r->why, sizeof r->why, "the simulated run was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(r->why, sizeof r->why, "the simulated run ended with status %d",
                 WEXITSTATUS(status));
}

static int take(const struct plan *p, const struct run_opts *o, struct result *ret,
                const struct reply *reply, struct fl_errmsg *err)
{
    if (o->site_counts)
        memcpy(o->site_counts, reply->site_counts,
               (size_t)p->node_count * FL_SITE_COUNT * sizeof(uint64_t));
    copy_result(ret, &reply->r, ret->metrics, ret->nodes);
    ret->by_name = NULL; /* that of the other process */
    result_metrics_moved(ret);
    if (reply->rc != FL_OK)
        return fl_fail(err, reply->rc, "%s", reply->err.text);
    return FL_OK;
}

static int run_child(ws_run_fn *run, const struct plan *p, const struct run_opts *o,
                     struct result *ret, struct reply *reply, uint64_t wall_ns,
                     struct fl_errmsg *err)
{
    int ends[2], status = 0;
    pid_t self = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fl_fail(err, fl_err_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    (void)fflush(NULL); /* or both would write it */
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child(run, p, o, ret, reply, self);
    }
    int e = errno;
    close(ends[1]);
    bool ended = pid < 0 || wait_for_end(ends[0], wall_ns);
    close(ends[0]);
    if (pid < 0)
        return fl_fail(err, fl_err_from_errno(e), "cannot start a process: %s", strerror(e));
    if (!ended)
        (void)kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (reply->whole)
        return take(p, o, ret, reply, err);
    lost(ret, status, ended, wall_ns);
    return FL_OK;
}

int ws_in_child(ws_run_fn *run, const struct plan *p, const struct run_opts *o, uint64_t wall_ns,
                struct result *ret, struct fl_errmsg *err)
{
    struct reply *reply =
        mmap(NULL, sizeof *reply, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reply == MAP_FAILED)
        return fl_fail(err, FL_ENOMEM, "no memory for the answer of a simulated run");
    int rc = run_child(run, p, o, ret, reply, wall_ns, err);
    munmap(reply, sizeof *reply);
    return rc;
}
