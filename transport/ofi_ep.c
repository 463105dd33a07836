/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of one class in one generation: its buffers, its end. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu/base/assert.h"
#include "emu/base/clock.h"
#include "transport/ofi.h"
#include "transport/wire.h"

/* How long flushed completions are waited for between shutdown and close. tcp delivers them inside
 * fi_shutdown; a provider that never does only delays the end by this. */
#define RETIRE_WAIT_NS (20 * FL_NS_PER_MS)

static uint32_t buf_bytes(unsigned cls)
{
    size_t big = TP_FRAME_BYTES + tp_wire_max();

    return cls == FL_BULK ? (uint32_t)((big + 63) & ~(size_t)63) : TPO_SMALL_BYTES;
}

void tpo_conn_cost(const struct tp_cfg *cfg, struct tpo_cost *ret)
{
    uint32_t bufs = (uint32_t)cfg->credits + TPO_RESERVE;

    *ret = (struct tpo_cost){.queue_entries = cfg->window_ops + 2 * FL_CLASSES * bufs};
    for (unsigned c = 0; c < FL_CLASSES; c++)
        ret->registered_bytes += (size_t)2 * bufs * buf_bytes(c);
}

static int ep_buffers(struct tpo_ep *ep)
{
    struct tpo_port *p = ep->port;

    ep->buf_count = (uint32_t)p->cfg.credits + TPO_RESERVE;
    ep->buf_bytes = buf_bytes(ep->cls);
    ep->mem_bytes = (size_t)2 * ep->buf_count * ep->buf_bytes;
    ep->rx = calloc(ep->buf_count, sizeof(*ep->rx));
    ep->tx = calloc(ep->buf_count, sizeof(*ep->tx));
    ep->tx_free = calloc(ep->buf_count, sizeof(*ep->tx_free));
    ep->mem = mmap(NULL, ep->mem_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ep->mem == MAP_FAILED)
        ep->mem = NULL;
    if (ep->rx == NULL || ep->tx == NULL || ep->tx_free == NULL || ep->mem == NULL)
        return -FI_ENOMEM;
    for (uint32_t i = 0; i < ep->buf_count; i++) {
        ep->rx[i].ctx = (struct tpo_ctx){.kind = TPO_CTX_RX, .ep = ep};
        ep->rx[i].mem = ep->mem + (size_t)i * ep->buf_bytes;
        ep->tx[i].ctx = (struct tpo_ctx){.kind = TPO_CTX_TX, .ep = ep};
        ep->tx[i].mem = ep->mem + (size_t)(ep->buf_count + i) * ep->buf_bytes;
        ep->tx_free[i] = i;
    }
    ep->tx_free_count = ep->buf_count;
    if (tpo_mr_open(p, ep->mem, ep->mem_bytes, FI_SEND | FI_RECV, &ep->mr, NULL) != FL_OK)
        return -FI_ENOMEM;
    ep->desc = fi_mr_desc(ep->mr);
    return 0;
}

static int ep_open(struct tpo_ep *ep, struct fi_info *info)
{
    struct tpo_port *p = ep->port;

    int rc = fi_endpoint(p->domain, info, &ep->fid, ep);
    if (rc == 0)
        rc = fi_ep_bind(ep->fid, &p->eq->fid, 0);
    if (rc == 0)
        rc = fi_ep_bind(ep->fid, &p->cq->fid, FI_TRANSMIT | FI_RECV);
    if (rc == 0)
        rc = fi_enable(ep->fid);
    for (uint32_t i = 0; rc == 0 && i < ep->buf_count; i++)
        rc = tpo_msg_post_rx(ep, &ep->rx[i]);
    ep->told = ep->posted; /* the peer knows: credits and reserve are part of the handshake */
    return rc;
}

struct tpo_ep *tpo_ep_new(struct tpo_peer *peer, uint8_t cls, struct fi_info *info, int *ret_rc)
{
    struct tpo_ep *ep = calloc(1, sizeof(*ep));

