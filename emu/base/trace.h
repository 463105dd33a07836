/* SPDX-License-Identifier: Apache-2.0 */
/**
 * One record per event that enters a core, call that leaves it and site that is passed. The same
 * records make the trace hash, history.ndjson and trace.json.
 */
#ifndef FL_TRACE_H
#define FL_TRACE_H

#include <stdint.h>

enum fl_trace_kind { FL_TR_EVENT = 1, FL_TR_CALL, FL_TR_SITE, FL_TR_FAULT, FL_TR_CHECK, FL_TR_OP };

/** Plain numbers only: no pointers, no host addresses, no contents. */
struct fl_trace_rec {
    uint64_t t_ns;
    uint32_t node; /* index of the node in the plan */
    uint16_t kind; /* enum fl_trace_kind */
    uint16_t code; /* fl_ev_kind, fl_call, fl_site, ... by kind */
    uint32_t region;
    uint32_t page;
    uint64_t a, b;
};

struct fl_trace; /* opaque */

typedef void fl_trace_sink_fn(void *arg, const struct fl_trace_rec *rec);

/** A trace that hashes (XXH64 over the records in little-endian order) and forwards to @sink. */
struct fl_trace *fl_trace_new(fl_trace_sink_fn *sink, void *arg);
void fl_trace_free(struct fl_trace **t);

void fl_trace_add(struct fl_trace *t, const struct fl_trace_rec *rec);

/** Hash of all records so far; the same on every machine. */
uint64_t fl_trace_hash(const struct fl_trace *t);
uint64_t fl_trace_count(const struct fl_trace *t);

/** Name of a record's code ("MISS", "rma_write", "page_fetched"); static string. */
const char *fl_trace_code_name(const struct fl_trace_rec *rec);

#endif
