/* SPDX-License-Identifier: Apache-2.0 */
/* Provider and device of the libfabric port: what the machine offers, opened once per port. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <openssl/rand.h>

#include "emu/base/assert.h"
#include "transport/ofi.h"

enum { INFO_CACHE_MAX = 16, CQ_ENTRIES_MIN = 256, CQ_ENTRIES_MAX = 16384, LATE_FRAMES_MS = 20 };

/* The first fi_getinfo of a process reads half the machine (0.1 to 0.6 s): ask once per address. */
static struct {
    char provider[32], bind[64];
    struct fi_info *info;
} info_cache[INFO_CACHE_MAX];
static unsigned info_cached;
static pthread_mutex_t info_lock = PTHREAD_MUTEX_INITIALIZER;

int tpo_err(int fi_err)
{
    switch (fi_err) {
    case FI_EACCES:
    case FI_EPERM:
    case FI_ENOKEY:
    case FI_EKEYREJECTED:
        return FL_EPERM;
    case FI_ENOMEM:
        return FL_ENOMEM;
    case FI_EADDRINUSE:
        return FL_EADDRINUSE;
    case FI_EADDRNOTAVAIL:
    case FI_ENODATA:
    case FI_ENOSYS:
    case FI_ENODEV:
    case FI_EOPNOTSUPP:
        return FL_EUNSUPPORTED;
    case FI_ETIMEDOUT:
        return FL_ETIMEDOUT;
    case FI_EFAULT:
    case FI_EIO:
        return FL_EIO;
    default:
        return FL_ECONN;
    }
}

static struct fi_info *make_hints(const char *provider)
{
    struct fi_info *hints = fi_allocinfo();

    if (hints == NULL)
        return NULL;
    hints->fabric_attr->prov_name = strdup(provider);
    hints->ep_attr->type = FI_EP_MSG;
    hints->addr_format = FI_SOCKADDR_IN;
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_RX_CQ_DATA;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    return hints;
}

/** "1.2.3.4:77" in two parts; @service stays "0" without a port. */
static void split_bind(const char *bind, char host[64], char service[16])
{
    snprintf(host, 64, "%s", bind);
    snprintf(service, 16, "0");
    char *colon = strchr(host, ':');
    if (colon != NULL) {
        *colon = 0;
        snprintf(service, 16, "%s", colon + 1);
    }
}

/**
 * With a cache (verbs has one) a closed registration lives on and the next one of that memory gets
 * the same key: a fence would revoke nothing. libfabric reads this at its first call.
 */
static void no_mr_cache(void)
{
    (void)setenv("FI_MR_CACHE_MAX_COUNT", "0", 1); /* in the lock */
}

/**
 * The progress thread of sockets spins for 10 ms after whatever it did unless told otherwise: with
 * three nodes on two processors each takes the time the others wait for. Who sets it is obeyed.
 */
static void no_spin(void)
{
    (void)setenv("FI_SOCKETS_PE_WAITTIME", "0", 0); /* in the lock */
}

static int ask(const char *provider, const char *bind, struct fi_info **ret)
{
    char host[64], service[16];
    struct fi_info *hints = make_hints(provider), *got = NULL;

    if (hints == NULL || hints->fabric_attr->prov_name == NULL) {
        fi_freeinfo(hints);
        return -FI_ENOMEM;
    }
    split_bind(bind, host, service);
    no_mr_cache();
    no_spin();
    int rc = fi_getinfo(FI_VERSION(1, 17), host, service, FI_SOURCE, hints, &got);
    fi_freeinfo(hints);
    /* Never a layered provider ("tcp;ofi_rxm") and never a name that only begins alike. */
    if (rc == 0 && strcmp(got->fabric_attr->prov_name, provider) != 0) {
        fi_freeinfo(got);
        return -FI_ENODATA;
    }
    if (rc == 0)
        *ret = got;
    return rc;
}

