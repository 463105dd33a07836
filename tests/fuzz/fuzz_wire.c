/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: whatever decodes encodes to the same bytes again, and nothing is read outside. */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "emu/base/assert.h"
#include "transport/bytes.h"
#include "transport/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines of the payload spread out to page shape, as the encoder wants them. */
static void spread(const struct fl_msg *m, const uint8_t *payload, uint8_t (*pages)[FL_PAGE_BYTES],
                   const uint8_t **lines)
{
    for (unsigned i = 0; i < m->entry_count; i++) {
        lines[i] = pages[i];
        for (fl_mask left = m->entries[i].mask; left != 0; left &= left - 1) {
            memcpy(pages[i] + fl_mask_first(left) * FL_LINE_BYTES, payload, FL_LINE_BYTES);
            payload += FL_LINE_BYTES;
        }
    }
}

static void try_one(const uint8_t *data, size_t size)
{
    static uint8_t pages[FL_MSG_ENTRIES_MAX][FL_PAGE_BYTES];
    static uint8_t again[80 * 1024];
    const uint8_t *lines[FL_MSG_ENTRIES_MAX];
    const uint8_t *payload;
    struct fl_msg m;
    size_t bytes, len;

    if (tp_wire_decode(data, size, &m, &payload, &bytes) != FL_OK)
        return;
    FL_ASSERT(payload + bytes == data + size);
    spread(&m, payload, pages, lines);
    FL_ASSERT(tp_wire_encode(&m, lines, again, sizeof(again), &len) == FL_OK);
    FL_ASSERT(len == size && memcmp(again, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_one(data, size);
    if (size < 12)
        return 0;
    /* Again with a right checksum, or the fuzzer never gets past it. */
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    tp_put32(copy + 8, (uint32_t)crc32(0, copy + 12, (uInt)(size - 12)));
    try_one(copy, size);
    free(copy);
    return 0;
}
