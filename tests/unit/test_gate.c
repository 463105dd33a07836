/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/gate.h"

enum {
    N = FL_PROT_NONE,
    R = FL_PROT_READ,
    W = FL_PROT_RW,
    B = COH_GATE_F_BUSY,
    A = COH_GATE_F_WANTED,
    C = COH_GATE_F_CHANGING,
    H = COH_GATE_F_HELD,
    TO_R = FL_PROT_READ << COH_GATE_TARGET_SHIFT,
    TO_W = FL_PROT_RW << COH_GATE_TARGET_SHIFT,
    E1 = 1 << COH_GATE_EPOCH_SHIFT,
};

struct row {
    uint32_t word;
    enum coh_gate_op op;
    enum coh_gate_out out;
    uint32_t next;
};

/* The header's table, row by row. */
static const struct row table[] = {
    {N, COH_OP_LOAD, COH_GATE_SHUT, N},
    {R, COH_OP_LOAD, COH_GATE_OPEN, R},
    {W, COH_OP_LOAD, COH_GATE_OPEN, W},
    {R | B, COH_OP_LOAD, COH_GATE_OPEN, R | B},
    {R | H, COH_OP_LOAD, COH_GATE_OPEN, R | H},
    {N | C | TO_R, COH_OP_LOAD, COH_GATE_CHANGING, N | C | TO_R},
    {W | C, COH_OP_LOAD, COH_GATE_CHANGING, W | C},

    {R, COH_OP_TAKE, COH_GATE_OK, R | B},
    {R | E1, COH_OP_TAKE, COH_GATE_OK, R | B | E1},
    {N, COH_OP_TAKE, COH_GATE_SHUT, N},
    {W, COH_OP_TAKE, COH_GATE_OPEN, W},
    {R | B, COH_OP_TAKE, COH_GATE_BUSY, R | B},
    {R | B | A, COH_OP_TAKE, COH_GATE_BUSY, R | B | A},
    {R | H, COH_OP_TAKE, COH_GATE_HELD, R | H},
    {R | C | TO_W, COH_OP_TAKE, COH_GATE_CHANGING, R | C | TO_W},

    {R | B, COH_OP_OPEN, COH_GATE_OK, W},
    {R | B | A, COH_OP_OPEN, COH_GATE_WANTED, W},
    {R | B | A | E1, COH_OP_OPEN, COH_GATE_WANTED, W | E1},
    {R, COH_OP_OPEN, COH_GATE_ILLEGAL, R},
    {W, COH_OP_OPEN, COH_GATE_ILLEGAL, W},

    {R | B, COH_OP_BACK_OUT, COH_GATE_OK, R},
    {R | B | A, COH_OP_BACK_OUT, COH_GATE_WANTED, R},
    {R, COH_OP_BACK_OUT, COH_GATE_ILLEGAL, R},

    {N, COH_OP_TO_NONE, COH_GATE_OK, N | C},
    {N, COH_OP_TO_READ, COH_GATE_OK, N | C | TO_R},
    {R, COH_OP_TO_RW, COH_GATE_OK, R | C | TO_W},
    {W, COH_OP_TO_READ, COH_GATE_OK, W | C | TO_R},
    {R | H, COH_OP_TO_NONE, COH_GATE_OK, R | H | C},
    {R | B, COH_OP_TO_READ, COH_GATE_BUSY, R | B | A},
    {R | B | A, COH_OP_TO_NONE, COH_GATE_BUSY, R | B | A},
    {W | C, COH_OP_TO_READ, COH_GATE_ILLEGAL, W | C},

    {N | C | TO_R, COH_OP_END, COH_GATE_OK, R | E1},
    {N | C | TO_W, COH_OP_END, COH_GATE_OK, W | E1},
    {W | C | TO_R, COH_OP_END, COH_GATE_OK, R | H | E1},
    {R | C | TO_R, COH_OP_END, COH_GATE_OK, R | H | E1},
    {W | C, COH_OP_END, COH_GATE_OK, N | E1},
    {R | H | C, COH_OP_END, COH_GATE_OK, N | E1},
    {R | H | C | TO_W, COH_OP_END, COH_GATE_OK, W | E1},
    {R, COH_OP_END, COH_GATE_ILLEGAL, R},

    {W | C | TO_R, COH_OP_CANCEL, COH_GATE_OK, W},
    {R | H | C | TO_W, COH_OP_CANCEL, COH_GATE_OK, R | H},
    {R | B, COH_OP_CANCEL, COH_GATE_ILLEGAL, R | B},

    {R | H, COH_OP_RELEASE, COH_GATE_OK, R},
    {R | B, COH_OP_RELEASE, COH_GATE_OK, R | B},
    {N, COH_OP_RELEASE, COH_GATE_OK, N},
};

static void follows_its_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct coh_gate_res r = coh_gate_step(table[i].word, table[i].op);
        if (r.word != table[i].next || r.out != table[i].out)
            fail_msg("row %zu: word %#x out %d", i, r.word, (int)r.out);
    }
}

