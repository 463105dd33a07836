/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Coroutines on stacks of their own: a function that can be left in the middle and entered again.
 * Leaving also works from inside a signal handler that runs on the coroutine's stack; the set of
 * blocked signals goes with each side.
 *
 * Threads: a coroutine belongs to the thread that runs it first.
 */
#ifndef FL_CORO_H
#define FL_CORO_H

#include <stdbool.h>
#include <stddef.h>

#include "emu/base/err.h"

struct fl_coro; /* opaque */

/** @stack_bytes are rounded up to pages; below them one page stays closed, so that an overflow
 * crashes and overwrites nothing. Nothing runs yet. Errors: FL_ENOMEM. */
int fl_coro_new(size_t stack_bytes, void (*fn)(void *arg), void *arg, struct fl_coro **ret,
                struct fl_errmsg *err);

/** Takes its stack away, wherever it stands; what it had allocated stays. Not from inside. */
void fl_coro_free(struct fl_coro **c);

/** Runs it until it yields or its function returns. Not from inside a coroutine, not when over. */
void fl_coro_run(struct fl_coro *c);

/** Inside: goes back to where fl_coro_run was called; returns when it is called again. */
void fl_coro_yield(void);

/** The one that runs now, NULL outside. */
struct fl_coro *fl_coro_self(void);

/** Its function has returned. */
bool fl_coro_over(const struct fl_coro *c);

#endif
