/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/zeroed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "emu/base/env.h"

void *fl_zeroed_new(size_t len_bytes)
{
    if (len_bytes > FL_ZEROED_HEAP_MAX) {
        void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        return p == MAP_FAILED ? NULL : p;
    }
    size_t whole = (len_bytes / FL_PAGE_BYTES + 1) * FL_PAGE_BYTES;
    void *p = aligned_alloc(FL_PAGE_BYTES, whole);

    return p == NULL ? NULL : memset(p, 0, whole);
}

void fl_zeroed_free(void *p, size_t len_bytes)
{
    if (len_bytes <= FL_ZEROED_HEAP_MAX) {
        free(p);
    } else if (p != NULL) {
        munmap(p, len_bytes);
    }
}
