/* SPDX-License-Identifier: Apache-2.0 */
/* for a state of the hash on the stack */
#define XXH_STATIC_LINKING_ONLY
#include "emu/base/trace.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "emu/base/env.h"

/* Records in little-endian order gather here: the hash of the stream is that of all its bytes,
 * however they are cut, and one call for many records is cheaper. */
enum { REC_WORDS = 5, WAITING_MAX = 64 };

struct fl_trace {
    XXH64_state_t *hash;
    uint64_t waiting[WAITING_MAX][REC_WORDS];
    unsigned waiting_count;
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

static void hash_waiting(const struct fl_trace *t, XXH64_state_t *hash)
{
    XXH64_update(hash, t->waiting, t->waiting_count * sizeof t->waiting[0]);
}

void fl_trace_add(struct fl_trace *t, const struct fl_trace_rec *r)
{
    uint64_t *w = t->waiting[t->waiting_count++];

    w[0] = htole64(r->t_ns);
    w[1] = htole64((uint64_t)r->code << 48 | (uint64_t)r->kind << 32 | r->node);
    w[2] = htole64((uint64_t)r->page << 32 | r->region);
    w[3] = htole64(r->a);
    w[4] = htole64(r->b);
    if (t->waiting_count == WAITING_MAX) {
        hash_waiting(t, t->hash);
        t->waiting_count = 0;
    }
    t->count++;
    if (t->sink != NULL) {
        t->sink(t->arg, r);
    }
}

uint64_t fl_trace_hash(const struct fl_trace *t)
{
    XXH64_state_t now;

    XXH64_copyState(&now, t->hash);
    hash_waiting(t, &now);
    return XXH64_digest(&now);
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
