/* SPDX-License-Identifier: Apache-2.0 */
/* What acts on containers from outside: a command of podman or docker for each fault. A call is a
 * child process with a deadline; its words go to DIR/driver.log. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/coord.h"

extern char **environ;

enum { WORDS_MAX = 8 };

/** The command's words after the program's name; podman and docker agree in these. */
static void words(const struct coord *c, uint16_t node, enum coord_verb verb, char *argv[WORDS_MAX])
{
    static const char *const verbs[][4] = {[COORD_KILL] = {"kill", "--signal", "KILL"},
                                           [COORD_PAUSE] = {"pause"},
                                           [COORD_RESUME] = {"unpause"},
                                           [COORD_CUT] = {"network", "disconnect"},
                                           [COORD_HEAL] = {"network", "connect"}};
    int n = 0;
    argv[n++] = (char *)c->o->driver;
    for (int i = 0; i < 4 && verbs[verb][i]; i++)
        argv[n++] = (char *)verbs[verb][i];
    if (verb == COORD_HEAL && c->nodes[node].ip[0]) { /* where its peers look for it */
        argv[n++] = "--ip";
        argv[n++] = (char *)c->nodes[node].ip;
    }
    if (verb == COORD_CUT || verb == COORD_HEAL)
        argv[n++] = (char *)c->o->driver_network;
    argv[n++] = (char *)c->nodes[node].who;
    argv[n] = NULL;
}

static pid_t start(const struct coord *c, char *const argv[])
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    char log[512];
    pid_t pid = -1;
    snprintf(log, sizeof(log), "%s/driver.log", c->o->out_dir);
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&fa))
        return -1;
    if (posix_spawnattr_init(&at)) {
        posix_spawn_file_actions_destroy(&fa);
        return -1;
    }
    posix_spawnattr_setpgroup(&at, 0); /* the terminal's Ctrl-C is for the coordinator */
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                      POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    if (posix_spawnp(&pid, argv[0], &fa, &at, argv, environ))
        pid = -1;
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return pid;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct coord_job *j = arg;
    (void)fd;
    (void)what;
    if (j->pid > 0)
        kill(-j->pid, SIGKILL); /* reaped like any other end, as a failure */
}

static void job_free(struct coord_job *j)
{
    if (j->deadline)
        event_free(j->deadline);
    memset(j, 0, sizeof(*j));
}

bool coord_driver_call(struct coord *c, uint16_t node, enum coord_verb verb, int step)
{
    struct coord_job *j = NULL;
    char *argv[WORDS_MAX + 1];
    struct timeval tv = {COORD_DRIVER_MS / 1000, 0};
    for (int i = 0; i < COORD_JOBS && !j; i++)
        if (c->jobs[i].pid == 0)
            j = &c->jobs[i];
    if (!j || !c->o->driver)
        return false;
    words(c, node, verb, argv);
    *j = (struct coord_job){.c = c, .node = node, .step = step, .verb = verb};
    j->deadline = evtimer_new(c->base, on_deadline, j);
    j->pid = j->deadline && !evtimer_add(j->deadline, &tv) ? start(c, argv) : -1;
    if (j->pid > 0)
        return true;
    job_free(j);
    return false;
}

bool coord_driver_busy(const struct coord *c, uint16_t node, enum coord_verb verb)
{
    for (int i = 0; i < COORD_JOBS; i++)
        if (c->jobs[i].pid > 0 && c->jobs[i].node == node && c->jobs[i].verb == verb)
            return true;
    return false;
}

void coord_driver_reap(struct coord *c)
{
    for (int i = 0; i < COORD_JOBS; i++) {
        struct coord_job j = c->jobs[i];
        int st;
        if (j.pid <= 0 || waitpid(j.pid, &st, WNOHANG) != j.pid)
            continue;
        job_free(&c->jobs[i]);
        coord_driver_done(c, j.node, j.verb, j.step, WIFEXITED(st) && WEXITSTATUS(st) == 0);
    }
}

static bool idle(const struct coord *c)
{
    for (int i = 0; i < COORD_JOBS; i++)
        if (c->jobs[i].pid > 0)
            return false;
    return true;
}

void coord_driver_finish(struct coord *c)
{
    for (uint16_t i = 0; c->o->driver && c->base && i < c->p->node_count; i++)
        if (c->nodes[i].external && c->nodes[i].stopped)
            coord_driver_call(c, i, COORD_RESUME, -1);
    /* Not coord_wait: that returns at once when the run has failed or was interrupted. */
    uint64_t deadline_ns = coord_ms_from_now(COORD_DRIVER_MS + 1000);
    while (!idle(c) && fl_clock_ns() < deadline_ns) {
        struct timeval tv = {1, 0};
        evtimer_add(c->tick, &tv);
        if (event_base_loop(c->base, EVLOOP_ONCE) < 0)
            break;
        coord_driver_reap(c);
    }
    for (int i = 0; i < COORD_JOBS; i++)
        if (c->jobs[i].deadline)
            job_free(&c->jobs[i]);
}