    *ret_rc = -FI_ENOMEM;
    if (ep == NULL)
        return NULL;
    ep->port = peer->port;
    ep->peer = peer;
    ep->cls = cls;
    TAILQ_INIT(&ep->ops);
    TAILQ_INSERT_TAIL(&peer->port->eps, ep, link);
    *ret_rc = ep_buffers(ep);
    if (*ret_rc == 0)
        *ret_rc = ep_open(ep, info);
    if (*ret_rc == 0) {
        peer->port->cm_moved = true;
        return ep;
    }
    /* Posted receives may exist: the same way out as any other endpoint. */
    tpo_ep_retire(ep);
    return NULL;
}

static void ep_free(struct tpo_ep *ep)
{
    if (ep->mr != NULL)
        (void)fi_close(&ep->mr->fid);
    if (ep->mem != NULL)
        munmap(ep->mem, ep->mem_bytes);
    free(ep->rx);
    free(ep->tx);
    free(ep->tx_free);
    free(ep);
}

void tpo_ep_retire(struct tpo_ep *ep)
{
    struct tpo_port *p = ep->port;
    bool sockets = strcmp(p->cfg.provider, "sockets") == 0;

    FL_ASSERT(ep->state == TPO_EP_SETUP || ep->state == TPO_EP_UP);
    /* One that never was up has nothing to flush but receives, which closing does. The sockets
     * provider is never asked: it closes descriptor 0 when a refused one is shut down, and closing
     * one after its shutdown closes the same descriptor twice, by then another connection's. */
    bool was_up = ep->state == TPO_EP_UP && !sockets;
    if (was_up)
        (void)fi_shutdown(ep->fid, 0);
    ep->state = TPO_EP_SHUT;
    ep->peer->retiring++;
    ep->retire_at_ns = was_up ? fl_clock_ns() : 0;
    TAILQ_REMOVE(&p->eps, ep, link);
    TAILQ_INSERT_TAIL(&p->retired, ep, link);
    tpo_soon(p);
}

/**
 * Closes the endpoint. The sockets provider of libfabric 1.17 closes descriptor 0 with an endpoint
 * that was refused (its socket was never set): whatever the program has there is put back.
 */
static void close_fid(struct tpo_ep *ep)
{
    bool sockets = strcmp(ep->port->cfg.provider, "sockets") == 0;

    if (ep->fid == NULL)
        return;
    int keep = sockets ? fcntl(0, F_DUPFD_CLOEXEC, 3) : -1;
    int flags = keep >= 0 ? fcntl(0, F_GETFD) : 0;
    (void)fi_close(&ep->fid->fid);
    ep->fid = NULL;
    if (keep < 0)
        return;
    if (fcntl(0, F_GETFD) < 0 && dup2(keep, 0) == 0)
        (void)fcntl(0, F_SETFD, flags);
    close(keep);
}

/** Second half of the end: fi_close, then whatever the provider still had is the caller's again. */
static void ep_close(struct tpo_ep *ep)
{
    struct tpo_port *p = ep->port;

    close_fid(ep);
    ep->state = TPO_EP_CLOSED;
    tpo_op_abandon(ep);
    TAILQ_REMOVE(&p->retired, ep, link);
    FL_ASSERT(ep->peer->retiring > 0);
    ep->peer->retiring--;
    TAILQ_INSERT_TAIL(&p->grave, ep, link);
}

bool tpo_ep_reap(struct tpo_port *p, uint64_t now_ns)
{
    bool moved = false;
    struct tpo_ep *next;

    for (struct tpo_ep *ep = TAILQ_FIRST(&p->grave); ep != NULL; ep = next) {
        next = TAILQ_NEXT(ep, link);
        if (ep->outstanding != 0)
            continue;
        TAILQ_REMOVE(&p->grave, ep, link);
        ep_free(ep);
    }
    for (struct tpo_ep *ep = TAILQ_FIRST(&p->retired); ep != NULL; ep = next) {
        next = TAILQ_NEXT(ep, link);
        if (ep->outstanding != 0 && now_ns - ep->retire_at_ns < RETIRE_WAIT_NS)
            continue;
        ep_close(ep);
        moved = true;
    }
    return moved;
}

void tpo_ep_destroy(struct tpo_ep *ep)
{
    close_fid(ep);
    ep_free(ep);
}

struct tpo_ep *tpo_ep_find(struct tpo_port *p, const struct fid *fid)
{
    struct tpo_ep *ep;

    TAILQ_FOREACH(ep, &p->eps, link)
    if (ep->fid != NULL && &ep->fid->fid == fid)
        return ep;
    return NULL;
}