static void refuses_an_operation_that_is_none(void **state)
{
    (void)state;
    struct coh_gate_res r = coh_gate_step(R, COH_OP_COUNT);
    assert_int_equal(r.out, COH_GATE_ILLEGAL);
    assert_int_equal(r.word, R);
}

static void epoch_wraps(void **state)
{
    (void)state;
    uint32_t last = UINT32_C(0xffffff) << COH_GATE_EPOCH_SHIFT;
    struct coh_gate_res r = coh_gate_step(last | N | C | TO_R, COH_OP_END);
    assert_int_equal(coh_gate_epoch(r.word), 0);
    assert_int_equal(coh_gate_prot(r.word), FL_PROT_READ);
}

/* Every state that legal steps reach, epochs aside, keeps the header's promises. */
static void reachable_states_are_sound(void **state)
{
    (void)state;
    bool seen[256] = {false};
    uint32_t todo[256], len = 0, states = 0;
    todo[len++] = 0;
    seen[0] = true;
    while (len) {
        uint32_t w = todo[--len];
        states++;
        assert_false((w & B) && (w & C));
        assert_false((w & A) && !(w & B));
        assert_false((w & B) && coh_gate_prot(w) != FL_PROT_READ);
        assert_false((w & H) && coh_gate_prot(w) != FL_PROT_READ);
        assert_false((w & H) && (w & B));
        assert_false(!(w & C) && coh_gate_target(w) != FL_PROT_NONE);
        for (int op = 0; op < COH_OP_COUNT; op++) {
            struct coh_gate_res r = coh_gate_step(w, (enum coh_gate_op)op);
            uint32_t next = r.word & 0xff;
            if (r.out == COH_GATE_ILLEGAL)
                assert_int_equal(next, w);
            else if (!seen[next]) {
                seen[next] = true;
                todo[len++] = next;
            }
        }
    }
    /* NONE, READ, RW; READ held, busy, busy wanted; four of these changing to three targets. */
    assert_int_equal(states, 6 + 4 * 3);
}

/* --- many threads on one word ---------------------------------------------------------------- */

enum { HAMMER_THREADS = 3, HAMMER_OPENS = 60000 };

struct shared {
    _Atomic uint32_t gate;
    _Atomic int inside; /* threads that think they hold busy */
    _Atomic int changing;
    _Atomic uint64_t opened, wanted;
    _Atomic bool stop;
};

static void *opener(void *arg)
{
    struct shared *s = arg;
    for (int done = 0; done < HAMMER_OPENS && !atomic_load(&s->stop);) {
        if (coh_gate_do(&s->gate, COH_OP_TAKE) != COH_GATE_OK) {
            sched_yield();
            continue;
        }
        if (atomic_fetch_add(&s->inside, 1) != 0 || atomic_load(&s->changing))
            abort();
        atomic_fetch_sub(&s->inside, 1);
        bool back = done % 8 == 7;
        if (!back)
            atomic_fetch_add(&s->opened, 1);
        if (coh_gate_do(&s->gate, back ? COH_OP_BACK_OUT : COH_OP_OPEN) == COH_GATE_WANTED)
            atomic_fetch_add(&s->wanted, 1);
        done++;
    }
    return NULL;
}

static void threads_and_device_exclude_each_other(void **state)
{
    (void)state;
    struct shared s = {.gate = R};
    pthread_t th[HAMMER_THREADS];
    for (int i = 0; i < HAMMER_THREADS; i++)
        assert_int_equal(pthread_create(&th[i], NULL, opener, &s), 0);
    uint64_t closed = 0, ended = 0;
    while (closed < 20000) {
        if (coh_gate_do(&s.gate, COH_OP_TO_READ) == COH_GATE_BUSY) {
            sched_yield();
            continue;
        }
        atomic_store(&s.changing, 1);
        assert_int_equal(atomic_load(&s.inside), 0);
        closed += coh_gate_prot(atomic_load(&s.gate)) == FL_PROT_RW;
        atomic_store(&s.changing, 0);
        coh_gate_do(&s.gate, COH_OP_END);
        ended++;
        coh_gate_do(&s.gate, COH_OP_RELEASE);
        sched_yield();
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < HAMMER_THREADS; i++)
        pthread_join(th[i], NULL);
    /* Each opening is closed once; at most the last one still stands. */
    closed += coh_gate_prot(s.gate) == FL_PROT_RW;
    assert_int_equal(closed, atomic_load(&s.opened));
    assert_int_equal(coh_gate_epoch(s.gate), ended & 0xffffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_its_table),
        cmocka_unit_test(refuses_an_operation_that_is_none),
        cmocka_unit_test(epoch_wraps),
        cmocka_unit_test(reachable_states_are_sound),
        cmocka_unit_test(threads_and_device_exclude_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
