/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The libfabric port: what callers see of it. Of two nodes, the one that calls connect() makes the
 * connections, and only that one can fence; callers see to it that not both do.
 *
 * A fence is invisible to the owner at the other end: no peer_down, no peer_up; its own operations
 * towards the fencing node, if any, end with FL_EFENCED.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"
#include "transport/wire.h"

enum { CLOSE_WAIT_MS = 200, ADAPTIVE_SPIN_US = 30, WAIT_ADAPTIVE = 0 };

static struct tpo_port *port_of(struct tp_port *tp)
{
    return (struct tpo_port *)tp;
}

static int ofi_reg(struct tp_port *tp, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct tpo_port *p = port_of(tp);

    if (p->reg_count == TPO_REGS_MAX)
        return fl_fail(err, FL_ENOSPC, "more than %d registrations; register larger spans",
                       TPO_REGS_MAX);
    struct tpo_reg *r = &p->regs[p->reg_count];
    int e = tpo_mr_open(p, base, len_bytes, FI_READ | FI_WRITE, &r->mr, err);
    if (e != FL_OK)
        return e;
    r->base = base;
    r->len_bytes = len_bytes;
    r->desc = fi_mr_desc(r->mr);
    p->reg_count++;
    return FL_OK;
}

static int ofi_expose(struct tp_port *tp, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct tpo_port *p = port_of(tp);
    struct fid_mr *probe;

    FL_ASSERT(p->exposed == NULL);
    if (len_bytes == 0 || len_bytes % FL_PAGE_BYTES != 0)
        return fl_fail(err, FL_EINVAL, "exposed memory must be whole pages of %d bytes, not %zu",
                       FL_PAGE_BYTES, len_bytes);
    /* Each peer gets a registration of its own later; whether one is possible shows now. */
    int e = tpo_mr_open(p, base, len_bytes, FI_REMOTE_READ | FI_REMOTE_WRITE, &probe, err);
    if (e != FL_OK)
        return e;
    (void)fi_close(&probe->fid);
    p->exposed = base;
    p->exposed_bytes = len_bytes;
    return FL_OK;
}

static int listen_failed(struct tpo_port *p, int rc, struct fl_errmsg *err)
{
    if (p->pep != NULL)
        (void)fi_close(&p->pep->fid);
    p->pep = NULL;
    if (rc == -FI_EADDRINUSE)
        return fl_fail(err, FL_EADDRINUSE,
                       "cannot listen on %s: the port is taken; choose another, or none for any",
                       p->cfg.bind);
    return fl_fail(err, tpo_err(-rc), "cannot listen on %s with \"%s\": %s; run `farline doctor`",
                   p->cfg.bind, p->cfg.provider, fi_strerror(-rc));
}

static int ofi_listen(struct tp_port *tp, struct tp_addr *ret_addr, struct fl_errmsg *err)
{
    struct tpo_port *p = port_of(tp);
    struct tp_addr a = {0};
    size_t len = sizeof(a.bytes);

    FL_ASSERT(p->pep == NULL);
    int rc = fi_passive_ep(p->fabric, p->info, &p->pep, p);
    if (rc == 0)
        rc = fi_pep_bind(p->pep, &p->eq->fid, 0);
    if (rc == 0)
        rc = fi_listen(p->pep);
    if (rc == 0)
        rc = fi_getname(&p->pep->fid, a.bytes, &len);
    if (rc != 0)
        return listen_failed(p, rc, err);
    a.len = (uint16_t)len;
    *ret_addr = a;
    tpo_cloexec(p);
    tpo_soon(p);
    return FL_OK;
}

static int ofi_connect(struct tp_port *tp, uint16_t id, const struct tp_addr *addr,
                       struct fl_errmsg *err)
{
    struct tpo_port *p = port_of(tp);
    struct sockaddr_in sin;

    if (id >= p->cfg.nodes || id == p->cfg.self)
        return fl_fail(err, FL_EINVAL, "node %u is no peer of node %u", id, p->cfg.self);
    memcpy(&sin, addr->bytes, sizeof(sin));
    if (addr->len != sizeof(sin) || sin.sin_family != AF_INET)
        return fl_fail(err, FL_EINVAL,
                       "the address of node %u is not one that \"%s\" gave out; use what its "
                       "listen returned",
                       id, p->cfg.provider);
    struct tpo_peer *peer = &p->peers[id];
    if (peer->state != TPO_DOWN || peer->draining)
        return fl_fail(err, FL_EINVAL, "node %u is connected already, or still being closed", id);
    peer->addr = *addr;
    peer->initiator = true;
    peer->wants_down = true;
    /* Started by the pump: a failure must not be told inside this call. */
    tpo_peer_retire(peer, TPO_AFTER_CONNECT, FL_EPEERDEAD);
    return FL_OK;
}

