/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port against raw libfabric code that does the same: fi_read and delivery-complete fi_writemsg
 * over tcp, same sizes and depths, each towards a process of its own that only serves. Both sides
 * sleep on their descriptors after fi_trywait. The two take turns, round by round, in one run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/fig.h"
#include "tests/bench/rawfi.h"
#include "tests/real/fab.h"
#include "transport/ofi.h"

enum { ROUNDS = 15, BUF_BYTES = FAB_EXPOSED_BYTES };

static void die(const char *what, long rc)
{
    fprintf(stderr, "bench_fabric: %s: %ld\n", what, rc);
    exit(1);
}

struct job {
    const char *id, *unit;
    bool write;
    uint32_t len, depth, ops;
    double target; /* latency: at most; rate: at least */
};

static uint64_t job_off(const struct job *j, uint32_t i)
{
    return (uint64_t)(i % (BUF_BYTES / j->len)) * j->len;
}

/* --- the port ---------------------------------------------------------------------------------- */

static struct {
    const struct job *job;
    uint32_t posted, done;
} run;

static void port_post(struct fab *f)
{
    while (run.posted < run.job->ops && run.posted - run.done < run.job->depth) {
        uint64_t off = job_off(run.job, run.posted++);
        if (run.job->write)
            fab_write(f, 1, off, run.job->len, 10 * FL_NS_PER_S);
        else
            fab_read(f, 1, off, run.job->len, 10 * FL_NS_PER_S);
    }
}

static void port_done(struct fab *f, uint64_t tag, int status)
{
    (void)tag;
    if (status != FL_OK)
        die("port completion", status);
    f->done_count = 0;
    run.done++;
    port_post(f);
    if (run.done == run.job->ops)
        event_base_loopbreak(f->loop);
}

static double port_run(struct fab *f, const struct job *j)
{
    uint64_t t = fab_now_ns();

    run.job = j;
    run.posted = run.done = 0;
    port_post(f);
    while (run.done < j->ops)
        event_base_loop(f->loop, EVLOOP_ONCE);
    return (double)(fab_now_ns() - t) / 1e9;
}

/* --- figures ----------------------------------------------------------------------------------- */

static void measure(struct raw *r, struct fab *f, const struct job *j)
{
    double raw[ROUNDS], port[ROUNDS], ratio[ROUNDS];
    bool latency = j->depth == 1;

    (void)raw_run(r, j->write, j->len, j->depth, j->ops);
    (void)port_run(f, j);
    for (int i = 0; i < ROUNDS; i++) {
        bool first = i % 2;
        double a = 0, b = 0;
        if (first)
            b = port_run(f, j);
        a = raw_run(r, j->write, j->len, j->depth, j->ops);
        if (!first)
            b = port_run(f, j);
        double bytes = (double)j->ops * j->len;
        raw[i] = latency ? a / j->ops * 1e6 : bytes / a / 1e6;
        port[i] = latency ? b / j->ops * 1e6 : bytes / b / 1e6;
        ratio[i] = port[i] / raw[i];
    }
    fig_print(&(struct fig){.id = j->id,
                            .unit = j->unit,
                            .value = fig_median(port, ROUNDS),
                            .baseline = fig_median(raw, ROUNDS),
                            .ratio = fig_median(ratio, ROUNDS),
                            .target = j->target,
                            .at_least = !latency,
                            .n = ROUNDS});
}

int main(int argc, char **argv)
{
    static const struct job jobs[] = {
        {"fabric_read_4k_latency", "us", false, 4096, 1, 400, 1.2},
        {"fabric_write_4k_latency", "us", true, 4096, 1, 400, 1.2},
        {"fabric_read_4k_rate", "MB/s", false, 4096, 16, 6000, 0.85},
        {"fabric_write_4k_rate", "MB/s", true, 4096, 16, 6000, 0.85},
        {"fabric_write_64k_rate", "MB/s", true, 65536, 16, 2000, 0.85},
    };
    uint8_t addr[RAW_ADDR_BYTES];
    struct raw raw = {0};

    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    child = raw_server_main(argc, argv);
    if (child >= 0)
        return child;
    pid_t server = raw_server_start(addr, BUF_BYTES, false);
    struct tp_cfg cfg = fab_cfg("tcp"), theirs;
    cfg.window_ops = 64;
    cfg.window_bytes = 16 << 20;
    cfg.announce = false;
    theirs = cfg;
    theirs.self = 1;
    struct fab_child *c = fab_child_new(&theirs);
    struct fab *f = fab_new(&cfg);
    fab_join(f, c, 1);
    f->on_done = port_done;
    raw_connect(&raw, addr, NULL, BUF_BYTES, false);
    for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
        measure(&raw, f, &jobs[i]);
    fab_free(f);
    fab_child_free(c);
    raw_server_end(server);
    return 0;
}
