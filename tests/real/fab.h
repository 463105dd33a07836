/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Two or three real processes on a real fabric, for tests of the port: this process is node 0 and
 * connects; the others are this program started again (exec, so that no process forks after it
 * used libfabric), driven by lines on a pipe. Nothing here waits without a deadline.
 */
#ifndef TESTS_REAL_FAB_H
#define TESTS_REAL_FAB_H

#include <event2/event.h>
#include <stdio.h>
#include <sys/types.h>

#include "transport/fabric.h"

enum { FAB_EXPOSED_BYTES = 8 << 20, FAB_EVENTS_MAX = 65536, FAB_PEERS_MAX = 4 };

struct fab_done {
    uint64_t tag;
    int status;
};

/** One node in this process: its port and everything it was told, in order. */
struct fab {
    struct event_base *loop;
    struct tp_port *port;
    struct tp_cfg cfg;
    uint8_t *mem; /* registered: FAB_EXPOSED_BYTES */
    struct fab_done done[FAB_EVENTS_MAX];
    unsigned done_count;
    unsigned up[FAB_PEERS_MAX], down[FAB_PEERS_MAX], credit[FAB_PEERS_MAX], msg[FAB_PEERS_MAX];
    int down_cause[FAB_PEERS_MAX];
    unsigned down_at_done[FAB_PEERS_MAX]; /* how many answers had come before peer_down */
    uint64_t down_ns[FAB_PEERS_MAX];
    uint64_t up_incarnation[FAB_PEERS_MAX];
    struct fl_msg last_msg;
    uint8_t last_payload[FL_MSG_PAYLOAD_MAX];
    size_t last_payload_bytes;
    void (*on_done)(struct fab *f, uint64_t tag, int status); /* from the callback itself */
};

/** Another process. On another host (fab_remote.h) @pid is a number there. */
struct fab_child {
    pid_t pid;
    bool remote;
    FILE *in, *out; /* its stdin and stdout */
    struct tp_addr addr;
};

/** Address of an RDMA device: tests run over verbs instead of tcp and sockets. NULL: there is none. */
const char *fab_verbs_addr(void);

/** Common configuration: 2 nodes, no heartbeats, generous deadlines. */
struct tp_cfg fab_cfg(const char *provider);

/** Node 0. Fails the test when it cannot. */
struct fab *fab_new(const struct tp_cfg *cfg);
void fab_free(struct fab *f);

/** Runs the loop until @cond(@f, @arg) or @ms have passed; whether it came true. */
bool fab_until(struct fab *f, bool (*cond)(struct fab *f, uint64_t arg), uint64_t arg, unsigned ms);
bool fab_is_up(struct fab *f, uint64_t peer);
bool fab_is_down(struct fab *f, uint64_t peer);
bool fab_has_done(struct fab *f, uint64_t count);

/** Answer to @tag, or 1 when there is none yet. */
int fab_status(const struct fab *f, uint64_t tag);

void fab_read(struct fab *f, uint64_t tag, uint64_t off, uint32_t len, uint64_t deadline_ns);
void fab_write(struct fab *f, uint64_t tag, uint64_t off, uint32_t len, uint64_t deadline_ns);
void fab_send(struct fab *f, uint64_t tag, uint8_t type, uint64_t a);

/** Starts node @cfg->self as a process that exposes memory and listens. */
struct fab_child *fab_child_new(const struct tp_cfg *cfg);

/** Sends a command and returns the rest of its answer "ok REST" (static buffer). Commands:
 *   fill OFF LEN BYTE | sum OFF LEN | peek OFF | count up|down|msg|landed | cause | wakeups
 *   connect HEX | grandchild | hush | version V | quit */
const char *fab_ask(struct fab_child *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/** Sends it a signal, wherever it runs. */
void fab_signal(const struct fab_child *c, int sig);

/** Ends it (SIGCONT, SIGKILL) and reaps it; NULL is allowed. */
void fab_child_free(struct fab_child *c);

/** Connects node 0 to the child and waits until it is up. */
void fab_join(struct fab *f, struct fab_child *c, uint16_t peer);

/** Node 0 and one other, connected, up at both ends. */
struct pair {
    struct fab *f;
    struct fab_child *c;
};
struct pair pair_up(const struct tp_cfg *cfg);
void pair_free(struct pair *p);

/** At least @n messages came from node 1. */
bool fab_has_msgs(struct fab *f, uint64_t n);

/** What the child's "sum" computes. */
unsigned fab_sum(const uint8_t *b, size_t len);

/** main() of a started process; returns its exit status. -1: this is not one. */
int fab_child_main(int argc, char **argv);

uint64_t fab_now_ns(void);

#endif
