/* SPDX-License-Identifier: Apache-2.0 */
/* The mprotect tracker with application threads as coroutines of the device's thread: the same
 * traps, but every wait is a switch, and the clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/farline.h"
#include "coherence/tracker.h"
#include "emu/base/coro.h"
#include "emu/native.h"

enum { PAGES = 64, THREADS = 4, STACK = 512 * 1024 };

struct world;

struct thread {
    struct world *w;
    struct fl_coro *c;
    struct native_ctx *ctx;
    uint32_t ticket;
    volatile uint8_t *p; /* what it touches, @count times a page further */
    unsigned count;
    bool store;
    volatile unsigned done;
    int rc; /* of the guard */
    uintptr_t addr;
    uint64_t deadline_ns;
    bool waiting;
    unsigned ways[COH_WAY_WAIT + 1];
};

/** One node: its tracker, its threads, its clock. */
struct world {
    struct coh_tracker *trk;
    uint8_t *base;
    struct thread threads[THREADS], *inside;
    unsigned wakes; /* of the device */
    uint64_t now_ns;
    bool stop_at_steps; /* threads give way between the steps of a trap */
};

static uint32_t self(void *arg)
{
    const struct world *w = arg;
    return w->inside ? w->inside->ticket : UINT32_MAX;
}

static void yield(void *arg, enum coh_way way, uint64_t deadline_ns)
{
    struct world *w = arg;
    struct thread *t = w->inside;
    t->ways[way]++;
    if (way == COH_WAY_TRAP || (way == COH_WAY_STEP && !w->stop_at_steps))
        return;
    t->waiting = way == COH_WAY_WAIT;
    t->deadline_ns = deadline_ns;
    fl_coro_yield();
}

static void wake(void *arg, uint32_t ticket)
{
    ((struct world *)arg)->threads[ticket].waiting = false;
}

static void wake_device(void *arg)
{
    ((struct world *)arg)->wakes++;
}

static uint64_t now(void *arg)
{
    return ((const struct world *)arg)->now_ns;
}

static struct coh_cfg cfg_of(struct world *w)
{
    return (struct coh_cfg){
        .threads_max = THREADS,
        .cached_pages_max = PAGES,
        .access_deadline_ns = 1000,
        .coro = {.arg = w,
                 .self = self,
                 .yield = yield,
                 .wake = wake,
                 .wake_device = wake_device,
                 .now_ns = now},
    };
}