static void ofi_read(struct tp_port *tp, const struct tp_rma *op)
{
    tpo_op_submit(port_of(tp), op, false);
}

static void ofi_write(struct tp_port *tp, const struct tp_rma *op)
{
    tpo_op_submit(port_of(tp), op, true);
}

static void ofi_send(struct tp_port *tp, uint16_t peer, const struct fl_msg *m,
                     const uint8_t *const *lines, uint64_t tag)
{
    tpo_msg_send(port_of(tp), peer, m, lines, tag);
}

static void ofi_fence(struct tp_port *tp, uint16_t id, uint64_t tag)
{
    struct tpo_port *p = port_of(tp);

    FL_ASSERT(id < p->cfg.nodes && id != p->cfg.self);
    tpo_peer_fence(&p->peers[id], tag);
}

static void ofi_mute(struct tp_port *tp, uint16_t id, bool muted)
{
    struct tpo_port *p = port_of(tp);

    FL_ASSERT(id < p->cfg.nodes && id != p->cfg.self);
    tpo_msg_mute(&p->peers[id], muted);
}

static void ofi_sever(struct tp_port *tp, uint16_t id, int cause)
{
    struct tpo_port *p = port_of(tp);

    FL_ASSERT(id < p->cfg.nodes && id != p->cfg.self);
    if (p->peers[id].state == TPO_UP)
        tpo_peer_fail(&p->peers[id], cause);
}

static bool ofi_poll(struct tp_port *tp)
{
    return tpo_poll(port_of(tp));
}

static void ofi_ledger(struct tp_port *tp, struct tp_ledger *ret)
{
    *ret = port_of(tp)->ledger;
}

/* --- the end ----------------------------------------------------------------------------------- */

static void no_done(void *arg, uint64_t tag, int status)
{
    (void)arg;
    (void)tag;
    (void)status;
}

static void no_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                   size_t bytes)
{
    (void)arg;
    (void)peer;
    (void)m;
    (void)payload;
    (void)bytes;
}

static void no_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    (void)arg;
    (void)peer;
    (void)cls;
}

static void no_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    (void)arg;
    (void)peer;
    (void)incarnation;
}

static void no_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    (void)cause;
    no_up(arg, peer, incarnation);
}

/** Whom a port tells while it closes: its owner may be half gone. */
static const struct tp_handler nobody = {
    .done = no_done, .msg = no_msg, .credit = no_credit, .peer_up = no_up, .peer_down = no_down};

static void say_goodbye(struct tpo_peer *peer)
{
    /* On each connection: it comes behind everything that was sent there. Also where the peer is
     * not known to be up yet: it may be, its first frame may just be slow. */
    for (unsigned c = 0; c < FL_CLASSES; c++)
        if (peer->ep[c] != NULL)
            (void)tpo_msg_frame(peer->ep[c], TP_FRAME_GOODBYE);
}

/** Peers answer a goodbye by ending their side. */
static bool nobody_up(struct tpo_port *p)
{
    const struct tpo_ep *ep;

    TAILQ_FOREACH(ep, &p->eps, link)
    if (ep->state == TPO_EP_UP)
        return false;
    return true;
}

static bool all_closed(struct tpo_port *p)
{
    return TAILQ_EMPTY(&p->retired) && TAILQ_EMPTY(&p->drain);
}

static void free_eps(struct tpo_eps *list)
{
    for (struct tpo_ep *ep; (ep = TAILQ_FIRST(list)) != NULL;) {
        TAILQ_REMOVE(list, ep, link);
        tpo_ep_destroy(ep);
    }
}

static void free_port(struct tpo_port *p)
{
    free_eps(&p->eps);
    free_eps(&p->retired);
    free_eps(&p->grave);
    for (uint16_t i = 0; p->peers != NULL && i < p->cfg.nodes; i++) {
        if (p->peers[i].mr != NULL)
            (void)fi_close(&p->peers[i].mr->fid);
        fi_freeinfo(p->peers[i].req[0].info);
        fi_freeinfo(p->peers[i].req[1].info);
        fi_freeinfo(p->peers[i].req[2].info);
    }
    for (unsigned i = 0; i < p->reg_count; i++)
        (void)fi_close(&p->regs[i].mr->fid);
    tpo_events_del(p);
    tpo_dev_close(p);
    tpo_op_free_all(p);
    tpo_timers_done(&p->timers);
    free(p->fd_before);
    free(p->peers);
    free((char *)p->cfg.provider);
    free((char *)p->cfg.bind);
    free(p);
}

