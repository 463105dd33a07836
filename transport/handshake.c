/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/handshake.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "emu/base/assert.h"
#include "transport/bytes.h"

enum { HELLO_MAGIC = 0xf1, REFUSAL_MAGIC = 0xf15e };

static void hello_mac(const uint8_t *hello, const uint8_t *key, const uint8_t *request_mac,
                      uint8_t ret[TP_MAC_BYTES])
{
    uint8_t text[TP_HELLO_MAC_AT + TP_MAC_BYTES] = {0}, md[EVP_MAX_MD_SIZE];
    unsigned md_len = 0;

    memcpy(text, hello, TP_HELLO_MAC_AT);
    if (request_mac != NULL)
        memcpy(text + TP_HELLO_MAC_AT, request_mac, TP_MAC_BYTES);
    const void *ok = HMAC(EVP_sha256(), key, TP_KEY_BYTES, text, sizeof(text), md, &md_len);
    FL_ASSERT(ok != NULL && md_len >= TP_MAC_BYTES);
    memcpy(ret, md, TP_MAC_BYTES);
}

void tp_hello_encode(const struct tp_hello *h, const uint8_t key[TP_KEY_BYTES],
                     const uint8_t *request_mac, uint8_t dst[TP_HELLO_BYTES])
{
    FL_ASSERT(h->credits >= 1 && h->credits <= 256);
    dst[0] = HELLO_MAGIC;
    dst[1] = (uint8_t)(h->kind << 4 | h->cls);
    tp_put16(dst + 2, h->version);
    tp_put16(dst + 4, h->from);
    tp_put16(dst + 6, h->to);
    tp_put32(dst + 8, h->generation);
    tp_put64(dst + 12, h->incarnation);
    tp_put64(dst + 20, h->rma_key);
    tp_put64(dst + 28, h->rma_base);
    tp_put32(dst + 36, h->pages);
    dst[40] = (uint8_t)(h->credits - 1);
    hello_mac(dst, key, request_mac, dst + TP_HELLO_MAC_AT);
}

int tp_hello_decode(const uint8_t *src, size_t len, uint16_t version,
                    const uint8_t key[TP_KEY_BYTES], const uint8_t *request_mac,
                    struct tp_hello *ret)
{
    uint8_t mac[TP_MAC_BYTES];

    if (len < 4 || src[0] != HELLO_MAGIC)
        return FL_EPROTO;
    if (tp_get16(src + 2) != version)
        return FL_EVERSION;
    if (len < TP_HELLO_BYTES)
        return FL_EPROTO;
    hello_mac(src, key, request_mac, mac);
    if (CRYPTO_memcmp(mac, src + TP_HELLO_MAC_AT, TP_MAC_BYTES) != 0)
        return FL_EAUTH;
    uint8_t kind = src[1] >> 4, cls = src[1] & 15;
    if (kind != (request_mac == NULL ? TP_HELLO_REQUEST : TP_HELLO_ANSWER) || cls >= FL_CLASSES)
        return FL_EPROTO;
    *ret = (struct tp_hello){.kind = kind,
                             .cls = cls,
                             .version = version,
                             .from = tp_get16(src + 4),
                             .to = tp_get16(src + 6),
                             .generation = tp_get32(src + 8),
                             .incarnation = tp_get64(src + 12),
                             .rma_key = tp_get64(src + 20),
                             .rma_base = tp_get64(src + 28),
                             .pages = tp_get32(src + 36),
                             .credits = (uint16_t)(src[40] + 1)};
    return FL_OK;
}

void tp_refusal_encode(uint16_t version, int status, uint8_t dst[TP_REFUSAL_BYTES])
{
    tp_put16(dst, REFUSAL_MAGIC);
    tp_put16(dst + 2, version);
    tp_put32(dst + 4, (uint32_t)status);
}

int tp_refusal_decode(const uint8_t *src, size_t len)
{
    if (src == NULL || len < TP_REFUSAL_BYTES || tp_get16(src) != REFUSAL_MAGIC)
        return FL_ECONN;
    int status = (int)tp_get32(src + 4);
    bool known =
        status == FL_EVERSION || status == FL_EAUTH || status == FL_EPROTO || status == FL_EFENCED;
    return known ? status : FL_ECONN;
}
