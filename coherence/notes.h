/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Notes from trapping threads to the device thread: many producers, one consumer, no locks, no
 * allocation. Every note has a place of its own, numbered 1..count, which its owner fills; a place
 * is in use from push until the device has grabbed it. The list is grabbed whole, so a note whose
 * push has returned is always seen, whatever other pushes are under way.
 */
#ifndef COH_NOTES_H
#define COH_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "emu/base/err.h"

struct coh_place {
    uint32_t next;
    uint32_t page;
    uint16_t region;
    uint8_t kind;   /* enum coh_note_kind */
    uint8_t access; /* enum fl_access */
    uint32_t ticket;
};

struct coh_notes {
    _Alignas(64) _Atomic uint32_t head; /* newest place, 0: none */
    _Alignas(64) _Atomic bool asleep;   /* the device waits for the descriptor */
    _Atomic bool armed;                 /* it will look soon by itself */
    int wake_fd;
    void (*wake)(void *arg); /* called instead of writing to wake_fd; NULL: not */
    void *wake_arg;
    uint32_t count;
    struct coh_place *places; /* [count + 1], number 0 unused */
};

/** Errors: FL_ENOMEM, FL_EIO. coh_notes_done accepts a zeroed struct. */
int coh_notes_init(struct coh_notes *n, uint32_t count, struct fl_errmsg *err);
void coh_notes_done(struct coh_notes *n);

/** Hands over a filled place. @urgent: wakes the device even while it is armed. Any thread,
 * async-signal-safe. */
void coh_notes_push(struct coh_notes *n, uint32_t place, bool urgent);

/** Wakes the device if it sleeps. Any thread, async-signal-safe. */
void coh_notes_wake(struct coh_notes *n);

/** Device: all places pushed so far, oldest first, linked by next; 0: none. */
uint32_t coh_notes_grab(struct coh_notes *n);

/** Device: nothing was found; it is going to sleep. False: something came, look again. */
bool coh_notes_sleep(struct coh_notes *n);

/** Device: see coh_tracker_ops.armed. */
void coh_notes_arm(struct coh_notes *n, bool armed);

#endif
