/* SPDX-License-Identifier: Apache-2.0 */
/** Test cases of many runs, for CI servers: one per run and check, and one per run's verdict. */
#ifndef EMU_CASES_H
#define EMU_CASES_H

#include <stdio.h>

#include "emu/pool.h"

enum { CASES_MAX = 2000000 };

struct cases;

/** NULL: out of memory. */
struct cases *cases_new(void);
void cases_free(struct cases **c);

/** Runs added from here on belong to the suite @suite; a case's name is "@suite @what NUMBER", such
 * as "basic seed 7" or "basic seed 1, kill at c0.period#7" (then @what ends with '#'). */
int cases_suite(struct cases *c, const char *suite, const char *what);

/** Run @number was answered. FL_ENOMEM, or FL_ENOSPC past CASES_MAX. */
int cases_add(struct cases *c, uint64_t number, const struct pool_note *n);

/** JUnit, suites in the order in which they began, runs by number. free() it; NULL: out of memory. */
char *cases_junit(struct cases *c);

/** Test Anything Protocol in the same order. */
void cases_tap(FILE *f, struct cases *c);

/** Writes JUnit to @junit unless that is NULL, TAP to stdout if @tap. */
int cases_write(struct cases *c, const char *junit, bool tap, struct fl_errmsg *err);

#endif
