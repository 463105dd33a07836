/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Digest of what the memory nodes hold: XXH64 of every page, chained in the order of the plan
 * (regions, their chunks, their pages). Worlds that have the bytes and worlds that only get the
 * digests of pages from another process come to the same number.
 */
#ifndef EMU_IMAGE_H
#define EMU_IMAGE_H

#include <stdint.h>

#include "emu/base/units.h"

/** Plain data; starts as zeros. */
struct emu_image {
    uint64_t digest;
    uint64_t pages;
};

uint64_t emu_image_page(const uint8_t page[FL_PAGE_BYTES]);

/** Appends the next page by its digest. */
void emu_image_add(struct emu_image *i, uint64_t page_digest);

/** Appends @count pages whose node is gone. */
void emu_image_add_lost(struct emu_image *i, uint32_t count);

#endif
