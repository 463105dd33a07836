/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a guest: a 4 KiB read through the port against a raw fi_read on the same device in the same
 * boot, over verbs and beside it over tcp. Both sleep on descriptors until a completion wakes them,
 * and are armed again within the time that counts; the two take turns, read by read. Beside it
 * stands raw code that looks at its queue before it sleeps, and then hardly ever does: soft-RoCE
 * serves a peer of the same machine inside the call that posts. Emulated processors make single
 * reads fast or one tick late, so the median of many counts and only the ratio means anything.
 * Also what a connection takes, and whether 1 GiB can be registered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/mman.h>

#include "tests/bench/fig.h"
#include "tests/bench/rawfi.h"
#include "tests/real/fab.h"
#include "transport/ofi.h"

enum { READS = 400, WARM = 20, LEN = 4096, PLACES = FAB_EXPOSED_BYTES / LEN };

#define GIB ((size_t)1 << 30)

static void die(const char *what, long rc)
{
    fprintf(stderr, "bench_guest: %s: %ld\n", what, rc);
    exit(1);
}

static void on_done(struct fab *f, uint64_t tag, int status)
{
    (void)tag;
    if (status != FL_OK)
        die("port completion", status);
    event_base_loopbreak(f->loop);
}

static double port_read_us(struct fab *f, unsigned i)
{
    uint64_t t = fab_now_ns();

    f->done_count = 0;
    fab_read(f, 1, (uint64_t)(i % PLACES) * LEN, LEN, 10 * FL_NS_PER_S);
    while (f->done_count == 0)
        event_base_loop(f->loop, EVLOOP_ONCE);
    return (double)(fab_now_ns() - t) / 1e3;
}

/** Ready to sleep: completions from now on wake. */
static void raw_arm(struct raw *r)
{
    struct fid *f[2] = {&r->cq->fid, &r->eq->fid};

    while (fi_trywait(r->fabric, f, 2) != 0)
        (void)raw_reap(r);
}

/** Event-driven, as the port is: armed, posted, asleep until the descriptor wakes it, armed again. */
static double raw_read_us(struct raw *r, unsigned i)
{
    struct pollfd p[2] = {{.fd = r->cq_fd, .events = POLLIN}, {.fd = r->eq_fd, .events = POLLIN}};
    uint64_t t = fab_now_ns();

    raw_post(r, false, (uint64_t)(i % PLACES) * LEN, LEN);
    for (uint32_t n = 0; n == 0; n = raw_reap(r))
        if (poll(p, 2, 10000) <= 0)
            die("no completion in 10 s", 0);
    raw_arm(r);
    return (double)(fab_now_ns() - t) / 1e3;
}

/** Looks before it sleeps: what is served inside the call that posts it never sleeps at all. */
static double raw_look_us(struct raw *r, unsigned i)
{
    uint64_t t = fab_now_ns();

    raw_post(r, false, (uint64_t)(i % PLACES) * LEN, LEN);
    while (raw_reap(r) == 0)
        raw_sleep(r, -1);
    return (double)(fab_now_ns() - t) / 1e3;
}

typedef double read_fn(struct raw *r, unsigned i);

static void reads(struct raw *r, read_fn *raw_one, struct fab *f, const char *id, bool beside)
{
    static double raw[READS], port[READS];

    for (unsigned i = 0; i < WARM; i++) {
        (void)raw_look_us(r, i);
        (void)port_read_us(f, i);
    }
    raw_arm(r);
    for (unsigned i = 0; i < READS; i++) {
        if (i % 2 == 0)
            raw[i] = raw_one(r, i);
        port[i] = port_read_us(f, i);
        if (i % 2 != 0)
            raw[i] = raw_one(r, i);
    }
    double p = fig_median(port, READS), b = fig_median(raw, READS);
    fig_print(&(struct fig){.id = id,
                            .unit = "us",
                            .value = p,
                            .baseline = b,
                            .ratio = p / b,
                            .target = 1.15,
                            .beside = beside,
                            .n = READS});
}

static void count(const char *id, const char *unit, double value)
{
    fig_print(
        &(struct fig){.id = id, .unit = unit, .value = value, .ratio = 1, .beside = true, .n = 1});
}

static void costs(const struct tp_cfg *cfg)
{
    struct tpo_cost c;

    tpo_conn_cost(cfg, &c);
    count("verbs_connection_registered", "KiB", (double)c.registered_bytes / 1024);
    count("verbs_connection_queue_entries", "entries", c.queue_entries);
}

/** Exposed, as a memory node does it: every page is pinned. */
static void one_gib(const struct tp_cfg *cfg)
{
    struct event_base *loop = event_base_new();
    struct tp_handler h = {0};
    struct tp_port *port = NULL;
    struct fl_errmsg err = {0};
    void *mem = mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED || tp_ofi_new(loop, cfg, &h, &port, &err) != FL_OK)
        die(err.text, 0);
    uint64_t t = fab_now_ns();
    if (port->ops->expose(port, mem, GIB, &err) == FL_OK)
        count("verbs_register_1_gib", "ms", (double)(fab_now_ns() - t) / 1e6);
    else
        fig_print(&(struct fig){
            .id = "verbs_register_1_gib", .unit = "ms", .why = err.text, .beside = true, .n = 1});
    port->ops->close(&port);
    event_base_free(loop);
    munmap(mem, GIB);
}

static void fabric(const char *provider, const char *addr, const char *id[2], bool beside)
{
    uint8_t server_addr[RAW_ADDR_BYTES];
    struct raw raw = {0};

    raw_use(provider, addr);
    pid_t server = raw_server_start(server_addr, FAB_EXPOSED_BYTES, false);
    struct tp_cfg cfg = fab_cfg(provider), theirs;
    cfg.announce = false;
    theirs = cfg;
    theirs.self = 1;
    struct fab_child *c = fab_child_new(&theirs);
    struct fab *f = fab_new(&cfg);
    fab_join(f, c, 1);
    f->on_done = on_done;
    raw_connect(&raw, server_addr, NULL, FAB_EXPOSED_BYTES, false);
    reads(&raw, raw_read_us, f, id[0], beside);
    reads(&raw, raw_look_us, f, id[1], true);
    fab_free(f);
    fab_child_free(c);
    raw_server_end(server);
}

int main(int argc, char **argv)
{
    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    child = raw_server_main(argc, argv);
    if (child >= 0)
        return child;
    if (fab_verbs_addr() == NULL) {
        puts("no RDMA device: FARLINE_RXE_ADDR names none; run it by `make bench-rxe`");
        return 77;
    }
    fabric("verbs", fab_verbs_addr(),
           (const char *[]){"verbs_read_4k", "verbs_read_4k_raw_looks_first"}, false);
    fabric("tcp", "127.0.0.1", (const char *[]){"tcp_read_4k", "tcp_read_4k_raw_looks_first"},
           true);
    struct tp_cfg cfg = fab_cfg("verbs");
    costs(&cfg);
    one_gib(&cfg);
    return 0;
}
