/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/notes.h"

static bool readable(const struct coh_notes *n)
{
    struct pollfd p = {.fd = n->wake_fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void come_in_order(void **state)
{
    (void)state;
    struct coh_notes n;
    assert_int_equal(coh_notes_init(&n, 8, NULL), FL_OK);
    assert_int_equal(coh_notes_grab(&n), 0);
    const uint32_t order[] = {3, 1, 8, 2};
    for (int i = 0; i < 4; i++)
        coh_notes_push(&n, order[i], true);
    uint32_t p = coh_notes_grab(&n);
    for (int i = 0; i < 4; i++, p = n.places[p].next)
        assert_int_equal(p, order[i]);
    assert_int_equal(p, 0);
    assert_int_equal(coh_notes_grab(&n), 0);
    coh_notes_done(&n);
    coh_notes_done(&n);
}

static void wake_only_a_device_that_sleeps(void **state)
{
    (void)state;
    struct coh_notes n;
    assert_int_equal(coh_notes_init(&n, 8, NULL), FL_OK);
    coh_notes_push(&n, 1, true);
    assert_false(readable(&n)); /* awake: it will look by itself */
    assert_false(coh_notes_sleep(&n));
    assert_int_equal(coh_notes_grab(&n), 1);
    assert_true(coh_notes_sleep(&n));
    coh_notes_push(&n, 2, false);
    assert_true(readable(&n));
    assert_int_equal(coh_notes_grab(&n), 2);
    assert_true(coh_notes_sleep(&n)); /* takes the wake-up with it */
    assert_false(readable(&n));
    coh_notes_done(&n);
}

static void armed_device_is_woken_by_urgent_notes_only(void **state)
{
    (void)state;
    struct coh_notes n;
    assert_int_equal(coh_notes_init(&n, 8, NULL), FL_OK);
    coh_notes_arm(&n, true);
    assert_true(coh_notes_sleep(&n));
    coh_notes_push(&n, 1, false);
    assert_false(readable(&n));
    coh_notes_push(&n, 2, true);
    assert_true(readable(&n));
    assert_int_equal(coh_notes_grab(&n), 1);
    coh_notes_done(&n);
}

/* A note that was left lying while armed is not forgotten when the device disarms and sleeps. */
static void disarming_wakes_for_what_lies_there(void **state)
{
    (void)state;
    struct coh_notes n;
    assert_int_equal(coh_notes_init(&n, 8, NULL), FL_OK);
    coh_notes_arm(&n, true);
    assert_true(coh_notes_sleep(&n));
    coh_notes_push(&n, 1, false);
    assert_false(readable(&n));
    coh_notes_arm(&n, false);
    assert_true(readable(&n));
    coh_notes_done(&n);
}

/* --- many threads ---------------------------------------------------------------------------- */

enum { THREADS = 3, EACH = 20000 };

struct producer {
    struct coh_notes *n;
    _Atomic uint32_t *in_use;
    uint32_t id;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    uint32_t place = p->id + 1;
    for (uint32_t i = 0; i < EACH; i++) {
        while (atomic_load(&p->in_use[place])) /* a place is pushed again only once grabbed */
            sched_yield();
        atomic_store(&p->in_use[place], 1);
        p->n->places[place].page = i;
        p->n->places[place].ticket = p->id;
        coh_notes_push(p->n, place, true);
    }
    return NULL;
}

static void no_note_is_lost_between_threads(void **state)
{
    (void)state;
    struct coh_notes n;
    _Atomic uint32_t in_use[THREADS + 1] = {0};
    uint32_t next[THREADS] = {0}, total = 0;
    struct producer p[THREADS];
    pthread_t th[THREADS];
    assert_int_equal(coh_notes_init(&n, THREADS, NULL), FL_OK);
    for (uint32_t i = 0; i < THREADS; i++) {
        p[i] = (struct producer){.n = &n, .in_use = in_use, .id = i};
        assert_int_equal(pthread_create(&th[i], NULL, produce, &p[i]), 0);
    }
    while (total < THREADS * EACH) {
        uint32_t at = coh_notes_grab(&n);
        if (!at && coh_notes_sleep(&n)) {
            struct pollfd fd = {.fd = n.wake_fd, .events = POLLIN};
            assert_int_equal(poll(&fd, 1, 10000), 1); /* a lost wake-up would end here */
        }
        while (at) {
            uint32_t then = n.places[at].next;
            assert_int_equal(n.places[at].page, next[n.places[at].ticket]++);
            atomic_store(&in_use[at], 0);
            at = then;
            total++;
        }
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    coh_notes_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(come_in_order),
        cmocka_unit_test(wake_only_a_device_that_sleeps),
        cmocka_unit_test(armed_device_is_woken_by_urgent_notes_only),
        cmocka_unit_test(disarming_wakes_for_what_lies_there),
        cmocka_unit_test(no_note_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
