/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Raw libfabric, over tcp unless told otherwise, the baseline of the benchmarks: fi_read and delivery-complete fi_writemsg
 * towards a process of its own that only serves. Nothing here knows the port. Every failure ends
 * the program with the cause on stderr.
 *
 * Threads: one at a time.
 */
#ifndef TESTS_BENCH_RAWFI_H
#define TESTS_BENCH_RAWFI_H

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { RAW_CQ_BATCH = 32, RAW_ADDR_BYTES = 64 };

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
    bool spin; /* never sleeps */
    uint8_t *mem;
    size_t mem_bytes;
    uint64_t peer_base, peer_key; /* of the server's memory */
};

_Noreturn void raw_die(const char *what, long rc);

/** From now on over @provider at @addr, "verbs" and that of an RDMA device; started servers as well. */
void raw_use(const char *provider, const char *addr);

/** Call first in main: the exit status when this process was started to serve, else -1. */
int raw_server_main(int argc, char **argv);

/** Starts a process that exposes @mem_bytes. @spin: it polls and never sleeps. */
pid_t raw_server_start(uint8_t addr[RAW_ADDR_BYTES], size_t mem_bytes, bool spin);
void raw_server_end(pid_t pid);

/** Connects and registers @mem; NULL: memory of its own. */
void raw_connect(struct raw *r, const uint8_t *addr, void *mem, size_t mem_bytes, bool spin);

/** Posts a read or a delivery-complete write of @len bytes between both sides' offset @off. */
void raw_post(struct raw *r, bool write, uint64_t off, uint32_t len);

/** Completions since the last call; 0: none. */
uint32_t raw_reap(struct raw *r);

/** Sleeps until something may have completed, or @also (-1: none) is readable. */
void raw_sleep(struct raw *r, int also);

/** Seconds for @ops operations of @len bytes at consecutive places, @depth of them in flight. */
double raw_run(struct raw *r, bool write, uint32_t len, uint32_t depth, uint32_t ops);

#endif
