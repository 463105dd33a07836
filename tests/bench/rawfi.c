/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/rawfi.h"

#include <poll.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"

enum { RAW_BASE_AT = 48, RAW_KEY = 77, SERVE_S = 280, WAIT_MS = 10000 };

void raw_die(const char *what, long rc)
{
    fprintf(stderr, "raw libfabric: %s: %ld\n", what, rc);
    exit(1);
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        long try_rc = (call);                                                                      \
        if (try_rc != 0)                                                                           \
            raw_die(#call, try_rc);                                                                \
    } while (0)

void raw_use(const char *provider, const char *addr)
{
    (void)setenv("RAW_PROVIDER", provider, 1);
    (void)setenv("RAW_ADDR", addr, 1);
}

static const char *used(const char *name, const char *otherwise)
{
    const char *v = getenv(name);

    return v != NULL ? v : otherwise;
}

static void raw_open(struct raw *r, void *mem, size_t mem_bytes, bool spin)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_cq_attr cq = {.size = 1024, .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_FD};
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};

    *r = (struct raw){.spin = spin, .mem = mem, .mem_bytes = mem_bytes};
    hints->fabric_attr->prov_name = strdup(used("RAW_PROVIDER", "tcp"));
    hints->ep_attr->type = FI_EP_MSG;
    hints->addr_format = FI_SOCKADDR_IN;
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_RX_CQ_DATA;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    TRY(fi_getinfo(FI_VERSION(1, 17), used("RAW_ADDR", "127.0.0.1"), "0", FI_SOURCE, hints,
                   &r->info));
    fi_freeinfo(hints);
    TRY(fi_fabric(r->info->fabric_attr, &r->fabric, NULL));
    TRY(fi_domain(r->fabric, r->info, &r->domain, NULL));
    TRY(fi_eq_open(r->fabric, &eq, &r->eq, NULL));
    TRY(fi_cq_open(r->domain, &cq, &r->cq, NULL));
    TRY(fi_control(&r->cq->fid, FI_GETWAIT, &r->cq_fd));
    TRY(fi_control(&r->eq->fid, FI_GETWAIT, &r->eq_fd));
    if (!r->mem) {
        r->mem = mmap(NULL, mem_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (r->mem == MAP_FAILED)
            raw_die("mmap", (long)mem_bytes);
        memset(r->mem, 1, mem_bytes);
    }
    TRY(fi_mr_reg(r->domain, r->mem, mem_bytes,
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

void raw_sleep(struct raw *r, int also)
{
    struct fid *f[2] = {&r->cq->fid, &r->eq->fid};
    struct pollfd p[3] = {{.fd = r->cq_fd, .events = POLLIN},
                          {.fd = r->eq_fd, .events = POLLIN},
                          {.fd = also, .events = POLLIN}};

    if (!r->spin && fi_trywait(r->fabric, f, 2) == 0)
        (void)poll(p, 3, WAIT_MS);
}

static void serve(struct raw *r)
{
    struct fi_cq_data_entry e[RAW_CQ_BATCH];
    struct fi_eq_cm_entry cm;
    uint32_t event;

    for (;;) {
        (void)!fi_cq_read(r->cq, e, RAW_CQ_BATCH); /* serving is progress, nothing else */
        if (fi_eq_read(r->eq, &event, &cm, sizeof(cm), 0) > 0) {
            if (event == FI_SHUTDOWN)
                return;
            if (event == FI_CONNREQ) {
                raw_ep(r, cm.info);
                TRY(fi_accept(r->ep, NULL, 0));
            }
        }
        raw_sleep(r, -1);
    }
}

int raw_server_main(int argc, char **argv)
{
    struct raw r;
    uint8_t addr[RAW_ADDR_BYTES] = {0};
    size_t len = RAW_BASE_AT;

    if (argc != 3 || strcmp(argv[0], "raw-server") != 0)
        return -1;
    alarm(SERVE_S);
    raw_open(&r, NULL, strtoul(argv[1], NULL, 10), strcmp(argv[2], "spin") == 0);
    TRY(fi_passive_ep(r.fabric, r.info, &r.pep, NULL));
    TRY(fi_pep_bind(r.pep, &r.eq->fid, 0));
    TRY(fi_listen(r.pep));
    TRY(fi_getname(&r.pep->fid, addr, &len));
    bool virt = (r.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    uint64_t where[2] = {virt ? (uint64_t)(uintptr_t)r.mem : 0, fi_mr_key(r.mr)};
    memcpy(addr + RAW_BASE_AT, where, sizeof(where));
    if (write(1, addr, sizeof(addr)) != (ssize_t)sizeof(addr))
        return 1;
    serve(&r);
    return 0;
}

pid_t raw_server_start(uint8_t addr[RAW_ADDR_BYTES], size_t mem_bytes, bool spin)
{
    char bytes[24];
    int out[2];

    snprintf(bytes, sizeof(bytes), "%zu", mem_bytes);
    TRY(pipe(out));
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        execl("/proc/self/exe", "raw-server", bytes, spin ? "spin" : "block", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    if (read(out[0], addr, RAW_ADDR_BYTES) != RAW_ADDR_BYTES)
        raw_die("server", 0);
    close(out[0]);
    return pid;
}

void raw_server_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void raw_connect(struct raw *r, const uint8_t *addr, void *mem, size_t mem_bytes, bool spin)
{
    struct fi_eq_cm_entry cm;
    uint32_t event = 0;
    uint64_t where[2];

    raw_open(r, mem, mem_bytes, spin);
    memcpy(where, addr + RAW_BASE_AT, sizeof(where));
    r->peer_base = where[0];
    r->peer_key = where[1];
    r->info->dest_addr = malloc(sizeof(struct sockaddr_in)); /* verbs resolves it at once */
    if (r->info->dest_addr == NULL)
        raw_die("address", 0);
    r->info->dest_addrlen = sizeof(struct sockaddr_in);
    memcpy(r->info->dest_addr, addr, sizeof(struct sockaddr_in));
    raw_ep(r, r->info);
    TRY(fi_connect(r->ep, addr, NULL, 0));
    ssize_t n = fi_eq_sread(r->eq, &event, &cm, sizeof(cm), WAIT_MS, 0);
    if (n < 0 || event != FI_CONNECTED)
        raw_die("connect", n);
}

void raw_post(struct raw *r, bool write, uint64_t off, uint32_t len)
{
    struct iovec iov = {r->mem + off, len};
    struct fi_rma_iov rma = {.addr = r->peer_base + off, .len = len, .key = r->peer_key};
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
        TRY(fi_read(r->ep, iov.iov_base, len, desc, 0, rma.addr, rma.key, r));
}

uint32_t raw_reap(struct raw *r)
{
    struct fi_cq_data_entry e[RAW_CQ_BATCH];
    ssize_t n = fi_cq_read(r->cq, e, RAW_CQ_BATCH);

    if (n < 0 && n != -FI_EAGAIN)
        raw_die("completion", n);
    return n > 0 ? (uint32_t)n : 0;
}

double raw_run(struct raw *r, bool write, uint32_t len, uint32_t depth, uint32_t ops)
{
    uint32_t places = (uint32_t)(r->mem_bytes / len);
    uint64_t start = fl_clock_ns();

    for (uint32_t posted = 0, done = 0; done < ops;) {
        while (posted < ops && posted - done < depth) {
            raw_post(r, write, (uint64_t)(posted % places) * len, len);
            posted++;
        }
        uint32_t n = raw_reap(r);
        done += n;
        if (n == 0)
            raw_sleep(r, -1);
    }
    return (double)(fl_clock_ns() - start) / 1e9;
}
