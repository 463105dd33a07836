/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of the first violation of each check: expected, seen, by whom last written, when. */
#include <stdarg.h>
#include <stdio.h>

#include "emu/oracle_priv.h"

struct result_first *oracle_violate(struct oracle *o, enum check c, const char *fmt, ...)
{
    struct tally *t = &o->tally[c];
    va_list ap;

    if (blind(o->plan, c)) {
        return NULL;
    }
    atomic_fetch_add(&t->violated, 1);
    if (atomic_flag_test_and_set(&t->first_taken)) {
        return NULL;
    }
    va_start(ap, fmt);
    vsnprintf(t->first, sizeof t->first, fmt, ap);
    va_end(ap);
    t->what.t_ns = o->now_ns != NULL ? o->now_ns(o->now_arg) : 0;
    return &t->what;
}

void oracle_want(struct result_first *f, const char *fmt, ...)
{
    va_list ap;

    if (f != NULL) {
        va_start(ap, fmt);
        vsnprintf(f->expected, sizeof f->expected, fmt, ap);
        va_end(ap);
    }
}

void oracle_saw(struct result_first *f, const char *fmt, ...)
{
    va_list ap;

    if (f != NULL) {
        va_start(ap, fmt);
        vsnprintf(f->seen, sizeof f->seen, fmt, ap);
        va_end(ap);
    }
}

void oracle_written_by(const struct oracle *o, struct result_first *f, uint16_t region,
                       uint64_t off, uint64_t len_bytes)
{
    const struct oregion *g = &o->regions[region];
    struct writer w;

    if (f == NULL) {
        return;
    }
    if (g->writers == NULL) {
        snprintf(f->writer, sizeof f->writer, "%.31s, a program whose stores are not recorded",
                 o->plan->nodes[o->self].name);
    } else if (!writers_last(g->writers, off, len_bytes, &w)) {
        snprintf(f->writer, sizeof f->writer, "nobody: no store touched it");
    } else {
        snprintf(f->writer, sizeof f->writer,
                 "%.31s, workload %.31s, thread %u, access %u: a store to bytes %u to %u of line "
                 "%llu of page %llu",
                 o->plan->nodes[o->self].name, o->plan->workloads[w.workload].name, w.thread,
                 w.access, w.first_byte, w.last_byte, (unsigned long long)(w.line % FL_PAGE_LINES),
                 (unsigned long long)(w.line / FL_PAGE_LINES));
        f->writer_ns = w.t_ns;
    }
}

void oracle_differ(const struct oracle *o, struct result_first *f, uint16_t region, uint32_t page,
                   int line, const uint8_t *wanted, const uint8_t *seen)
{
    unsigned i = line < 0 ? 0 : (unsigned)line * FL_LINE_BYTES;

    if (f == NULL) {
        return;
    }
    while (i + 1 < FL_PAGE_BYTES && wanted[i] == seen[i]) {
        i++;
    }
    oracle_want(f, "byte %u of page %u of region %s: 0x%02x", i, page,
                o->plan->regions[region].name, wanted[i]);
    oracle_saw(f, "0x%02x", seen[i]);
    oracle_written_by(o, f, region, (uint64_t)page * FL_PAGE_BYTES + i, 1);
}

void oracle_set_clock(struct oracle *o, uint64_t (*now_ns)(void *arg), void *arg)
{
    o->now_ns = now_ns;
    o->now_arg = arg;
}

void oracle_on_store(struct oracle *o, uint16_t region, uint64_t off, uint32_t len_bytes,
                     uint16_t workload, uint32_t thread, uint64_t access)
{
    struct oregion *g = &o->regions[region];
    struct writer w = {.workload = workload,
                       .thread = (uint16_t)thread,
                       .access = (uint32_t)access,
                       .t_ns = o->now_ns != NULL ? o->now_ns(o->now_arg) : 0};

    if (g->writers != NULL) {
        writers_note(g->writers, off, len_bytes, &w);
    }
}

bool oracle_writer(const struct oracle *o, uint16_t region, uint64_t off, struct result_first *ret)
{
    oracle_written_by(o, ret, region, off, 1);
    return ret->writer[0] != '\0';
}
