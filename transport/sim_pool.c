/* SPDX-License-Identifier: Apache-2.0 */
/** Memory of the simulated fabric: packets and buffers are pooled, none is allocated per packet
 * once the pools have grown to what a run keeps in flight. */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "transport/sim_int.h"

/* A free buffer begins with the address of the next one. */
enum { PKTS_PER_BLOCK = 128, LINK_BYTES = sizeof(uint8_t *) };

static const size_t BUF_BYTES[SIM_BUF_CLASSES] = {512, 8192, 80 * 1024};

void *sim_must(void *p)
{
    FL_ASSERT(p != NULL); /* the simulator has no one to hand this to */
    return p;
}

static void block_add(struct tp_simnet *n)
{
    if (n->block_count == n->block_cap) {
        n->block_cap = n->block_cap ? n->block_cap * 2 : 16;
        n->blocks = sim_must(realloc(n->blocks, n->block_cap * sizeof *n->blocks));
    }
    struct sim_pkt *b = sim_must(malloc(PKTS_PER_BLOCK * sizeof *b));
    n->blocks[n->block_count++] = b;
    for (int i = 0; i < PKTS_PER_BLOCK; i++) {
        b[i].buf_class = SIM_NO_BUF;
        b[i].fifo = n->free_pkts;
        n->free_pkts = &b[i];
    }
}

struct sim_pkt *sim_pkt_new(struct tp_simnet *n, enum sim_kind kind, struct sim_half *h)
{
    if (!n->free_pkts)
        block_add(n);
    struct sim_pkt *p = n->free_pkts;
    n->free_pkts = p->fifo;
    memset(p, 0, sizeof *p);
    p->kind = (uint8_t)kind;
    p->half = h;
    p->gen = h->gen;
    p->src = h->port->cfg.self;
    p->dst = h->peer;
    p->buf_class = SIM_NO_BUF;
    p->deadline_at_ns = FL_NEVER;
    p->limit_bytes = UINT32_MAX;
    return p;
}

/* A free buffer begins with the address of the next one. */
void sim_pkt_buf(struct tp_simnet *n, struct sim_pkt *p, size_t len_bytes)
{
    uint16_t c = 0;
    while (c < SIM_BUF_CLASSES && BUF_BYTES[c] < len_bytes)
        c++;
    p->buf_class = c;
    p->buf_bytes = (uint32_t)len_bytes;
    if (c < SIM_BUF_CLASSES && n->free_bufs[c]) {
        p->buf = n->free_bufs[c];
        memcpy(&n->free_bufs[c], p->buf, LINK_BYTES);
    } else {
        p->buf = sim_must(malloc(c == SIM_BUF_CLASSES ? len_bytes : BUF_BYTES[c]));
    }
}

static void buf_free(struct tp_simnet *n, struct sim_pkt *p)
{
    if (p->buf_class == SIM_NO_BUF)
        return;
    if (p->buf_class == SIM_BUF_CLASSES) {
        free(p->buf);
    } else {
        memcpy(p->buf, &n->free_bufs[p->buf_class], LINK_BYTES);
        n->free_bufs[p->buf_class] = p->buf;
    }
    p->buf_class = SIM_NO_BUF;
}

void sim_op_link(struct sim_pkt *p)
{
    struct sim_ops *l = &p->half->ops[p->cls];
    p->linked = true;
    p->stage = SIM_WAITING;
    p->prev = l->tail;
    p->next = NULL;
    *(p->prev ? &p->prev->next : &l->head) = p;
    l->tail = p;
    if (!l->waiting)
        l->waiting = p;
}

static void op_unlink(struct sim_pkt *p)
{
    struct sim_ops *l = &p->half->ops[p->cls];
    if (!p->linked)
        return;
    if (l->waiting == p)
        l->waiting = p->next;
    *(p->prev ? &p->prev->next : &l->head) = p->next;
    *(p->next ? &p->next->prev : &l->tail) = p->prev;
    p->linked = false;
}

void sim_pkt_free(struct tp_simnet *n, struct sim_pkt *p)
{
    op_unlink(p);
    buf_free(n, p);
    p->fifo = n->free_pkts;
    n->free_pkts = p;
}

void sim_pkt_lost(struct tp_simnet *n, struct sim_pkt *p)
{
    if (p->linked && !p->reported)
        p->stage = SIM_LOST;
    else
        sim_pkt_free(n, p);
}

void sim_fifo_add(struct sim_list *l, struct sim_pkt *p)
{
    p->fifo = NULL;
    *(l->head ? &l->tail->fifo : &l->head) = p;
    l->tail = p;
}

struct sim_pkt *sim_fifo_take(struct sim_list *l)
{
    struct sim_pkt *p = l->head;
    if (p)
        l->head = p->fifo;
    return p;
}

/** Also what never arrived: its buffers belong to nobody else. */
void sim_pool_free(struct tp_simnet *n)
{
    for (size_t b = 0; b < n->block_count; b++) {
        for (int i = 0; i < PKTS_PER_BLOCK; i++)
            if (n->blocks[b][i].buf_class != SIM_NO_BUF)
                free(n->blocks[b][i].buf);
        free(n->blocks[b]);
    }
    free(n->blocks);
    for (int c = 0; c < SIM_BUF_CLASSES; c++)
        while (n->free_bufs[c]) {
            uint8_t *b = n->free_bufs[c];
            memcpy(&n->free_bufs[c], b, LINK_BYTES);
            free(b);
        }
}
