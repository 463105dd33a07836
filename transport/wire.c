/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout, all little-endian:
 *
 *    0 u32 magic            12 u8  type           24 u16 chunk     40 u64 epoch
 *    4 u16 version          13 u8  flags          26 u16 region    48 u64 seq
 *    6 u16 header bytes     14 u16 entry count    28 u32 page      56 u64 a
 *    8 u32 crc of 12..end   16 u32 payload bytes  32 u32 count     64 u64 b
 *                           20 i32 status         36 u32 zero      72 entries
 *
 * An entry: u16 chunk, u16 region, u32 page, u64 mask, u64 seq, u32 whole (0 or 1), u32 zero.
 * Behind the entries the lines of every entry's mask, packed in order. The version comes before
 * anything that may ever change, so that a peer of another version is told apart from garbage.
 */
#include "transport/wire.h"

#include <string.h>
#include <zlib.h>

#include "emu/base/assert.h"
#include "transport/bytes.h"

enum {
    WIRE_HEADER_BYTES = 72,
    WIRE_ENTRY_BYTES = 32,
    WIRE_CRC_AT = 8,
    WIRE_BODY_AT = 12, /* first byte under the checksum */
};

#define WIRE_MAGIC UINT32_C(0x31574c46) /* "FLW1" in memory */

size_t tp_wire_max(void)
{
    return WIRE_HEADER_BYTES + (size_t)WIRE_ENTRY_BYTES * FL_MSG_ENTRIES_MAX + FL_MSG_PAYLOAD_MAX;
}

static size_t payload_bytes(const struct fl_msg *m)
{
    size_t lines = 0;

    for (unsigned i = 0; i < m->entry_count; i++)
        lines += fl_mask_count(m->entries[i].mask);
    return lines * FL_LINE_BYTES;
}

size_t tp_wire_size(const struct fl_msg *m)
{
    FL_ASSERT(m->entry_count <= FL_MSG_ENTRIES_MAX);
    return WIRE_HEADER_BYTES + (size_t)WIRE_ENTRY_BYTES * m->entry_count + payload_bytes(m);
}

static uint32_t body_crc(const uint8_t *p, size_t len)
{
    return (uint32_t)crc32(0, p + WIRE_BODY_AT, (uInt)(len - WIRE_BODY_AT));
}

static void put_header(uint8_t *p, const struct fl_msg *m, size_t payload)
{
    tp_put32(p, WIRE_MAGIC);
    tp_put16(p + 4, TP_WIRE_VERSION);
    tp_put16(p + 6, WIRE_HEADER_BYTES);
    p[12] = m->type;
    p[13] = m->flags;
    tp_put16(p + 14, m->entry_count);
    tp_put32(p + 16, (uint32_t)payload);
    tp_put32(p + 20, (uint32_t)m->status);
    tp_put16(p + 24, m->chunk);
    tp_put16(p + 26, m->region);
    tp_put32(p + 28, m->page);
    tp_put32(p + 32, m->count);
    tp_put32(p + 36, 0);
    tp_put64(p + 40, m->epoch);
    tp_put64(p + 48, m->seq);
    tp_put64(p + 56, m->a);
    tp_put64(p + 64, m->b);
}

static void put_entry(uint8_t *p, const struct fl_msg_entry *e)
{
    tp_put16(p, e->chunk);
    tp_put16(p + 2, e->region);
    tp_put32(p + 4, e->page);
    tp_put64(p + 8, e->mask);
    tp_put64(p + 16, e->seq);
    tp_put32(p + 24, e->whole != 0);
    tp_put32(p + 28, 0);
}

/** Copies the lines of @mask from page-shaped @page to @dst, run by run. Returns the end. */
static uint8_t *put_lines(uint8_t *dst, fl_mask mask, const uint8_t *page)
{
    while (mask != 0) {
        unsigned first = fl_mask_first(mask);
        fl_mask ones = ~(mask >> first);
        unsigned count = ones == 0 ? FL_PAGE_LINES : fl_mask_first(ones);

        memcpy(dst, page + (size_t)first * FL_LINE_BYTES, (size_t)count * FL_LINE_BYTES);
        dst += (size_t)count * FL_LINE_BYTES;
        mask &= ~fl_mask_run(first, count);
    }
    return dst;
}

