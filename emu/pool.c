/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"

enum { DEPTH = 4, TICK_MS = 100 }; /* numbers on their way to one worker hide the pipe's latency */

_Static_assert(sizeof(struct pool_note) <= PIPE_BUF, "a note is written in one piece");

struct worker {
    pid_t pid;
    int to, from;
    uint64_t queue[DEPTH];
    unsigned queued;
    uint64_t since_ns; /* when the head of the queue began */
};

struct state {
    const struct pool *p;
    struct worker w[POOL_JOBS_MAX];
    uint64_t next;
    bool all_handed_out;
    uint64_t again[POOL_JOBS_MAX * DEPTH]; /* of workers that ended */
    unsigned again_count;
};

unsigned pool_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > POOL_JOBS_MAX ? POOL_JOBS_MAX : (unsigned)n;
}

/* --- in the worker -------------------------------------------------------------------------- */

static bool read_whole(int fd, void *to, size_t len)
{
    uint8_t *at = to;

    while (len > 0) {
        ssize_t n = read(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static _Noreturn void worker_main(const struct pool *p, int from, int to, pid_t parent)
{
    static struct pool_note note;
    uint64_t i;

    /* ^C goes to the whole group: the parent decides when we end, and we never outlive it. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    while (read_whole(from, &i, sizeof(i))) {
        memset(&note, 0, sizeof(note));
        p->work(p->arg, i, &note);
        if (write(to, &note, sizeof(note)) != (ssize_t)sizeof(note))
            _exit(1);
    }
    _exit(0);
}

/* --- here ----------------------------------------------------------------------------------- */

static int worker_start(struct state *s, struct worker *w, struct fl_errmsg *err)
{
    int down[2], up[2];
    pid_t self = getpid();

    if (pipe2(down, O_CLOEXEC) != 0)
        return fl_fail(err, fl_err_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    if (pipe2(up, O_CLOEXEC) != 0) {
        int e = errno;
        close(down[0]);
        close(down[1]);
        return fl_fail(err, fl_err_from_errno(e), "cannot make a pipe: %s", strerror(e));
    }
    (void)fflush(NULL); /* or both would write it */
    w->pid = fork();
    if (w->pid == 0) {
        for (unsigned k = 0; k < s->p->jobs; k++) /* or a worker keeps another's pipe open */
            if (s->w[k].pid > 0 && &s->w[k] != w) {
                close(s->w[k].to);
                close(s->w[k].from);
            }
        close(down[1]);
        close(up[0]);
        worker_main(s->p, down[0], up[1], self);
    }
    int e = errno;
    close(down[0]);
    close(up[1]);
    w->to = down[1];
    w->from = up[0];
    w->queued = 0;
    if (w->pid > 0)
        return FL_OK;
    w->pid = 0;
    close(w->to);
    close(w->from);
    return fl_fail(err, fl_err_from_errno(e), "cannot start a worker: %s", strerror(e));
}

/** Waits for a worker that has ended or is made to; returns its status. */
static int worker_end(struct worker *w, bool hard)
{
    int status = 0;

    if (w->pid <= 0)
        return 0;
    if (hard)
        (void)kill(w->pid, SIGKILL);
    close(w->to);
    close(w->from);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    w->pid = 0;
    return status;
}

static bool next_number(struct state *s, uint64_t *ret)
{
    if (s->again_count > 0) {
        *ret = s->again[--s->again_count];
        return true;
    }
    if (s->all_handed_out)
        return false;
    *ret = s->next;
    s->all_handed_out = s->next == s->p->last;
    s->next++;
    return true;
}

static void feed(struct state *s, struct worker *w)
{
    uint64_t i;

    while (w->queued < DEPTH && next_number(s, &i)) {
        if (w->queued == 0)
            w->since_ns = fl_clock_ns();
        w->queue[w->queued++] = i;
        if (write(w->to, &i, sizeof(i)) != (ssize_t)sizeof(i))
            return; /* it has died: its pipe will tell */
    }
}

static uint64_t pop(struct worker *w)
{
    uint64_t i = w->queue[0];

    w->queued--;
    memmove(w->queue, w->queue + 1, w->queued * sizeof(w->queue[0]));
    w->since_ns = fl_clock_ns();
    return i;
}

/** The run at the head of the queue ended its worker; the others are done by the next one. */
static int lost(struct state *s, struct worker *w, bool hung, struct fl_errmsg *err)
{
    struct pool_note n = {
        .verdict = hung ? EMU_NO_PROGRESS : EMU_VIOLATED, .crashed = !hung, .hung = hung};
    int status = worker_end(w, true);

    if (w->queued == 0)
        return fl_fail(err, FL_EIO, "a worker ended without work (status %d)", status);
    snprintf(n.key, sizeof(n.key), "%s", hung ? "hung" : "crash");
    if (hung)
        snprintf(n.why, sizeof(n.why), "the run took longer than %llu s of wall time",
                 (unsigned long long)(s->p->wall_ns / FL_NS_PER_S));
    else if (WIFSIGNALED(status))
        snprintf(n.why, sizeof(n.why), "the simulator was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(n.why, sizeof(n.why), "the simulator ended with status %d", WEXITSTATUS(status));
    uint64_t i = pop(w);
    while (w->queued > 0)
        s->again[s->again_count++] = w->queue[--w->queued];
    s->p->got(s->p->arg, i, &n);
    return worker_start(s, w, err);
}

static int serve(struct state *s, struct worker *w, short events, struct fl_errmsg *err)
{
    struct pool_note n;

    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
        if (!read_whole(w->from, &n, sizeof(n)))
            return lost(s, w, false, err);
        uint64_t i = pop(w);
        s->p->got(s->p->arg, i, &n);
    } else if (w->queued > 0 && fl_clock_ns() - w->since_ns > s->p->wall_ns) {
        return lost(s, w, true, err);
    }
    return FL_OK;
}

static bool busy(const struct state *s)
{
    for (unsigned k = 0; k < s->p->jobs; k++)
        if (s->w[k].queued > 0)
            return true;
    return false;
}

static int loop(struct state *s, struct fl_errmsg *err)
{
    struct pollfd fds[POOL_JOBS_MAX];
    uint64_t tick_ns = 0;
    int rc = FL_OK;

    while (rc == FL_OK && !emu_interrupted) {
        for (unsigned k = 0; k < s->p->jobs; k++)
            feed(s, &s->w[k]);
        if (!busy(s) || (s->p->enough != NULL && s->p->enough(s->p->arg)))
            break;
        for (unsigned k = 0; k < s->p->jobs; k++)
            fds[k] = (struct pollfd){.fd = s->w[k].from, .events = POLLIN};
        if (poll(fds, s->p->jobs, TICK_MS) < 0) {
            if (errno == EINTR)
                continue;
            return fl_fail(err, fl_err_from_errno(errno), "poll: %s", strerror(errno));
        }
        for (unsigned k = 0; k < s->p->jobs && rc == FL_OK; k++)
            rc = serve(s, &s->w[k], fds[k].revents, err);
        if (s->p->tick != NULL && fl_clock_ns() - tick_ns > TICK_MS * FL_NS_PER_MS) {
            tick_ns = fl_clock_ns();
            s->p->tick(s->p->arg);
        }
    }
    return rc;
}

int pool_run(const struct pool *p, struct fl_errmsg *err)
{
    struct state *s = calloc(1, sizeof(*s));
    struct sigaction old, ignore = {.sa_handler = SIG_IGN}; /* a dead worker shows as its note */
    int rc = s != NULL ? FL_OK : fl_fail(err, FL_ENOMEM, "out of memory");

    if (s == NULL)
        return rc;
    s->p = p;
    s->next = p->first;
    sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, &old);
    for (unsigned k = 0; k < p->jobs && rc == FL_OK; k++)
        rc = worker_start(s, &s->w[k], err);
    if (rc == FL_OK)
        rc = loop(s, err);
    for (unsigned k = 0; k < p->jobs; k++)
        (void)worker_end(&s->w[k], true);
    (void)sigaction(SIGPIPE, &old, NULL);
    free(s);
    return rc;
}