static int cached_info(const char *provider, const char *bind, struct fi_info **ret)
{
    int rc = 0;

    pthread_mutex_lock(&info_lock);
    for (unsigned i = 0; i < info_cached; i++)
        if (strcmp(info_cache[i].provider, provider) == 0 &&
            strcmp(info_cache[i].bind, bind) == 0) {
            *ret = fi_dupinfo(info_cache[i].info);
            goto out;
        }
    struct fi_info *got = NULL;
    rc = ask(provider, bind, &got);
    if (rc != 0)
        goto out;
    *ret = fi_dupinfo(got);
    if (info_cached < INFO_CACHE_MAX && strlen(provider) < 32 && strlen(bind) < 64) {
        snprintf(info_cache[info_cached].provider, 32, "%s", provider);
        snprintf(info_cache[info_cached].bind, 64, "%s", bind);
        info_cache[info_cached++].info = got;
    } else {
        fi_freeinfo(got);
    }
out:
    pthread_mutex_unlock(&info_lock);
    return rc == 0 && *ret == NULL ? -FI_ENOMEM : rc;
}

/** Registered memory is pinned, and only so much may be. */
static int pins_failed(struct fl_errmsg *err, const char *what)
{
    struct rlimit lim = {.rlim_cur = RLIM_INFINITY};
    char limit[48] = "there is no limit of it (ulimit -l)";

    (void)getrlimit(RLIMIT_MEMLOCK, &lim);
    if (lim.rlim_cur != RLIM_INFINITY)
        snprintf(limit, sizeof(limit), "its limit is %llu KiB (ulimit -l)",
                 (unsigned long long)lim.rlim_cur / 1024);
    return fl_fail(
        err, FL_EUNSUPPORTED,
        "%s: no more memory can be pinned, as an RDMA device needs it; %s: raise it with "
        "`ulimit -l unlimited` (containers: --ulimit memlock=-1), give the machine more "
        "memory, or make the region smaller",
        what, limit);
}

static int fail(struct tpo_port *p, struct fl_errmsg *err, int rc, const char *what)
{
    bool verbs = strcmp(p->cfg.provider, "verbs") == 0;
    int e = tpo_err(-rc);

    if (e == FL_EUNSUPPORTED && verbs) {
        char why[256];
        tpo_verbs_why("", p->cfg.bind, why, sizeof(why));
        return fl_fail(err, e, "%s: libfabric offers no \"verbs\" endpoint on %s: %s", what,
                       p->cfg.bind, why);
    }
    if (e == FL_EUNSUPPORTED)
        return fl_fail(err, e,
                       "%s: libfabric offers no \"%s\" endpoint on %s (%s); run `farline doctor` "
                       "to see which fabrics this machine has",
                       what, p->cfg.provider, p->cfg.bind, fi_strerror(-rc));
    if (verbs && e == FL_ENOMEM)
        return pins_failed(err, what);
    if (e == FL_EPERM || e == FL_ENOMEM)
        return fl_fail(err, e, "%s: %s; make the region smaller", what, fi_strerror(-rc));
    return fl_fail(err, e, "%s on \"%s\": %s; run `farline doctor`", what, p->cfg.provider,
                   fi_strerror(-rc));
}

static size_t cq_entries(const struct tpo_port *p)
{
    struct tpo_cost cost;

    tpo_conn_cost(&p->cfg, &cost);
    size_t want = cost.queue_entries * (size_t)(p->cfg.nodes - 1);

    return want < CQ_ENTRIES_MIN ? CQ_ENTRIES_MIN : want > CQ_ENTRIES_MAX ? CQ_ENTRIES_MAX : want;
}

static int open_queues(struct tpo_port *p, struct fl_errmsg *err)
{
    struct fi_cq_attr cq = {
        .size = cq_entries(p), .format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_FD};
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};

    int rc = fi_eq_open(p->fabric, &eq, &p->eq, p);
    if (rc != 0)
        return fail(p, err, rc, "event queue");
    rc = fi_cq_open(p->domain, &cq, &p->cq, p);
    if (rc != 0)
        return fail(p, err, rc, "completion queue");
    return FL_OK;
}