static void start(struct world *w)
{
    struct coh_cfg c = cfg_of(w);
    struct coh_region_cfg r = {.len_bytes = (uint64_t)PAGES * FL_PAGE_BYTES};
    struct coh_note note;
    struct fl_errmsg err = {{0}};
    void *base;
    *w = (struct world){.now_ns = 5};
    assert_int_equal(native_guard_init(), FL_OK); /* the test library has its own in each test */
    if (coh_mprotect_new(&c, &w->trk, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(w->trk->ops->region_add(w->trk, &r, &base, &err), FL_OK);
    w->base = base;
    assert_false(w->trk->ops->next(w->trk, &note)); /* the device sleeps */
}

static void stop(struct world *w)
{
    for (int i = 0; i < THREADS; i++) {
        fl_coro_free(&w->threads[i].c);
        native_ctx_free(&w->threads[i].ctx);
    }
    w->trk->ops->free(&w->trk);
}

static void touch(void *arg)
{
    struct thread *t = arg;
    for (unsigned i = 0; i < t->count; i++) {
        volatile uint8_t *p = t->p + (size_t)i * FL_PAGE_BYTES;
        if (t->store)
            *p = (uint8_t)(i + 1);
        else
            t->done += *p;
    }
    t->done++;
}

static void body(void *arg)
{
    struct thread *t = arg;
    t->rc = native_guard(touch, t, &t->addr);
}

static struct thread *thread(struct world *w, uint32_t ticket, uint32_t page, unsigned count,
                             bool store)
{
    struct thread *t = &w->threads[ticket];
    *t = (struct thread){.w = w,
                         .ticket = ticket,
                         .p = w->base + (size_t)page * FL_PAGE_BYTES,
                         .count = count,
                         .store = store,
                         .rc = -1};
    t->ctx = native_ctx_new();
    assert_non_null(t->ctx);
    assert_int_equal(fl_coro_new(STACK, body, t, &t->c, NULL), FL_OK);
    return t;
}

static void run(struct thread *t)
{
    struct native_ctx *before = native_ctx_set(t->ctx);
    t->w->inside = t;
    fl_coro_run(t->c);
    t->w->inside = NULL;
    native_ctx_set(before);
}

static struct coh_note note_of(struct world *w)
{
    struct coh_note n;
    assert_true(w->trk->ops->next(w->trk, &n));
    return n;
}

static void no_note(struct world *w)
{
    struct coh_note n;
    assert_false(w->trk->ops->next(w->trk, &n));
}

static void serve(struct world *w, const struct coh_note *n, uint8_t byte, enum fl_prot prot)
{
    uint8_t page[FL_PAGE_BYTES];
    memset(page, byte, sizeof(page));
    w->trk->ops->install(w->trk, n->region, n->page, FL_MASK_ALL, page);
    assert_int_equal(w->trk->ops->gate(w->trk, n->region, n->page, 1, prot), FL_OK);
    w->trk->ops->resume(w->trk, n->ticket, FL_OK);
}

/* --- cases -------------------------------------------------------------------------------------- */

static void misses_wait_side_by_side(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct thread *a = thread(&w, 0, 3, 2, false), *b = thread(&w, 1, 9, 1, false);
    run(a);
    assert_int_equal(w.wakes, 1);
    run(b);
    struct coh_note na = note_of(&w), nb = note_of(&w);
    no_note(&w);
    assert_int_equal(na.kind, COH_NOTE_MISS);
    assert_int_equal(na.ticket, 0);
    assert_int_equal(na.page, 3);
    assert_int_equal(nb.ticket, 1);
    assert_int_equal(nb.page, 9);
    serve(&w, &nb, 20, FL_PROT_READ); /* in any order */
    assert_false(b->waiting);
    assert_true(a->waiting);
    run(b);
    assert_true(fl_coro_over(b->c));
    assert_int_equal(b->done, 21);
    serve(&w, &na, 7, FL_PROT_READ);
    run(a);
    struct coh_note next = note_of(&w);
    assert_int_equal(next.page, 4);
    serve(&w, &next, 1, FL_PROT_READ);
    run(a);
    assert_true(fl_coro_over(a->c));
    assert_int_equal(a->done, 7 + 1 + 1);
    assert_int_equal(a->rc, FL_OK);
    struct coh_stats s;
    w.trk->ops->stats(w.trk, &s);
    assert_int_equal(s.misses, 3);
    stop(&w);
}

static void a_wait_that_is_woken_in_vain_goes_on(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct thread *a = thread(&w, 2, 0, 1, false);
    run(a);
    assert_int_equal(a->deadline_ns, 5 + 1000);
    w.now_ns = 1004;
    run(a); /* no answer, and not time yet */
    assert_true(a->waiting);
    assert_int_equal(a->ways[COH_WAY_WAIT], 2);
    struct coh_note n = note_of(&w);
    no_note(&w); /* asked once */
    serve(&w, &n, 4, FL_PROT_READ);
    run(a);
    assert_int_equal(a->done, 5);
    stop(&w);
}

static void a_deadline_in_the_tests_own_time_fails_the_access(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct thread *a = thread(&w, 0, 5, 1, true);
    run(a);
    w.now_ns = 1005;
    run(a);
    assert_true(fl_coro_over(a->c));
    assert_int_equal(a->rc, FL_EPOISONED);
    assert_true(a->addr == (uintptr_t)w.base + 5 * FL_PAGE_BYTES);
    assert_int_equal(a->done, 0);
    assert_int_equal(coh_region_error(w.trk, 0), FL_ETIMEDOUT);
    assert_int_equal(farline_region_error(w.base), FL_ETIMEDOUT);
    stop(&w);
}

static void an_error_of_the_device_fails_only_the_one_that_asked(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct thread *a = thread(&w, 0, 5, 1, false), *b = thread(&w, 1, 6, 1, false);
    run(a);
    run(b);
    struct coh_note na = note_of(&w), nb = note_of(&w);
    w.trk->ops->resume(w.trk, na.ticket, FL_EPEERDEAD);
    run(a);
    assert_int_equal(a->rc, FL_EPOISONED);
    serve(&w, &nb, 1, FL_PROT_READ);
    run(b);
    assert_int_equal(b->rc, FL_OK);
    assert_int_equal(b->done, 2);
    assert_int_equal(coh_region_error(w.trk, 0), FL_EPEERDEAD);
    stop(&w);
}

/** A thread stands between the steps of its trap while the device goes on. */
static void the_device_meets_a_busy_gate(void **state)
{
    (void)state;
    struct world w;
    uint8_t bytes[FL_PAGE_BYTES];
    start(&w);
    struct coh_note load = {.page = 8};
    serve(&w, &load, 9, FL_PROT_READ);
    w.stop_at_steps = true;
    struct thread *a = thread(&w, 3, 8, 1, true);
    run(a); /* busy is taken */
    assert_int_equal(w.trk->ops->gate(w.trk, 0, 8, 1, FL_PROT_READ), FL_EAGAIN);
    no_note(&w);
    unsigned turns = 0;
    for (; !fl_coro_over(a->c); turns++)
        run(a);
    assert_int_equal(turns, 3); /* twin and opening, note, end of the gate */
    assert_int_equal(a->ways[COH_WAY_WAIT], 0);
    assert_true(w.wakes > 0);
    struct coh_note dirty = note_of(&w), release = note_of(&w);
    assert_int_equal(dirty.kind, COH_NOTE_DIRTY);
    assert_int_equal(dirty.page, 8);
    assert_int_equal(release.kind, COH_NOTE_GATE_FREE);
    assert_int_equal(w.trk->ops->peek(w.trk, 0, 8), 1);
    assert_int_equal(w.trk->ops->gate(w.trk, 0, 8, 1, FL_PROT_READ), FL_OK);
    assert_int_equal(w.trk->ops->snap(w.trk, 0, 8, bytes), 1);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(bytes[1], 9);
    stop(&w);
}

/** A page that was lowered and not yet snapped: the thread lets the device run, then asks. */
static void a_held_page_lets_the_device_run(void **state)
{
    (void)state;
    struct world w;
    uint8_t bytes[FL_PAGE_BYTES];
    start(&w);
    struct coh_note load = {.page = 1};
    serve(&w, &load, 0, FL_PROT_RW);
    assert_int_equal(w.trk->ops->gate(w.trk, 0, 1, 1, FL_PROT_READ), FL_OK);
    struct thread *a = thread(&w, 0, 1, 1, true);
    run(a);
    assert_int_equal(a->ways[COH_WAY_LET], 1);
    run(a);
    assert_int_equal(a->ways[COH_WAY_LET], 2);
    assert_int_equal(w.trk->ops->snap(w.trk, 0, 1, bytes), 0);
    run(a);
    assert_true(fl_coro_over(a->c));
    assert_int_equal(a->rc, FL_OK);
    stop(&w);
}

static void several_trackers_know_their_own_regions(void **state)
{
    (void)state;
    struct world w, v;
    struct fl_errmsg err = {{0}};
    struct coh_tracker *none = NULL;
    start(&w);
    start(&v);
    const struct coh_cfg threads = {.threads_max = 1, .cached_pages_max = 1};
    assert_int_equal(coh_mprotect_new(&threads, &none, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "already"));
    struct thread *a = thread(&w, 0, 2, 1, false), *b = thread(&v, 1, 2, 1, false);
    run(a);
    run(b);
    struct coh_note na = note_of(&w), nb = note_of(&v);
    assert_int_equal(na.ticket, 0);
    assert_int_equal(nb.ticket, 1);
    serve(&v, &nb, 30, FL_PROT_READ);
    run(b);
    assert_int_equal(b->done, 31);
    stop(&w); /* the older one, and its thread with it; a stays in its trap for ever */
    struct thread *c = thread(&v, 0, 3, 1, false);
    run(c);
    struct coh_note nc = note_of(&v);
    serve(&v, &nc, 1, FL_PROT_READ);
    run(c);
    assert_int_equal(c->done, 2);
    stop(&v);
    assert_int_equal(coh_mprotect_new(&threads, &none, &err), FL_OK); /* SIGSEGV is free again */
    none->ops->free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misses_wait_side_by_side),
        cmocka_unit_test(a_wait_that_is_woken_in_vain_goes_on),
        cmocka_unit_test(a_deadline_in_the_tests_own_time_fails_the_access),
        cmocka_unit_test(an_error_of_the_device_fails_only_the_one_that_asked),
        cmocka_unit_test(the_device_meets_a_busy_gate),
        cmocka_unit_test(a_held_page_lets_the_device_run),
        cmocka_unit_test(several_trackers_know_their_own_regions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
