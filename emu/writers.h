/* SPDX-License-Identifier: Apache-2.0 */
/** Who stored last in each line of a region: kept beside the shadow, asked after a violation. */
#ifndef EMU_WRITERS_H
#define EMU_WRITERS_H

#include <stdbool.h>
#include <stdint.h>

struct writers;

struct writer {
    uint16_t workload, thread;
    uint32_t access;               /* of this thread, from 1 */
    uint8_t first_byte, last_byte; /* of the line that the store wrote last */
    uint64_t line;                 /* of the region */
    uint64_t t_ns;
};

/** NULL: out of memory, or the region is empty. Memory is only used for lines that are stored to. */
struct writers *writers_new(uint64_t region_bytes);
void writers_free(struct writers **w);

/** A store of [@off, @off + @len_bytes) by @by (its line and bytes are not read) is about to begin.
 * Any thread; of two at once in one line either may be kept. */
void writers_note(struct writers *w, uint64_t off, uint32_t len_bytes, const struct writer *by);

/** The latest store in the lines that [@off, @off + @len_bytes) touches; false: there was none. */
bool writers_last(const struct writers *w, uint64_t off, uint64_t len_bytes, struct writer *ret);

#endif