/** verbs finds nothing at an address whose port is taken: is there something without the port? */
static bool port_is_it(const struct tpo_port *p)
{
    char host[64], service[16];
    struct fi_info *info = NULL;

    split_bind(p->cfg.bind, host, service);
    if (strcmp(service, "0") == 0 || cached_info(p->cfg.provider, host, &info) != 0)
        return false;
    fi_freeinfo(info);
    return true;
}

int tpo_dev_open(struct tpo_port *p, struct fl_errmsg *err)
{
    int rc = cached_info(p->cfg.provider, p->cfg.bind, &p->info);
    if (rc == -FI_ENODATA && port_is_it(p))
        return fl_fail(err, FL_EADDRINUSE,
                       "cannot listen on %s: the port is taken; choose another, or none for any",
                       p->cfg.bind);
    if (rc != 0)
        return fail(p, err, rc, "fabric");
    if (p->cfg.announce && p->info->domain_attr->cq_data_size < 4)
        return fail(p, err, -FI_ENODATA, "completion data");
    /* On tcp the end of a connection is read behind its data; elsewhere by another way. */
    p->late_frames_ns = strcmp(p->cfg.provider, "tcp") == 0 ? 0 : LATE_FRAMES_MS * FL_NS_PER_MS;
    p->eq_by_fd = strcmp(p->cfg.provider, "verbs") == 0;
    p->rx_cq_data = (p->info->mode & FI_RX_CQ_DATA) != 0;
    p->landed_wide = !p->rx_cq_data && p->info->domain_attr->cq_data_size >= 8;
    if (p->cfg.announce && !p->rx_cq_data && !p->landed_wide)
        return fail(p, err, -FI_ENODATA, "completion data of 8 bytes");
    rc = fi_fabric(p->info->fabric_attr, &p->fabric, p);
    if (rc != 0)
        return fail(p, err, rc, "fabric");
    rc = fi_domain(p->fabric, p->info, &p->domain, p);
    if (rc != 0)
        return fail(p, err, rc, "device");
    return open_queues(p, err);
}

void tpo_dev_any_port(struct fi_info *info)
{
    if (info->addr_format == FI_SOCKADDR_IN && info->src_addrlen == sizeof(struct sockaddr_in))
        ((struct sockaddr_in *)info->src_addr)->sin_port = 0;
}

static void close_fid(struct fid *f)
{
    if (f != NULL)
        (void)fi_close(f);
}

void tpo_dev_close(struct tpo_port *p)
{
    close_fid(p->pep != NULL ? &p->pep->fid : NULL);
    close_fid(p->cq != NULL ? &p->cq->fid : NULL);
    close_fid(p->eq != NULL ? &p->eq->fid : NULL);
    close_fid(p->domain != NULL ? &p->domain->fid : NULL);
    close_fid(p->fabric != NULL ? &p->fabric->fid : NULL);
    fi_freeinfo(p->info);
    p->info = NULL;
}

int tpo_mr_open(struct tpo_port *p, void *base, size_t len_bytes, uint64_t access,
                struct fid_mr **ret, struct fl_errmsg *err)
{
    uint64_t key;
    size_t key_bytes = p->info->domain_attr->mr_key_size;

    /* Where the provider lets us choose, keys are unguessable and never come twice. */
    if (RAND_bytes((unsigned char *)&key, sizeof(key)) != 1)
        return fl_fail(err, FL_EIO, "no random numbers for a memory key: %s", strerror(errno));
    if (key_bytes < sizeof(key))
        key &= (UINT64_C(1) << 8 * key_bytes) - 1;
    int rc = fi_mr_reg(p->domain, base, len_bytes, access, 0, key, 0, ret, NULL);
    return rc == 0 ? FL_OK : fail(p, err, rc, "registering memory");
}
