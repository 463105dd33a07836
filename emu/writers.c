/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/writers.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "emu/base/env.h"

/* Layout of `who`: a set bit, workload, thread, access, first and last byte of the line. */
enum { BYTE_BITS = 6, ACCESS_BITS = 32, THREAD_BITS = 12, WORKLOAD_BITS = 4 };

#define MASK(bits) ((UINT64_C(1) << (bits)) - 1)

struct slot {
    uint64_t who, t_ns; /* read and written as relaxed atomics */
};

struct writers {
    struct slot *slots;
    uint64_t count;
};

struct writers *writers_new(uint64_t region_bytes)
{
    struct writers *w = region_bytes > 0 ? malloc(sizeof(*w)) : NULL;

    if (w == NULL)
        return NULL;
    w->count = (region_bytes + FL_LINE_BYTES - 1) / FL_LINE_BYTES;
    w->slots = mmap(NULL, w->count * sizeof(*w->slots), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->slots == MAP_FAILED) {
        free(w);
        return NULL;
    }
    return w;
}

void writers_free(struct writers **w)
{
    if (*w == NULL)
        return;
    (void)munmap((*w)->slots, (*w)->count * sizeof(*(*w)->slots));
    free(*w);
    *w = NULL;
}

void writers_note(struct writers *w, uint64_t off, uint32_t len_bytes, const struct writer *by)
{
    uint64_t end = off + len_bytes;
    uint64_t who = 1;

    who = who << WORKLOAD_BITS | (by->workload & MASK(WORKLOAD_BITS));
    who = who << THREAD_BITS | (by->thread & MASK(THREAD_BITS));
    who = who << ACCESS_BITS | by->access;
    for (uint64_t line = off / FL_LINE_BYTES; line * FL_LINE_BYTES < end && line < w->count;
         line++) {
        uint64_t from = line * FL_LINE_BYTES, first = off > from ? off - from : 0;
        uint64_t last = end - from < FL_LINE_BYTES ? end - from - 1 : FL_LINE_BYTES - 1;

        __atomic_store_n(&w->slots[line].who, who << 2 * BYTE_BITS | first << BYTE_BITS | last,
                         __ATOMIC_RELAXED);
        __atomic_store_n(&w->slots[line].t_ns, by->t_ns, __ATOMIC_RELAXED);
    }
}

bool writers_last(const struct writers *w, uint64_t off, uint64_t len_bytes, struct writer *ret)
{
    bool found = false;

    for (uint64_t line = off / FL_LINE_BYTES;
         line * FL_LINE_BYTES < off + len_bytes && line < w->count; line++) {
        uint64_t who = __atomic_load_n(&w->slots[line].who, __ATOMIC_RELAXED);
        uint64_t t_ns = __atomic_load_n(&w->slots[line].t_ns, __ATOMIC_RELAXED);

        if (who == 0 || (found && t_ns <= ret->t_ns))
            continue;
        found = true;
        ret->line = line;
        ret->t_ns = t_ns;
        ret->last_byte = (uint8_t)(who & MASK(BYTE_BITS));
        ret->first_byte = (uint8_t)(who >> BYTE_BITS & MASK(BYTE_BITS));
        who >>= 2 * BYTE_BITS;
        ret->access = (uint32_t)(who & MASK(ACCESS_BITS));
        ret->thread = (uint16_t)(who >> ACCESS_BITS & MASK(THREAD_BITS));
        ret->workload = (uint16_t)(who >> (ACCESS_BITS + THREAD_BITS) & MASK(WORKLOAD_BITS));
    }
    return found;
}
