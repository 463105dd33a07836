/* SPDX-License-Identifier: Apache-2.0 */
/** A judged run to write out, and a directory to write in. */
#ifndef TESTS_RUNS_H
#define TESTS_RUNS_H

#include "emu/outputs.h"
#include "tests/support/plans.h"

extern char runs_dir[256]; /* made by runs_make_dir, removed by runs_remove_dir */
int runs_make_dir(void **state);
int runs_remove_dir(void **state);

/** runs_dir/NAME; a static buffer of which four live at a time. */
const char *runs_path(const char *name);

/** Whole file as text; fails the test when it cannot be read. free() it. */
char *runs_read(const char *path);

/** A run: held, with W1 and W3 compared, one fault, two nodes, some figures. */
struct out_run runs_new(void);
struct result *runs_result(struct out_run *o);
void runs_free(struct out_run *o);

#endif
