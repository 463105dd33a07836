/* SPDX-License-Identifier: Apache-2.0 */
/** Seeded random numbers in split streams: the same on every machine. */
#ifndef FL_RNG_H
#define FL_RNG_H

#include <stdint.h>

/** Every draw belongs to one purpose, so that adding a draw of one kind shifts no other. */
enum fl_stream {
    FL_RNG_WORK,
    FL_RNG_NET,
    FL_RNG_FAULT,
    FL_RNG_SCHED,
    FL_RNG_PERSIST,
    FL_RNG_STREAMS
};

struct fl_rng {
    uint64_t s[4]; /* xoshiro256** state */
};

/** Stream @stream of node @node_id (and of @sub: a thread, a region) under @seed. */
void fl_rng_init(struct fl_rng *r, uint64_t seed, uint32_t node_id, enum fl_stream stream,
                 uint32_t sub);

uint64_t fl_rng_next(struct fl_rng *r);

/** Uniform in 0 .. @n - 1 without modulo bias; @n > 0. */
uint64_t fl_rng_below(struct fl_rng *r, uint64_t n);

/** True with probability @num / @den; @den > 0. */
static inline int fl_rng_chance(struct fl_rng *r, uint64_t num, uint64_t den)
{
    return fl_rng_below(r, den) < num;
}

#endif
