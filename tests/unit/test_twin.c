/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/twin.h"
#include "emu/base/rng.h"
#include "emu/base/units.h"

static void gives_out_each_frame_once(void **state)
{
    (void)state;
    struct coh_twins *t;
    assert_int_equal(coh_twins_new(100, &t, NULL), FL_OK);
    bool seen[101] = {false};
    for (int i = 0; i < 100; i++) {
        uint32_t twin = coh_twins_take(t);
        assert_true(twin >= 1 && twin <= 100 && !seen[twin]);
        seen[twin] = true;
        memset(coh_twins_at(t, twin), (int)twin, FL_PAGE_BYTES);
    }
    assert_int_equal(coh_twins_take(t), COH_TWIN_NONE);
    assert_int_equal(coh_twins_used(t), 100);
    for (uint32_t i = 1; i <= 100; i++) /* no two frames overlap */
        for (size_t at = 0; at < FL_PAGE_BYTES; at += 511)
            assert_int_equal(coh_twins_at(t, i)[at], i);
    coh_twins_give(t, 17);
    assert_int_equal(coh_twins_take(t), 17);
    assert_int_equal(coh_twins_used_max(t), 100);
    assert_int_equal(coh_twins_count(t), 100);
    coh_twins_free(&t);
    assert_null(t);
    coh_twins_free(&t);
}

/* The frame given back last is the one in the cache: it is taken first, before any fresh one. */
static void reuses_warm_frames(void **state)
{
    (void)state;
    struct coh_twins *t;
    assert_int_equal(coh_twins_new(1000, &t, NULL), FL_OK);
    uint32_t a = coh_twins_take(t), b = coh_twins_take(t);
    coh_twins_give(t, a);
    coh_twins_give(t, b);
    assert_int_equal(coh_twins_take(t), b);
    assert_int_equal(coh_twins_take(t), a);
    assert_int_equal(coh_twins_used_max(t), 2);
    coh_twins_free(&t);
}

static void refuses_silly_sizes(void **state)
{
    (void)state;
    struct coh_twins *t = NULL;
    struct fl_errmsg err;
    assert_int_equal(coh_twins_new(0, &t, &err), FL_EINVAL);
    assert_int_equal(coh_twins_new(UINT32_MAX, &t, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "twin"));
    assert_null(t);
}

/* --- many threads ---------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 30000, FRAMES = 10, HOLD = 3 };

struct shared {
    struct coh_twins *t;
    _Atomic uint32_t owner[FRAMES + 1];
};

struct user {
    struct shared *s;
    uint32_t id;
};

static void *use(void *arg)
{
    struct user *u = arg;
    struct fl_rng rng;
    fl_rng_init(&rng, 5, u->id, FL_RNG_WORK, 0);
    uint32_t held[HOLD], n = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (n < HOLD && fl_rng_chance(&rng, 1, 2)) {
            uint32_t twin = coh_twins_take(u->s->t);
            if (twin == COH_TWIN_NONE)
                continue; /* four threads want twelve of ten */
            if (atomic_exchange(&u->s->owner[twin], u->id) != 0)
                abort(); /* two threads hold one frame */
            held[n++] = twin;
        } else if (n) {
            uint32_t twin = held[--n];
            if (atomic_exchange(&u->s->owner[twin], 0) != u->id)
                abort();
            coh_twins_give(u->s->t, twin);
        }
    }
    while (n) {
        atomic_store(&u->s->owner[held[--n]], 0);
        coh_twins_give(u->s->t, held[n]);
    }
    return NULL;
}

static void threads_never_share_a_frame(void **state)
{
    (void)state;
    struct shared s = {0};
    struct user u[THREADS];
    pthread_t th[THREADS];
    assert_int_equal(coh_twins_new(FRAMES, &s.t, NULL), FL_OK);
    for (uint32_t i = 0; i < THREADS; i++) {
        u[i] = (struct user){.s = &s, .id = i + 1};
        assert_int_equal(pthread_create(&th[i], NULL, use, &u[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    assert_int_equal(coh_twins_used(s.t), 0);
    for (int i = 0; i < FRAMES; i++) /* none got lost */
        assert_int_not_equal(coh_twins_take(s.t), COH_TWIN_NONE);
    assert_int_equal(coh_twins_take(s.t), COH_TWIN_NONE);
    coh_twins_free(&s.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_out_each_frame_once),
        cmocka_unit_test(reuses_warm_frames),
        cmocka_unit_test(refuses_silly_sizes),
        cmocka_unit_test(threads_never_share_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
