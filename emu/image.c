/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/image.h"

#include <xxhash.h>

uint64_t emu_image_page(const uint8_t page[FL_PAGE_BYTES])
{
    return XXH64(page, FL_PAGE_BYTES, 0);
}

static void put_le64(uint8_t *dst, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        dst[i] = (uint8_t)(v >> (8 * i));
}

void emu_image_add(struct emu_image *i, uint64_t page_digest)
{
    uint8_t b[16];
    put_le64(b, i->digest);
    put_le64(b + 8, page_digest);
    i->digest = XXH64(b, sizeof(b), 0);
    i->pages++;
}

void emu_image_add_lost(struct emu_image *i, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        emu_image_add(i, 0); /* no page's XXH64 in practice: the lost page stays visible */
}
