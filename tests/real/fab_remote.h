/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The other process of a test of the port on another host: the same program, started there as a
 * server, starts it and carries signals to it. The address of the server is in the environment as
 * FARLINE_FAB_SERVER, "1.2.3.4:77". For hosts of one test only: nobody proves anything here.
 */
#ifndef TESTS_REAL_FAB_REMOTE_H
#define TESTS_REAL_FAB_REMOTE_H

#include "tests/real/fab.h"

enum { FAB_ARGS = 13 };

/** Arguments of a started process, from a struct tp_cfg. */
struct fab_args {
    char text[FAB_ARGS][32];
};

/** Whether the other process runs on another host. */
bool fab_remote(void);

/** Starts the process there: pid, in and out of @c are set. Fails the test when it cannot. */
void fab_remote_start(struct fab_child *c, const struct fab_args *a);
void fab_remote_signal(pid_t pid, int sig);

/** Runs a shell command there; fails the test when its exit status is not 0. */
void fab_remote_run(const char *command);

/** Ends the server. */
void fab_remote_quit(void);

/** main() of the server, "fab-server" ADDR PORT as argv[1] to [3]: serves until it is told to quit.
 * -1: this is none. */
int fab_server_main(int argc, char **argv);

#endif
