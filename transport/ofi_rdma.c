/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often and how soon an RDMA device sends again. libfabric 1.17 fixes these numbers (retries 15,
 * cut to 7; acknowledgements are waited for as long as the kernel's rdma_cm thinks fit, 2 s on
 * RoCE) and passes them to librdmacm in three calls. Those are defined here and so taken from this
 * program, which puts in the numbers of its own and goes on to librdmacm. Where libfabric finds
 * librdmacm by itself and not by the loader, its own numbers stay.
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "transport/ofi.h"

enum { LEVEL_ID = 0, OPTION_ACK_TIMEOUT = 3, EXPONENT_MAX = 31, RETRY_MAX = 7 };

/* librdmacm's own, by its ABI (librdmacm.so.1); the rest of the library is not needed. */
struct rdma_cm_id;
struct rdma_conn_param {
    const void *private_data;
    uint8_t private_data_len, responder_resources, initiator_depth, flow_control;
    uint8_t retry_count; /* ignored when accepting */
    uint8_t rnr_retry_count;
    uint8_t srq;
    uint32_t qp_num;
};
typedef int route_fn(struct rdma_cm_id *id, int timeout_ms);
typedef int conn_fn(struct rdma_cm_id *id, struct rdma_conn_param *param);
typedef int option_fn(struct rdma_cm_id *id, int level, int name, void *value, size_t len);
route_fn rdma_resolve_route;
conn_fn rdma_connect, rdma_accept;

static _Thread_local struct tp_rdma now;

void tpo_rdma_use(const struct tp_rdma *r)
{
    now = *r;
}

uint8_t tpo_rdma_exponent(uint64_t timeout_ns)
{
    uint8_t n = 1;

    while (n < EXPONENT_MAX && (UINT64_C(4096) << n) < timeout_ns)
        n++;
    return n;
}

/** Looks up what librdmacm has under this name; NULL with errno. */
static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);

    if (f == NULL)
        errno = ENOSYS;
    return f;
}

int rdma_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
    route_fn *go = (route_fn *)next("rdma_resolve_route");
    option_fn *set = (option_fn *)next("rdma_set_option");

    if (go == NULL)
        return -1;
    if (now.set && now.ack_timeout_ns != 0 && set != NULL) {
        uint8_t n = tpo_rdma_exponent(now.ack_timeout_ns);
        (void)set(id, LEVEL_ID, OPTION_ACK_TIMEOUT, &n, sizeof(n)); /* else the kernel's own */
    }
    return go(id, timeout_ms);
}

static int with_counts(const char *name, struct rdma_cm_id *id, const struct rdma_conn_param *p)
{
    conn_fn *go = (conn_fn *)next(name);
    struct rdma_conn_param mine = {0};

    if (go == NULL)
        return -1;
    if (!now.set || p == NULL)
        return go(id, (struct rdma_conn_param *)p);
    mine = *p;
    mine.retry_count = now.retry < RETRY_MAX ? now.retry : RETRY_MAX;
    mine.rnr_retry_count = now.rnr_retry < RETRY_MAX ? now.rnr_retry : RETRY_MAX;
    return go(id, &mine);
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
    return with_counts("rdma_connect", id, param);
}

int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
    return with_counts("rdma_accept", id, param);
}
