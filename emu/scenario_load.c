/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_load: a child process under limits of processor time, memory and wall time evaluates the
 * scenario and hands back JSON over a pipe. What comes back is not trusted: it is read and
 * validated like any other input.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/plan_fields.h"
#include "emu/scenario.h"

enum {
    FILE_BYTES_MAX = 1 << 20,
    LUA_BYTES_MAX = 64 << 20,
    LUA_INSTRUCTIONS_MAX = 50 * 1000 * 1000,
    PRINT_BYTES_MAX = 16 * 1024,
    CPU_SECONDS_MAX = 3,
    WALL_SECONDS_MAX = 10,
    ANSWER_BYTES_MAX = 8 << 20,
    CHILD_MEMORY_BYTES = 512 << 20,
};

/* --- the child ------------------------------------------------------------------------------ */

/** Reads the whole file; a message in @err. */
static char *read_file(const char *file, size_t *ret_len, struct fl_errmsg *err)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st) != 0) {
        fl_fail(err, FL_EINVAL,
                "%.200s: cannot be read: %s; name a scenario file (`farline list "
                "scenarios`)",
                file, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        fl_fail(err, FL_EINVAL, "%.200s: is not a regular file; name a scenario file", file);
    } else if (st.st_size > FILE_BYTES_MAX) {
        fl_fail(err, FL_EINVAL, "%.200s: is larger than %d KiB; a scenario is a short script", file,
                FILE_BYTES_MAX / 1024);
    } else {
        char *text = malloc((size_t)st.st_size + 1);
        ssize_t n = text != NULL ? read(fd, text, (size_t)st.st_size) : -1;

        close(fd);
        if (n >= 0) {
            *ret_len = (size_t)n;
            return text;
        }
        free(text);
        fl_fail(err, FL_EINVAL, "%.200s: cannot be read: %s", file, strerror(errno));
        return NULL;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static uint64_t address_space_now(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void limit(int what, uint64_t value)
{
    struct rlimit rl = {.rlim_cur = value, .rlim_max = value};

    (void)setrlimit((__rlimit_resource_t)what, &rl);
}

static void child_limits(void)
{
    struct rlimit cpu = {.rlim_cur = CPU_SECONDS_MAX, .rlim_max = CPU_SECONDS_MAX + 1};
    uint64_t as = address_space_now();

    (void)setrlimit(RLIMIT_CPU, &cpu);
    limit(RLIMIT_CORE, 0);
    if (as != 0)
        limit(RLIMIT_AS, as + CHILD_MEMORY_BYTES);
}

static void write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static _Noreturn void child_main(int out, pid_t parent, const char *file, const char *const *sets,
                                 int set_count)
{
    static const struct scn_limits limits = {LUA_BYTES_MAX, LUA_INSTRUCTIONS_MAX, PRINT_BYTES_MAX};
    struct fl_errmsg err = {""};
    size_t len = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    (void)signal(SIGXCPU, SIG_DFL);
    (void)signal(SIGINT, SIG_IGN); /* the parent decides */
    if (dup2(out, 3) < 0)
        _exit(1);
    (void)close_range(4, ~0U, 0);
    char *text = read_file(file, &len, &err);
    struct plan *p = text != NULL ? malloc(sizeof(*p)) : NULL;
    child_limits();
    char *json = NULL;
    if (p != NULL && scn_eval(file, text, len, sets, set_count, &limits, p, &err) == FL_OK) {
        json = plan_to_json(p);
        if (json == NULL)
            fl_fail(&err, FL_ENOMEM, "%.200s: no memory to write the plan", file);
    }
    write_all(3, json != NULL ? "P" : "E", 1);
    write_all(3, json != NULL ? json : err.text, strlen(json != NULL ? json : err.text));
    _exit(0); /* the interpreter's memory goes with the process */
}

/* --- the parent ----------------------------------------------------------------------------- */

struct answer {
    char *text;
    size_t len;
    bool late, too_long;
};

static void read_answer(int fd, struct answer *a)
{
    uint64_t end = fl_clock_ns() + WALL_SECONDS_MAX * FL_NS_PER_S;
    size_t room = 64 * 1024;

    a->text = malloc(room + 1);
    while (a->text != NULL) {
        uint64_t now = fl_clock_ns();
        struct pollfd pfd = {.fd = fd, .events = POLLIN};

        if (now >= end) {
            a->late = true;
            break;
        }
        if (poll(&pfd, 1, (int)((end - now) / FL_NS_PER_MS) + 1) <= 0)
            continue; /* the clock decides */
        if (a->len == room) {
            char *more = room < ANSWER_BYTES_MAX ? realloc(a->text, 2 * room + 1) : NULL;

            if (more == NULL) {
                a->too_long = true;
                break;
            }
            a->text = more;
            room *= 2;
        }
        ssize_t n = read(fd, a->text + a->len, room - a->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        a->len += (size_t)n;
    }
    if (a->text != NULL)
        a->text[a->len] = '\0';
}

/** Why a child ended without an answer. */
static int no_answer(const char *file, const struct answer *a, int status, struct fl_errmsg *err)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return fl_fail(err, FL_ETIMEDOUT,
                       "%.200s: the script used %d s of processor time and was stopped; a scenario "
                       "only builds a plan: look for an endless loop or a pattern match that "
                       "never ends",
                       file, CPU_SECONDS_MAX);
    if (a->late)
        return fl_fail(err, FL_ETIMEDOUT,
                       "%.200s: no plan after %d s, the script was stopped; look for an endless "
                       "loop",
                       file, WALL_SECONDS_MAX);
    if (a->too_long)
        return fl_fail(err, FL_EINVAL, "%.200s: the plan is larger than %d MiB; build less", file,
                       ANSWER_BYTES_MAX >> 20);
    if (WIFSIGNALED(status))
        return fl_fail(err, FL_EINVAL, "%.200s: the interpreter was ended by signal %d (%s)", file,
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    return fl_fail(err, FL_EINVAL, "%.200s: the interpreter ended without a plan (status %d)", file,
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static int wait_child(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/** Runs the child; FL_OK: @ret->text is the plan's JSON. */
static int evaluate(const char *file, const char *const *sets, int set_count, struct answer *ret,
                    struct fl_errmsg *err)
{
    int fds[2];
    pid_t parent = getpid();

    if (pipe2(fds, O_CLOEXEC) != 0)
        return fl_fail(err, fl_err_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        int e = errno;

        close(fds[0]);
        close(fds[1]);
        return fl_fail(err, fl_err_from_errno(e), "cannot start the interpreter: %s", strerror(e));
    }
    if (pid == 0)
        child_main(fds[1], parent, file, sets, set_count);
    close(fds[1]);
    read_answer(fds[0], ret);
    close(fds[0]);
    if (ret->late || ret->too_long || ret->text == NULL)
        kill(pid, SIGKILL);
    int status = wait_child(pid);
    if (ret->text == NULL)
        return fl_fail(err, FL_ENOMEM, "%.200s: out of memory", file);
    if (ret->late || ret->too_long || ret->len == 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0)
        return no_answer(file, ret, status, err);
    if (ret->text[0] == 'E')
        return fl_fail(err, FL_EINVAL, "%.480s", ret->text + 1);
    if (ret->text[0] != 'P' || strlen(ret->text) != ret->len)
        return fl_fail(err, FL_EINVAL, "%.200s: the interpreter's answer cannot be read", file);
    return FL_OK;
}

/** Programs and texts are named below scenarios/workloads, next to the scenario's directory. */
static int find_source(const struct plan *p, struct plan_workload *w, struct fl_errmsg *err)
{
    char path[PATH_MAX], full[PATH_MAX];
    const char *slash = strrchr(p->file, '/');

    if (w->source[0] == '\0')
        return FL_OK;
    if (w->source[0] == '/') {
        snprintf(path, sizeof(path), "%s", w->source);
    } else {
        if (strstr(w->source, "..") != NULL)
            return fl_fail(
                err, FL_EINVAL,
                "%.100s:%d: workload \"%s\": source \"%.60s\" leaves scenarios/workloads; "
                "name a file in it or give the whole path",
                p->file, w->line, w->name, w->source);
        snprintf(path, sizeof(path), "%.*s../workloads/%s",
                 slash != NULL ? (int)(slash - p->file) + 1 : 0, p->file, w->source);
    }
    if (realpath(path, full) == NULL || access(full, R_OK) != 0)
        return fl_fail(err, FL_EINVAL,
                       "%.100s:%d: workload \"%s\": cannot read source %.120s: %s; install what "
                       "ships it, or name another with --set workload.%s.source=FILE",
                       p->file, w->line, w->name, path, strerror(errno), w->name);
    if (w->source[0] == '/')
        return FL_OK; /* as it was written: the same plan on every machine */
    if (strlen(full) >= sizeof(w->source))
        return fl_fail(err, FL_EINVAL,
                       "%.100s:%d: workload \"%s\": the path of its source is "
                       "longer than %zu bytes",
                       p->file, w->line, w->name, sizeof(w->source) - 1);
    memset(w->source, 0, sizeof(w->source));
    memcpy(w->source, full, strlen(full));
    return FL_OK;
}

int plan_load(const char *file, const char *const *sets, int set_count, struct plan *ret,
              struct fl_errmsg *err)
{
    struct answer a = {NULL, 0, false, false};
    struct plan *p = malloc(sizeof(*p));

    if (p == NULL)
        return fl_fail(err, FL_ENOMEM, "%.200s: out of memory", file);
    int rc = evaluate(file, sets, set_count, &a, err);
    if (rc == FL_OK)
        rc = plan_from_json(a.text + 1, p, err);
    if (rc == FL_OK)
        rc = plan_validate(p, err);
    for (int i = 0; rc == FL_OK && i < p->workload_count; i++)
        rc = find_source(p, &p->workloads[i], err);
    if (rc == FL_OK)
        *ret = *p;
    free(a.text);
    free(p);
    return rc;
}
