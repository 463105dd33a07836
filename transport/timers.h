/* SPDX-License-Identifier: Apache-2.0 */
/** Deadlines of one port in a binary heap, embedded in what they belong to. No I/O, no clock. */
#ifndef TP_TIMERS_H
#define TP_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct tpo_timer {
    uint64_t at_ns;
    uint32_t place; /* in the heap, from 1; 0: not set */
    uint8_t kind;   /* whose it is: the owner's enum */
};

struct tpo_timers {
    struct tpo_timer **heap; /* [1 .. count] */
    uint32_t count, cap;
};

/** Makes room for @count timers at once, so that setting one never fails. Errors: FL_ENOMEM. */
int tpo_timers_reserve(struct tpo_timers *h, uint32_t count);
void tpo_timers_done(struct tpo_timers *h);

/** Sets or moves; FL_NEVER clears. */
void tpo_timer_set(struct tpo_timers *h, struct tpo_timer *t, uint64_t at_ns);

/** Time of the earliest, FL_NEVER when there is none. */
uint64_t tpo_timers_next(const struct tpo_timers *h);

/** Takes the earliest if it is due at @now_ns; NULL otherwise. */
struct tpo_timer *tpo_timers_pop(struct tpo_timers *h, uint64_t now_ns);

#endif
