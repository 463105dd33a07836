/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/trace.h"

#include <stdlib.h>
#include <xxhash.h>

#include "emu/base/env.h"

enum { REC_BYTES = 40 };

struct fl_trace {
    XXH64_state_t *hash;
    uint64_t count;
    fl_trace_sink_fn *sink;
    void *arg;
};

struct fl_trace *fl_trace_new(fl_trace_sink_fn *sink, void *arg)
{
    struct fl_trace *t = calloc(1, sizeof *t);

    if (t == NULL) {
        return NULL;
    }
    t->hash = XXH64_createState();
    if (t->hash == NULL) {
        free(t);
        return NULL;
    }
    XXH64_reset(t->hash, 0);
    t->sink = sink;
    t->arg = arg;
    return t;
}

void fl_trace_free(struct fl_trace **t)
{
    if (t == NULL || *t == NULL) {
        return;
    }
    XXH64_freeState((*t)->hash);
    free(*t);
    *t = NULL;
}

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        *p++ = (uint8_t)(v >> (8 * i));
    }
    return p;
}

void fl_trace_add(struct fl_trace *t, const struct fl_trace_rec *r)
{
    uint8_t b[REC_BYTES], *p = b;

    p = put(p, r->t_ns, 8);
    p = put(p, r->node, 4);
    p = put(p, r->kind, 2);
    p = put(p, r->code, 2);
    p = put(p, r->region, 4);
    p = put(p, r->page, 4);
    p = put(p, r->a, 8);
    p = put(p, r->b, 8);
    XXH64_update(t->hash, b, (size_t)(p - b));
    t->count++;
    if (t->sink != NULL) {
        t->sink(t->arg, r);
    }
}

uint64_t fl_trace_hash(const struct fl_trace *t)
{
    return XXH64_digest(t->hash);
}

uint64_t fl_trace_count(const struct fl_trace *t)
{
    return t->count;
}

const char *fl_trace_code_name(const struct fl_trace_rec *r)
{
    const struct fl_site_info *s;

    switch (r->kind) {
    case FL_TR_EVENT:
        return fl_ev_name((enum fl_ev_kind)r->code);
    case FL_TR_CALL:
        return fl_call_name((enum fl_call)r->code);
    case FL_TR_SITE:
        s = fl_site_info((enum fl_site)r->code);
        return s != NULL ? s->name : "?";
    case FL_TR_FAULT:
        return "fault";
    case FL_TR_CHECK:
        return "check";
    case FL_TR_OP:
        return r->code != 0 ? "store" : "load";
    default:
        return "?";
    }
}
