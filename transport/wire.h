/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Wire form of messages: little-endian, fixed header with magic, version, lengths and a
 * CRC-32 (zlib) over everything behind it. Bytes from a peer are never trusted.
 */
#ifndef TP_WIRE_H
#define TP_WIRE_H

#include "emu/base/env.h"

enum { TP_WIRE_VERSION = 1 };

/** Largest encoded message. */
size_t tp_wire_max(void);

/** Bytes of the encoded message @m (header, entries, packed lines). */
size_t tp_wire_size(const struct fl_msg *m);

/** Encodes; lines of entry i come from page-shaped @lines[i] (unused where its mask is empty).
 * Errors: FL_ETOOBIG (@cap too small, too many entries, payload over the limit), FL_EINVAL. */
int tp_wire_encode(const struct fl_msg *m, const uint8_t *const *lines, uint8_t *dst, size_t cap,
                   size_t *ret_len);

/** Decodes; @ret_payload points into @src. Errors: FL_EPROTO (magic, length, bounds, unknown type),
 * FL_EVERSION, FL_ECORRUPT; the outputs are then unchanged. */
int tp_wire_decode(const uint8_t *src, size_t len, struct fl_msg *ret, const uint8_t **ret_payload,
                   size_t *ret_payload_bytes);

#endif
