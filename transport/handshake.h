/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The handshake that travels as private data of the connection set-up: who connects, which
 * generation, where its memory is, proved by the run's key. 55 bytes, which is all that verbs
 * offers. Layout, little-endian:
 *
 *    0 u8  magic     2 u16 version   8 u32 generation    20 u64 rma key   36 u32 pages exposed
 *    1 u8  kind<<4   4 u16 from     12 u64 incarnation   28 u64 rma base  40 u8  credits - 1
 *          | class   6 u16 to                                             41 u8[14] mac
 *
 * The mac is HMAC-SHA256 over bytes 0..40, truncated; that of an answer also covers the mac of the
 * request, so that an answer cannot be replayed to another request.
 */
#ifndef TP_HANDSHAKE_H
#define TP_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "transport/fabric.h"

enum { TP_HELLO_BYTES = 55, TP_HELLO_MAC_AT = 41, TP_MAC_BYTES = 14, TP_REFUSAL_BYTES = 8 };

enum tp_hello_kind { TP_HELLO_REQUEST = 1, TP_HELLO_ANSWER = 2 };

struct tp_hello {
    uint8_t kind; /* enum tp_hello_kind */
    uint8_t cls;  /* enum fl_class */
    uint16_t version;
    uint16_t from, to;    /* nodes */
    uint32_t generation;  /* a higher one revokes the older */
    uint64_t incarnation; /* of @from */
    uint64_t rma_key, rma_base;
    uint32_t pages;   /* exposed; 0: nothing */
    uint16_t credits; /* 1..256 */
};

/** @request_mac: of the request an answer belongs to, NULL for a request. */
void tp_hello_encode(const struct tp_hello *h, const uint8_t key[TP_KEY_BYTES],
                     const uint8_t *request_mac, uint8_t dst[TP_HELLO_BYTES]);

/** @version: the one spoken here. Bytes behind the first 55 are ignored (verbs pads).
 * Errors: FL_EPROTO, FL_EVERSION, FL_EAUTH; @ret is then unchanged. */
int tp_hello_decode(const uint8_t *src, size_t len, uint16_t version,
                    const uint8_t key[TP_KEY_BYTES], const uint8_t *request_mac,
                    struct tp_hello *ret);

/** Why a request is refused: the version spoken here and an enum fl_error. Not authenticated: the
 * other side may hold another key. */
void tp_refusal_encode(uint16_t version, int status, uint8_t dst[TP_REFUSAL_BYTES]);

/** Status of a refusal: FL_EVERSION, FL_EAUTH, FL_EPROTO, FL_EFENCED or FL_ECONN for anything
 * else, also for bytes that are no refusal. */
int tp_refusal_decode(const uint8_t *src, size_t len);

#endif