/** No callback is called any more; operations in flight end unanswered. Not from a callback. */
static void ofi_close(struct tp_port **tp)
{
    if (*tp == NULL)
        return;
    struct tpo_port *p = port_of(*tp);
    FL_ASSERT(!p->in_pump);
    p->closing = true;
    p->h = nobody;
    for (uint16_t i = 0; i < p->cfg.nodes; i++)
        say_goodbye(&p->peers[i]);
    (void)tpo_pump_until(p, nobody_up, fl_clock_ns() + CLOSE_WAIT_MS * FL_NS_PER_MS);
    for (uint16_t i = 0; i < p->cfg.nodes; i++)
        if (i != p->cfg.self)
            tpo_peer_fail(&p->peers[i], FL_OK);
    (void)tpo_pump_until(p, all_closed, fl_clock_ns() + CLOSE_WAIT_MS * FL_NS_PER_MS);
    free_port(p);
    *tp = NULL;
}

static const struct tp_port_ops ofi_ops = {
    .reg = ofi_reg,
    .expose = ofi_expose,
    .listen = ofi_listen,
    .connect = ofi_connect,
    .read = ofi_read,
    .write = ofi_write,
    .send = ofi_send,
    .fence = ofi_fence,
    .mute = ofi_mute,
    .sever = ofi_sever,
    .poll = ofi_poll,
    .ledger = ofi_ledger,
    .close = ofi_close,
};

/* --- the beginning ----------------------------------------------------------------------------- */

static int check_cfg(const struct tp_cfg *c, struct fl_errmsg *err)
{
    if (c->nodes < 2 || c->self >= c->nodes)
        return fl_fail(err, FL_EINVAL, "node %u of %u: a fabric has at least two nodes", c->self,
                       c->nodes);
    if (c->credits < 1 || c->credits > 256)
        return fl_fail(err, FL_EINVAL, "credits %u: 1 to 256 are possible", c->credits);
    if (c->window_ops < 1 || c->window_bytes < FL_PAGE_BYTES)
        return fl_fail(err, FL_EINVAL, "the window must hold one operation and one page");
    if (c->connect_deadline_ns == 0 || c->fence_deadline_ns == 0)
        return fl_fail(err, FL_EINVAL, "connect and fence need a deadline above zero");
    if (c->heartbeat_ns != 0 && c->heartbeat_miss_ns <= c->heartbeat_ns)
        return fl_fail(err, FL_EINVAL, "heartbeat_miss must be longer than heartbeat");
    if (c->provider == NULL || strchr(c->provider, ';') != NULL ||
        strcmp(c->provider, "shm") == 0 || strcmp(c->provider, "net") == 0)
        return fl_fail(err, FL_EUNSUPPORTED,
                       "fabric \"%s\" is not supported; use tcp, sockets or verbs",
                       c->provider == NULL ? "" : c->provider);
    return FL_OK;
}

static struct tpo_port *port_alloc(const struct tp_cfg *cfg)
{
    struct tpo_port *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->base.ops = &ofi_ops;
    p->cfg = *cfg;
    p->version = TP_WIRE_VERSION;
    TAILQ_INIT(&p->eps);
    TAILQ_INIT(&p->retired);
    TAILQ_INIT(&p->grave);
    TAILQ_INIT(&p->drain);
    TAILQ_INIT(&p->free_ops);
    p->t_reap.kind = TPO_T_REAP;
    p->cfg.provider = strdup(cfg->provider);
    p->cfg.bind = strdup(cfg->bind != NULL ? cfg->bind : "127.0.0.1");
    p->peers = calloc(cfg->nodes, sizeof(*p->peers));
    bool ok = p->cfg.provider != NULL && p->cfg.bind != NULL && p->peers != NULL &&
              tpo_timers_reserve(&p->timers, 2 * (uint32_t)cfg->nodes + 1) == FL_OK;
    if (!ok) {
        free_port(p);
        return NULL;
    }
    for (uint16_t i = 0; i < cfg->nodes; i++)
        tpo_peer_init(&p->peers[i], p, i);
    return p;
}

int tp_ofi_new(struct event_base *base, const struct tp_cfg *cfg, const struct tp_handler *h,
               struct tp_port **ret, struct fl_errmsg *err)
{
    int e = check_cfg(cfg, err);
    if (e != FL_OK)
        return e;
    struct tpo_port *p = port_alloc(cfg);
    if (p == NULL)
        return fl_fail(err, FL_ENOMEM, "no memory for a fabric of %u nodes", cfg->nodes);
    p->h = *h;
    p->loop = base;
    if (cfg->wait == WAIT_ADAPTIVE && sysconf(_SC_NPROCESSORS_ONLN) > cfg->nodes)
        p->spin_ns = ADAPTIVE_SPIN_US * FL_NS_PER_US;
    tpo_cloexec_before(p);
    e = tpo_dev_open(p, err);
    if (e == FL_OK)
        e = tpo_events_add(p, err);
    if (e != FL_OK) {
        free_port(p);
        return e;
    }
    tpo_cloexec(p);
    *ret = &p->base;
    return FL_OK;
}
