/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/real/fab_remote.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { LINE_MAX_BYTES = 512, WAIT_S = 60, TRIES = 10 };

/* A line is read byte by byte: what follows it belongs to the process that is started. */
static bool read_line(int fd, char line[LINE_MAX_BYTES])
{
    for (size_t n = 0; n + 1 < LINE_MAX_BYTES; n++) {
        if (read(fd, line + n, 1) != 1)
            return false;
        if (line[n] == '\n') {
            line[n] = 0;
            return true;
        }
    }
    return false;
}

static void write_line(int fd, const char *fmt, long v)
{
    char line[64];
    int n = snprintf(line, sizeof(line), fmt, v);

    (void)!write(fd, line, (size_t)n);
}

static bool address(const char *host, const char *port, struct sockaddr_in *ret)
{
    *ret = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    return inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

/* --- the test's side --------------------------------------------------------------------------- */

bool fab_remote(void)
{
    return getenv("FARLINE_FAB_SERVER") != NULL;
}

/** Connects; a link that was dead a moment ago may take a few tries. */
static int dial(const struct sockaddr_in *sin)
{
    const struct timeval tv = {.tv_sec = WAIT_S};

    for (int i = 0; i < TRIES; i++) {
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(s >= 0);
        (void)setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        (void)setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
        if (connect(s, (const struct sockaddr *)sin, sizeof(*sin)) == 0)
            return s;
        close(s);
        if (errno != EHOSTUNREACH)
            break;
    }
    fail_msg("no server at %s: %s", getenv("FARLINE_FAB_SERVER"), strerror(errno));
    return -1;
}

/** Sends one request on a connection of its own, which is handed back with the answer's number. */
static int request(const char *line, long *ret_value)
{
    char host[64], got[LINE_MAX_BYTES];
    struct sockaddr_in sin;

    snprintf(host, sizeof(host), "%s", getenv("FARLINE_FAB_SERVER"));
    char *colon = strchr(host, ':');
    assert_non_null(colon);
    *colon = 0;
    assert_true(address(host, colon + 1, &sin));
    int s = dial(&sin);
    assert_int_equal(write(s, line, strlen(line)), (ssize_t)strlen(line));
    if (!read_line(s, got) || sscanf(got, "ok %ld", ret_value) != 1)
        fail_msg("the server does not answer");
    return s;
}

void fab_remote_start(struct fab_child *c, const struct fab_args *a)
{
    char line[LINE_MAX_BYTES] = "start";
    long pid = 0;

    for (int i = 0; i < FAB_ARGS; i++) {
        strcat(line, " ");
        strcat(line, a->text[i]);
    }
    strcat(line, "\n");
    int s = request(line, &pid);
    c->remote = true;
    c->pid = (pid_t)pid;
    c->in = fdopen(s, "w");
    c->out = fdopen(dup(s), "r");
}

void fab_remote_signal(pid_t pid, int sig)
{
    char line[64];
    long zero;

    snprintf(line, sizeof(line), "signal %d %d\n", (int)pid, sig);
    close(request(line, &zero));
}

void fab_remote_run(const char *command)
{
    char line[LINE_MAX_BYTES];
    long status = -1;

    snprintf(line, sizeof(line), "run %s\n", command);
    close(request(line, &status));
    assert_int_equal(status, 0);
}

void fab_remote_quit(void)
{
    long zero;

    close(request("quit\n", &zero));
}

/* --- the other side ---------------------------------------------------------------------------- */

static void start(int s, char *words)
{
    char *argv[FAB_ARGS + 2] = {(char *)"fab-child"};
    int go[2];
    char c;
    int n = 1;

    for (char *w = strtok(words, " "); w != NULL && n <= FAB_ARGS; w = strtok(NULL, " "))
        argv[n++] = w;
    if (pipe(go) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        (void)!read(go[0], &c, 1); /* until the number of this process has been told */
        dup2(s, 0);
        dup2(s, 1);
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    write_line(s, "ok %ld\n", pid);
    close(go[0]);
    close(go[1]);
}

/** One request; false: the server is to end. */
static bool serve(int s)
{
    char line[LINE_MAX_BYTES];
    int pid, sig;

    if (!read_line(s, line))
        return true;
    if (strncmp(line, "start ", 6) == 0) {
        start(s, line + 6);
    } else if (sscanf(line, "signal %d %d", &pid, &sig) == 2) {
        (void)kill(pid, sig);
        write_line(s, "ok %ld\n", 0);
    } else if (strncmp(line, "run ", 4) == 0) {
        write_line(s, "ok %ld\n", system(line + 4));
    } else if (strcmp(line, "quit") == 0) {
        write_line(s, "ok %ld\n", 0);
        return false;
    }
    return true;
}

int fab_server_main(int argc, char **argv)
{
    struct sockaddr_in sin;
    struct timeval tv = {.tv_sec = WAIT_S};
    int one = 1;
    bool on = true;

    if (argc != 4 || strcmp(argv[1], "fab-server") != 0)
        return -1;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (!address(argv[2], argv[3], &sin) || bind(l, (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
        listen(l, 16) != 0) {
        perror("fab-server");
        return 1;
    }
    while (on) {
        int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
        if (s < 0)
            continue;
        (void)setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        on = serve(s);
        close(s);
    }
    close(l);
    return 0;
}
