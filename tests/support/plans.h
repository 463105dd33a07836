/* SPDX-License-Identifier: Apache-2.0 */
/** Scenario texts for tests of the plan, evaluated in this process. */
#ifndef TESTS_PLANS_H
#define TESTS_PLANS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu/plan_fields.h"
#include "emu/result.h"
#include "emu/scenario.h"

/** Eight lines: nodes c0, m0, m1, one link, region heap, workload w, a check. */
extern const char plans_basic[];
enum { PLANS_BASIC_LINES = 8 };

/** Evaluates @text as file "t.lua"; not validated. */
int plans_eval_text(const char *text, struct plan *ret, struct fl_errmsg *err);

/** Evaluates the basic text with @extra as its next line. */
int plans_eval(const char *extra, struct plan *ret, struct fl_errmsg *err);

/** A valid plan of the basic text and @extra; fails the test otherwise. free() it. */
struct plan *plans_new(const char *extra);

/** The basic text with @extra must be refused, on its line, with @want in the message. */
void plans_refused(const char *extra, const char *want);

void plans_contains(const char *text, const char *want);

#endif
