/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port against raw libfabric code that does the same: fi_read and delivery-complete fi_writemsg
 * over tcp, same sizes and depths, each towards a process of its own that only serves. Both sides
 * sleep on their descriptors after fi_trywait. The two take turns, round by round, in one run.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/fab.h"
#include "transport/ofi.h"

enum { ROUNDS = 15, BUF_BYTES = FAB_EXPOSED_BYTES, RAW_KEY = 77 };

static void die(const char *what, long rc)
{
    fprintf(stderr, "bench_fabric: %s: %ld\n", what, rc);
    exit(1);
}

/* --- raw libfabric ----------------------------------------------------------------------------- */

struct raw {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *pep;
    struct fid_ep *ep;
    struct fid_mr *mr;
    int cq_fd, eq_fd;
    uint8_t *mem;
};

#define TRY(call)                                                                                  \
    do {                                                                                           \
        long try_rc = (call);                                                                      \
        if (try_rc != 0)                                                                           \
            die(#call, try_rc);                                                                    \
    } while (0)

static void raw_open(struct raw *r)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_cq_attr cq = {.size = 1024, .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_FD};
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};

    hints->fabric_attr->prov_name = strdup("tcp");
    hints->ep_attr->type = FI_EP_MSG;
    hints->addr_format = FI_SOCKADDR_IN;
    hints->caps = FI_MSG | FI_RMA;
    TRY(fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", "0", FI_SOURCE, hints, &r->info));
    fi_freeinfo(hints);
    TRY(fi_fabric(r->info->fabric_attr, &r->fabric, NULL));
    TRY(fi_domain(r->fabric, r->info, &r->domain, NULL));
    TRY(fi_eq_open(r->fabric, &eq, &r->eq, NULL));
    TRY(fi_cq_open(r->domain, &cq, &r->cq, NULL));
    TRY(fi_control(&r->cq->fid, FI_GETWAIT, &r->cq_fd));
    TRY(fi_control(&r->eq->fid, FI_GETWAIT, &r->eq_fd));
    r->mem = mmap(NULL, BUF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(r->mem, 1, BUF_BYTES);
    TRY(fi_mr_reg(r->domain, r->mem, BUF_BYTES,
                  FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE, 0, RAW_KEY, 0, &r->mr,
                  NULL));
}

static void raw_ep(struct raw *r, struct fi_info *info)
{
    TRY(fi_endpoint(r->domain, info, &r->ep, NULL));
    TRY(fi_ep_bind(r->ep, &r->eq->fid, 0));
    TRY(fi_ep_bind(r->ep, &r->cq->fid, FI_TRANSMIT | FI_RECV));
    TRY(fi_enable(r->ep));
}

static void raw_sleep(struct raw *r)
{
    struct fid *f[2] = {&r->cq->fid, &r->eq->fid};
    struct pollfd p[2] = {{.fd = r->cq_fd, .events = POLLIN}, {.fd = r->eq_fd, .events = POLLIN}};

    if (fi_trywait(r->fabric, f, 2) == 0)
        (void)poll(p, 2, 10000);
}

static int raw_server(void)
{
    struct raw r = {0};
    struct fi_cq_data_entry e[32];
    struct fi_eq_cm_entry cm;
    uint8_t addr[64];
    size_t len = sizeof(addr);
    uint32_t event;

    alarm(280);
    raw_open(&r);
    TRY(fi_passive_ep(r.fabric, r.info, &r.pep, NULL));
    TRY(fi_pep_bind(r.pep, &r.eq->fid, 0));
    TRY(fi_listen(r.pep));
    TRY(fi_getname(&r.pep->fid, addr, &len));
    if (write(1, addr, len) != (ssize_t)len)
        return 1;
    for (;;) {
        (void)!fi_cq_read(r.cq, e, 32); /* serving is progress, nothing else */
        if (fi_eq_read(r.eq, &event, &cm, sizeof(cm), 0) > 0) {
            if (event == FI_SHUTDOWN)
                return 0;
            if (event == FI_CONNREQ) {
                raw_ep(&r, cm.info);
                TRY(fi_accept(r.ep, NULL, 0));
            }
        }
        raw_sleep(&r);
    }
}

static pid_t start_raw_server(uint8_t addr[64])
{
    int out[2];

    TRY(pipe(out));
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        execl("/proc/self/exe", "raw-server", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    if (read(out[0], addr, 64) <= 0)
        die("raw server", 0);
    close(out[0]);
    return pid;
}

static void raw_connect(struct raw *r, const uint8_t *addr)
{
    struct fi_eq_cm_entry cm;
    uint32_t event;

    raw_open(r);
    raw_ep(r, r->info);
    TRY(fi_connect(r->ep, addr, NULL, 0));
    ssize_t n = fi_eq_sread(r->eq, &event, &cm, sizeof(cm), 10000, 0);
    if (n < 0 || event != FI_CONNECTED)
        die("raw connect", n);
}

static void raw_post(struct raw *r, bool write, uint64_t off, uint32_t len)
{
    struct iovec iov = {r->mem + off, len};
    struct fi_rma_iov rma = {.addr = off, .len = len, .key = RAW_KEY};
    void *desc = fi_mr_desc(r->mr);
    struct fi_msg_rma m = {.msg_iov = &iov,
                           .desc = &desc,
                           .iov_count = 1,
                           .rma_iov = &rma,
                           .rma_iov_count = 1,
                           .context = r};

    if (write)
        TRY(fi_writemsg(r->ep, &m, FI_DELIVERY_COMPLETE | FI_COMPLETION));
    else
        TRY(fi_read(r->ep, iov.iov_base, len, desc, 0, off, RAW_KEY, r));
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

/** Seconds for all operations of the job. */
static double raw_run(struct raw *r, const struct job *j)
{
    struct fi_cq_data_entry e[32];
    uint64_t t = fab_now_ns();

    for (uint32_t posted = 0, done = 0; done < j->ops;) {
        while (posted < j->ops && posted - done < j->depth) {
            raw_post(r, j->write, job_off(j, posted), j->len);
            posted++;
        }
        ssize_t n = fi_cq_read(r->cq, e, 32);
        if (n > 0)
            done += (uint32_t)n;
        else if (n == -FI_EAGAIN)
            raw_sleep(r);
        else
            die("raw completion", n);
    }
    return (double)(fab_now_ns() - t) / 1e9;
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

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v)
{
    qsort(v, ROUNDS, sizeof(*v), by_value);
    return v[ROUNDS / 2];
}

static void measure(struct raw *r, struct fab *f, const struct job *j)
{
    double raw[ROUNDS], port[ROUNDS], ratio[ROUNDS];
    bool latency = j->depth == 1;

    (void)raw_run(r, j);
    (void)port_run(f, j);
    for (int i = 0; i < ROUNDS; i++) {
        bool first = i % 2;
        double a = 0, b = 0;
        if (first)
            b = port_run(f, j);
        a = raw_run(r, j);
        if (!first)
            b = port_run(f, j);
        double bytes = (double)j->ops * j->len;
        raw[i] = latency ? a / j->ops * 1e6 : bytes / a / 1e6;
        port[i] = latency ? b / j->ops * 1e6 : bytes / b / 1e6;
        ratio[i] = port[i] / raw[i];
    }
    double q = median(ratio);
    printf("{\"id\": \"%s\", \"value\": %.2f, \"unit\": \"%s\", \"baseline\": %.2f, "
           "\"ratio\": %.3f, \"target\": %.2f, \"holds\": %s, \"n\": %d}\n",
           j->id, median(port), j->unit, median(raw), q, j->target,
           (latency ? q <= j->target : q >= j->target) ? "true" : "false", ROUNDS);
    fflush(stdout);
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
    uint8_t addr[64];
    struct raw raw = {0};

    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    if (strcmp(argv[0], "raw-server") == 0)
        return raw_server();
    pid_t server = start_raw_server(addr);
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
    raw_connect(&raw, addr);
    for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
        measure(&raw, f, &jobs[i]);
    fab_free(f);
    fab_child_free(c);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return 0;
}