int tp_wire_encode(const struct fl_msg *m, const uint8_t *const *lines, uint8_t *dst, size_t cap,
                   size_t *ret_len)
{
    if (fl_msg_class(m->type) < 0)
        return FL_EINVAL;
    if (m->entry_count > FL_MSG_ENTRIES_MAX)
        return FL_ETOOBIG;
    size_t payload = payload_bytes(m);
    size_t len = tp_wire_size(m);
    if (payload > FL_MSG_PAYLOAD_MAX || len > cap)
        return FL_ETOOBIG;
    for (unsigned i = 0; i < m->entry_count; i++)
        if (m->entries[i].mask != 0 && (lines == NULL || lines[i] == NULL))
            return FL_EINVAL;

    put_header(dst, m, payload);
    uint8_t *at = dst + WIRE_HEADER_BYTES;
    uint8_t *line_at = at + (size_t)WIRE_ENTRY_BYTES * m->entry_count;
    for (unsigned i = 0; i < m->entry_count; i++, at += WIRE_ENTRY_BYTES) {
        put_entry(at, &m->entries[i]);
        if (m->entries[i].mask != 0)
            line_at = put_lines(line_at, m->entries[i].mask, lines[i]);
    }
    tp_put32(dst + WIRE_CRC_AT, body_crc(dst, len));
    *ret_len = len;
    return FL_OK;
}

/** Lengths, checksum and every bound, before anything is handed out. */
static int check(const uint8_t *p, size_t len)
{
    /* Magic and version first: they must be readable in a header of any length. */
    if (len < 6 || tp_get32(p) != WIRE_MAGIC)
        return FL_EPROTO;
    if (tp_get16(p + 4) != TP_WIRE_VERSION)
        return FL_EVERSION;
    if (len < WIRE_HEADER_BYTES || tp_get16(p + 6) != WIRE_HEADER_BYTES || len > tp_wire_max())
        return FL_EPROTO;
    if (tp_get32(p + WIRE_CRC_AT) != body_crc(p, len))
        return FL_ECORRUPT;

    size_t entries = tp_get16(p + 14), payload = tp_get32(p + 16), lines = 0;
    if (fl_msg_class(p[12]) < 0 || entries > FL_MSG_ENTRIES_MAX || payload > FL_MSG_PAYLOAD_MAX ||
        tp_get32(p + 36) != 0 || len != WIRE_HEADER_BYTES + entries * WIRE_ENTRY_BYTES + payload)
        return FL_EPROTO;
    for (size_t i = 0; i < entries; i++) {
        const uint8_t *e = p + WIRE_HEADER_BYTES + i * WIRE_ENTRY_BYTES;

        if (tp_get32(e + 24) > 1 || tp_get32(e + 28) != 0)
            return FL_EPROTO;
        lines += fl_mask_count(tp_get64(e + 8));
    }
    return lines * FL_LINE_BYTES == payload ? FL_OK : FL_EPROTO;
}

static void get_entry(const uint8_t *p, struct fl_msg_entry *e)
{
    e->chunk = tp_get16(p);
    e->region = tp_get16(p + 2);
    e->page = tp_get32(p + 4);
    e->mask = tp_get64(p + 8);
    e->seq = tp_get64(p + 16);
    e->whole = tp_get32(p + 24);
}

int tp_wire_decode(const uint8_t *src, size_t len, struct fl_msg *ret, const uint8_t **ret_payload,
                   size_t *ret_payload_bytes)
{
    int err = check(src, len);
    if (err != FL_OK)
        return err;

    memset(ret, 0, sizeof(*ret));
    ret->type = src[12];
    ret->flags = src[13];
    ret->entry_count = tp_get16(src + 14);
    ret->status = (int32_t)tp_get32(src + 20);
    ret->chunk = tp_get16(src + 24);
    ret->region = tp_get16(src + 26);
    ret->page = tp_get32(src + 28);
    ret->count = tp_get32(src + 32);
    ret->epoch = tp_get64(src + 40);
    ret->seq = tp_get64(src + 48);
    ret->a = tp_get64(src + 56);
    ret->b = tp_get64(src + 64);
    const uint8_t *at = src + WIRE_HEADER_BYTES;
    for (unsigned i = 0; i < ret->entry_count; i++, at += WIRE_ENTRY_BYTES)
        get_entry(at, &ret->entries[i]);
    *ret_payload = at;
    *ret_payload_bytes = tp_get32(src + 16);
    return FL_OK;
}
