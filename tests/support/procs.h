/* SPDX-License-Identifier: Apache-2.0 */
/** Looks at processes and sockets of this machine from outside, for tests with real processes. */
#ifndef TESTS_PROCS_H
#define TESTS_PROCS_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROCS_MAX = 16, PROCS_WAIT_S = 20 };

/** Parent of a process that is not a zombie; 0 otherwise. */
pid_t procs_parent(pid_t pid);

/** Node processes of coordinator @parent, up to PROCS_MAX in @ret; @name: of this node only, or
 * NULL. *@ret_port (may be NULL): port of the control connection. Returns how many. */
int procs_nodes(pid_t parent, const char *name, pid_t *ret, int *ret_port);

/** Waits until at least @want nodes are there (0: none left), at most PROCS_WAIT_S. */
bool procs_wait_nodes(pid_t parent, const char *name, int want, pid_t *ret, int *ret_port);

/** Connects to a port of loopback; -1 when nobody listens. */
int procs_connect(int port);

/** Ports on which the process listens, up to @max; returns how many. */
int procs_listening(pid_t pid, int *ports, int max);

/** Removes a directory with everything in it. */
int procs_remove_dir(const char *dir);

#endif
