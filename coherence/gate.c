/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/gate.h"

#include "emu/base/assert.h"

_Static_assert(FL_PROT_NONE == 0 && FL_PROT_READ == 1 && FL_PROT_RW == 2, "order of protections");

static struct coh_gate_res res(uint32_t word, enum coh_gate_out out)
{
    return (struct coh_gate_res){.word = word, .out = out};
}

static struct coh_gate_res load(uint32_t w)
{
    if (w & COH_GATE_F_CHANGING)
        return res(w, COH_GATE_CHANGING);
    return res(w, coh_gate_prot(w) == FL_PROT_NONE ? COH_GATE_SHUT : COH_GATE_OPEN);
}

static struct coh_gate_res take(uint32_t w)
{
    if (w & COH_GATE_F_CHANGING)
        return res(w, COH_GATE_CHANGING);
    if (w & COH_GATE_F_BUSY)
        return res(w, COH_GATE_BUSY);
    if (coh_gate_prot(w) == FL_PROT_NONE)
        return res(w, COH_GATE_SHUT);
    if (coh_gate_prot(w) == FL_PROT_RW)
        return res(w, COH_GATE_OPEN);
    if (w & COH_GATE_F_HELD)
        return res(w, COH_GATE_HELD);
    return res(w | COH_GATE_F_BUSY, COH_GATE_OK);
}

static struct coh_gate_res let_go(uint32_t w, enum fl_prot prot)
{
    if (!(w & COH_GATE_F_BUSY))
        return res(w, COH_GATE_ILLEGAL);
    enum coh_gate_out out = (w & COH_GATE_F_WANTED) ? COH_GATE_WANTED : COH_GATE_OK;
    w &= ~(uint32_t)(COH_GATE_PROT | COH_GATE_F_BUSY | COH_GATE_F_WANTED);
    return res(w | (uint32_t)prot, out);
}

static struct coh_gate_res begin(uint32_t w, enum fl_prot prot)
{
    if (w & COH_GATE_F_CHANGING)
        return res(w, COH_GATE_ILLEGAL);
    if (w & COH_GATE_F_BUSY)
        return res(w | COH_GATE_F_WANTED, COH_GATE_BUSY);
    return res(w | COH_GATE_F_CHANGING | (uint32_t)prot << COH_GATE_TARGET_SHIFT, COH_GATE_OK);
}

static struct coh_gate_res end(uint32_t w)
{
    if (!(w & COH_GATE_F_CHANGING))
        return res(w, COH_GATE_ILLEGAL);
    uint32_t prot = (uint32_t)coh_gate_target(w);
    /* Raising NONE to READ after a fetch needs no snap: any thread may open that page at once. */
    bool held = prot == FL_PROT_READ && coh_gate_prot(w) != FL_PROT_NONE;
    uint32_t epoch = coh_gate_epoch(w) + 1;
    return res(epoch << COH_GATE_EPOCH_SHIFT | (held ? COH_GATE_F_HELD : 0) | prot, COH_GATE_OK);
}

static struct coh_gate_res cancel(uint32_t w)
{
    if (!(w & COH_GATE_F_CHANGING))
        return res(w, COH_GATE_ILLEGAL);
    return res(w & ~(uint32_t)(COH_GATE_F_CHANGING | COH_GATE_TARGET), COH_GATE_OK);
}

struct coh_gate_res coh_gate_step(uint32_t word, enum coh_gate_op op)
{
    switch (op) {
    case COH_OP_LOAD:
        return load(word);
    case COH_OP_TAKE:
        return take(word);
    case COH_OP_OPEN:
        return let_go(word, FL_PROT_RW);
    case COH_OP_BACK_OUT:
        return let_go(word, FL_PROT_READ);
    case COH_OP_TO_NONE:
        return begin(word, FL_PROT_NONE);
    case COH_OP_TO_READ:
        return begin(word, FL_PROT_READ);
    case COH_OP_TO_RW:
        return begin(word, FL_PROT_RW);
    case COH_OP_END:
        return end(word);
    case COH_OP_CANCEL:
        return cancel(word);
    case COH_OP_RELEASE:
        return res(word & ~(uint32_t)COH_GATE_F_HELD, COH_GATE_OK);
    case COH_OP_COUNT:
        break;
    }
    return res(word, COH_GATE_ILLEGAL);
}

enum coh_gate_out coh_gate_do(_Atomic uint32_t *gate, enum coh_gate_op op)
{
    uint32_t old = atomic_load_explicit(gate, memory_order_acquire);
    for (;;) {
        struct coh_gate_res r = coh_gate_step(old, op);
        FL_ASSERT(r.out != COH_GATE_ILLEGAL);
        if (r.word == old)
            return r.out;
        if (atomic_compare_exchange_weak_explicit(gate, &old, r.word, memory_order_acq_rel,
                                                  memory_order_acquire))
            return r.out;
    }
}
