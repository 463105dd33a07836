/* SPDX-License-Identifier: Apache-2.0 */
/** Little-endian numbers in byte strings, the same on every machine and at every alignment. */
#ifndef TP_BYTES_H
#define TP_BYTES_H

#include <stdint.h>

static inline void tp_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void tp_put32(uint8_t *p, uint32_t v)
{
    tp_put16(p, (uint16_t)v);
    tp_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void tp_put64(uint8_t *p, uint64_t v)
{
    tp_put32(p, (uint32_t)v);
    tp_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t tp_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t tp_get32(const uint8_t *p)
{
    return tp_get16(p) | (uint32_t)tp_get16(p + 2) << 16;
}

static inline uint64_t tp_get64(const uint8_t *p)
{
    return tp_get32(p) | (uint64_t)tp_get32(p + 4) << 32;
}

#endif
