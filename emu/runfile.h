/* SPDX-License-Identifier: Apache-2.0 */
/** run.json: what a run recorded, so that it can be repeated. Format: farline(1). */
#ifndef EMU_RUNFILE_H
#define EMU_RUNFILE_H

#include <jansson.h>

#include "emu/plan.h"

enum { RUNFILE_VERSION = 1 };

struct runfile {
    struct plan plan;
    char variant[PLAN_NAME_MAX]; /* empty: none */
    char fabric[16], tracker[16];
    uint64_t trace_hash; /* 0: none was recorded */
    uint32_t fired;      /* faults that fired */
};

/** Adds "digests": XXH64 of every field, of the plan's fields one by one, so that a later edit can
 * be told from what the run recorded, and which field it was. Nonzero: out of memory. */
int runfile_seal(json_t *j);

/** Reads and checks everything before anything is run. FL_EINVAL: "FILE: FIELD: cause; remedy". */
int runfile_read(const char *path, struct runfile *ret, struct fl_errmsg *err);

#endif
