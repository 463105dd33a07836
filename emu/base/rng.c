/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/rng.h"

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void fl_rng_init(struct fl_rng *r, uint64_t seed, uint32_t node_id, enum fl_stream stream,
                 uint32_t sub)
{
    uint64_t x = seed;

    /* Each part of the key is mixed in on its own, so that (1, 2) and (2, 1) are far apart. */
    x = splitmix(&x) ^ node_id;
    x = splitmix(&x) ^ (uint64_t)stream;
    x = splitmix(&x) ^ sub;
    for (int i = 0; i < 4; i++) {
        r->s[i] = splitmix(&x);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* Source: xoshiro256** 1.0, Blackman and Vigna, public domain; written anew from its definition. */
uint64_t fl_rng_next(struct fl_rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t fl_rng_below(struct fl_rng *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* largest multiple of n that fits */
    uint64_t x;

    do {
        x = fl_rng_next(r);
    } while (x >= limit);
    return x % n;
}
