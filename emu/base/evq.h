/* SPDX-License-Identifier: Apache-2.0 */
/** Virtual time: a queue of callbacks ordered by (time, order of insertion). Simulator only. */
#ifndef FL_EVQ_H
#define FL_EVQ_H

#include <stdbool.h>
#include <stdint.h>

struct fl_evq; /* opaque: binary heap over a growing array */

typedef void fl_evq_fn(void *arg, uint64_t a, uint64_t b);

struct fl_evq *fl_evq_new(void);
void fl_evq_free(struct fl_evq **q);

uint64_t fl_evq_now_ns(const struct fl_evq *q);

/** Calls @fn(@arg, @a, @b) at @at_ns, or now if that is past. Returns an id for fl_evq_cancel. */
uint64_t fl_evq_at(struct fl_evq *q, uint64_t at_ns, fl_evq_fn *fn, void *arg, uint64_t a,
                   uint64_t b);

/** Cancels; an id that already ran is ignored. */
void fl_evq_cancel(struct fl_evq *q, uint64_t id);

/** Advances to the next entry and runs it; false when the queue is empty. */
bool fl_evq_step(struct fl_evq *q);

/** Time of the next entry, FL_NEVER when empty. */
uint64_t fl_evq_next_ns(const struct fl_evq *q);

#endif
