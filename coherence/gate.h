/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The page gate: one word per page that lets a thread's trap open a clean local page without
 * asking the device, and lets the device change protections without losing a store.
 *
 * Pure: a step maps (word, operation) to (word, outcome) and nothing else. The trap handler and the
 * device apply steps with compare-and-swap (coh_gate_do), the simulator and the exhaustive explorer
 * one by one (coh_gate_step): the same function in all three worlds.
 *
 * The word: protection {NONE, READ, RW}; flags busy, wanted, changing, held; target of a change;
 * epoch, which counts finished changes (24 bits, wraps).
 *   busy      a thread's trap is opening the page: it copies the twin, raises READ to RW
 *   wanted    the device met busy and waits for it; told to the thread when it lets busy go
 *   changing  the device is changing the protection
 *   held      the device lowered a readable page to READ and has not snapped it yet: no thread may
 *             open it, so that what the device gated is what it snaps
 *
 * Who    operation     legal when            outcome and new word; other states
 * thread LOAD          any                   OPEN when readable; SHUT, CHANGING. Never changes it
 * thread TAKE          any                   READ: OK, busy set. Else unchanged: OPEN (RW already),
 *                                            SHUT (NONE), BUSY, CHANGING, HELD
 * thread OPEN          busy                  OK or WANTED: RW, busy and wanted cleared
 * thread BACK_OUT      busy                  OK or WANTED: still READ, busy and wanted cleared
 * device TO_NONE, _READ, _RW  not changing   OK: changing set; busy: BUSY, wanted set
 * device END           changing              OK: protection is the target, epoch + 1, held set when
 *                                            READ or RW became READ, cleared otherwise
 * device CANCEL        changing              OK: changing cleared, nothing else changed
 * device RELEASE       any                   OK: held cleared (the page has been snapped)
 * Everything else is ILLEGAL, a bug of the caller, and leaves the word as it was.
 *
 * A thread that meets BUSY or CHANGING tries again soon; SHUT and HELD it reports as a MISS (HELD
 * may first be tried again, a snap follows within microseconds). busy and changing never stand
 * together: a change begins only when busy is clear, and busy is taken only when changing is clear.
 */
#ifndef COH_GATE_H
#define COH_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "emu/base/env.h"

enum {
    COH_GATE_PROT = 0x03, /* enum fl_prot */
    COH_GATE_F_BUSY = 0x04,
    COH_GATE_F_WANTED = 0x08,
    COH_GATE_F_CHANGING = 0x10,
    COH_GATE_TARGET = 0x60, /* enum fl_prot of the change that is under way, else 0 */
    COH_GATE_TARGET_SHIFT = 5,
    COH_GATE_F_HELD = 0x80,
    COH_GATE_EPOCH_SHIFT = 8,
};

enum coh_gate_op {
    COH_OP_LOAD,
    COH_OP_TAKE,
    COH_OP_OPEN,
    COH_OP_BACK_OUT,
    COH_OP_TO_NONE,
    COH_OP_TO_READ,
    COH_OP_TO_RW,
    COH_OP_END,
    COH_OP_CANCEL,
    COH_OP_RELEASE,
    COH_OP_COUNT
};

enum coh_gate_out {
    COH_GATE_OK,
    COH_GATE_WANTED,   /* done, and the device waits for this gate: tell it */
    COH_GATE_OPEN,     /* the page allows the access: do it again */
    COH_GATE_SHUT,     /* not readable */
    COH_GATE_BUSY,     /* another thread's trap holds it */
    COH_GATE_CHANGING, /* the device is changing it */
    COH_GATE_HELD,     /* waits for its snap */
    COH_GATE_ILLEGAL,
};

struct coh_gate_res {
    uint32_t word;
    enum coh_gate_out out;
};

/** One step. A fresh gate is 0: FL_PROT_NONE, epoch 0. */
struct coh_gate_res coh_gate_step(uint32_t word, enum coh_gate_op op);

/** The step as one atomic change of @gate; async-signal-safe. Aborts on ILLEGAL. */
enum coh_gate_out coh_gate_do(_Atomic uint32_t *gate, enum coh_gate_op op);

/** Operation that begins a change to @prot. */
static inline enum coh_gate_op coh_gate_to(enum fl_prot prot)
{
    return (enum coh_gate_op)((int)COH_OP_TO_NONE + (int)prot);
}

static inline enum fl_prot coh_gate_prot(uint32_t word)
{
    return (enum fl_prot)(word & COH_GATE_PROT);
}

static inline enum fl_prot coh_gate_target(uint32_t word)
{
    return (enum fl_prot)((word & COH_GATE_TARGET) >> COH_GATE_TARGET_SHIFT);
}

static inline uint32_t coh_gate_epoch(uint32_t word)
{
    return word >> COH_GATE_EPOCH_SHIFT;
}

static inline bool coh_gate_busy(uint32_t word)
{
    return (word & COH_GATE_F_BUSY) != 0;
}

#endif
