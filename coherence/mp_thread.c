/* SPDX-License-Identifier: Apache-2.0 */
/* Application threads of the mprotect tracker: records, alternate stacks, blocked accesses. */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "coherence/arch.h"
#include "coherence/mprotect_int.h"
#include "emu/base/assert.h"
#include "emu/base/clock.h"

enum {
    STACK_EXTRA_BYTES = 64 * 1024, /* our handler, and a program's own that we pass a fault on to */
    SPIN_ADAPTIVE_NS = 15000,      /* Source: a hand-over without sleeping measured at 12 us */
    SPINS_PER_LOOK = 32,
    SPINS_BEFORE_YIELD = 16,
};

/* Initial-exec: a lazily allocated thread variable would call malloc inside the handler. */
static __thread struct {
    uint64_t serial;
    struct mp_thread *th;
} self __attribute__((tls_model("initial-exec")));

/* --- records --------------------------------------------------------------------------------- */

static bool claim(struct mp_thread *th)
{
    uint32_t zero = 0;
    return atomic_load_explicit(&th->taken, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong(&th->taken, &zero, 1);
}

/* A thread that never entered cannot leave either: its record is free once it is gone. */
static bool owner_is_gone(struct mp_thread *th)
{
    int tid = atomic_load(&th->tid);
    return tid != 0 && syscall(SYS_tgkill, getpid(), tid, 0) < 0 && errno == ESRCH &&
           atomic_compare_exchange_strong(&th->tid, &tid, 0);
}

static struct mp_thread *find_record(struct mp_tracker *t)
{
    for (uint32_t i = 0; i < t->cfg.threads_max; i++)
        if (claim(&t->threads[i]))
            return &t->threads[i];
    for (uint32_t i = 0; i < t->cfg.threads_max; i++)
        if (owner_is_gone(&t->threads[i])) /* taken stays 1: the record is ours now */
            return &t->threads[i];
    return NULL;
}

struct mp_thread *mp_thread_self(struct mp_tracker *t)
{
    if (t->cfg.coro.yield) {
        uint32_t ticket = t->cfg.coro.self(t->cfg.coro.arg);
        return ticket < t->cfg.threads_max ? &t->threads[ticket] : NULL;
    }
    if (self.serial == t->serial)
        return self.th;
    struct mp_thread *th = find_record(t);
    if (!th)
        return NULL;
    th->stack_set = false;
    th->again_count = 0;
    atomic_store(&th->tid, (int)syscall(SYS_gettid));
    self.th = th;
    self.serial = t->serial;
    return th;
}

/* --- entering and leaving -------------------------------------------------------------------- */

size_t mp_stack_bytes(void)
{
    size_t min = (size_t)getauxval(AT_MINSIGSTKSZ); /* grows with the vector registers */
    if (min < (size_t)MINSIGSTKSZ)
        min = (size_t)MINSIGSTKSZ;
    return (min + STACK_EXTRA_BYTES + 4095) & ~(size_t)4095;
}

/* One page below the stack stays closed, so that an overflow crashes and overwrites nothing. */
static int set_stack(struct mp_tracker *t, struct mp_thread *th, struct fl_errmsg *err)
{
    stack_t old;
    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE) &&
        old.ss_size >= t->stack_bytes)
        return FL_OK; /* the program's own is large enough */
    if (!th->stack) {
        void *p = mmap(NULL, t->stack_bytes + FL_PAGE_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return fl_fail(err, FL_ENOMEM, "no memory for a signal stack of %zu bytes",
                           t->stack_bytes);
        if (mprotect((uint8_t *)p + FL_PAGE_BYTES, t->stack_bytes, PROT_READ | PROT_WRITE) != 0) {
            munmap(p, t->stack_bytes + FL_PAGE_BYTES);
            return fl_fail(err, FL_ENOMEM, "cannot open a signal stack: %s", strerror(errno));
        }
        th->stack = p;
    }
    stack_t ss = {.ss_sp = (uint8_t *)th->stack + FL_PAGE_BYTES, .ss_size = t->stack_bytes};
    if (sigaltstack(&ss, NULL) != 0)
        return fl_fail(err, FL_EIO, "sigaltstack: %s", strerror(errno));
    th->stack_set = true;
    return FL_OK;
}

int coh_thread_enter(struct coh_tracker *base, uint32_t *ret_ticket, struct fl_errmsg *err)
{
    struct mp_tracker *t = (struct mp_tracker *)base;
    struct mp_thread *th = mp_thread_self(t);
    if (!th)
        return fl_fail(err, FL_ENOSPC, "%u threads use regions already; raise the node's threads",
                       t->cfg.threads_max);
    if (!th->stack_set) {
        int rc = set_stack(t, th, err);
        if (rc != FL_OK) {
            coh_thread_leave(base);
            return rc;
        }
    }
    *ret_ticket = (uint32_t)(th - t->threads);
    return FL_OK;
}

void coh_thread_leave(struct coh_tracker *base)
{
    struct mp_tracker *t = (struct mp_tracker *)base;
    if (self.serial != t->serial)
        return;
    struct mp_thread *th = self.th;
    if (th->stack_set) {
        stack_t off = {.ss_flags = SS_DISABLE};
        sigaltstack(&off, NULL);
        th->stack_set = false;
    }
    self.serial = 0;
    self.th = NULL;
    atomic_store(&th->tid, 0);
    atomic_store(&th->taken, 0);
}

long mp_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void mp_threads_done(struct mp_tracker *t)
{
    for (uint32_t i = 0; i < COH_THREADS_MAX; i++)
        if (t->threads[i].stack)
            munmap(t->threads[i].stack, t->stack_bytes + FL_PAGE_BYTES);
}

/* --- blocked accesses ------------------------------------------------------------------------ */

uint64_t mp_now_ns(const struct mp_tracker *t)
{
    return t->cfg.coro.yield ? t->cfg.coro.now_ns(t->cfg.coro.arg) : fl_clock_ns();
}

void mp_give_way(const struct mp_tracker *t, enum coh_way way)
{
    if (t->cfg.coro.yield)
        t->cfg.coro.yield(t->cfg.coro.arg, way, FL_NEVER);
}

void mp_pause(const struct mp_tracker *t, uint32_t round)
{
    if (t->cfg.coro.yield) {
        mp_give_way(t, COH_WAY_LET);
        return;
    }
    if (round >= SPINS_BEFORE_YIELD) {
        sched_yield();
        return;
    }
    for (int i = 0; i < SPINS_PER_LOOK; i++)
        coh_arch_relax();
}

uint64_t mp_deadline_ns(const struct mp_tracker *t)
{
    uint64_t now = mp_now_ns(t);
    return t->cfg.access_deadline_ns > FL_NEVER - now ? FL_NEVER : now + t->cfg.access_deadline_ns;
}

static bool answered(struct mp_thread *th)
{
    uint32_t w = atomic_load_explicit(&th->answer, memory_order_acquire);
    return (w & MP_ANSWER_MASK) == MP_ANSWERED;
}

/* Spinning helps only when the device thread has a processor of its own meanwhile. */
static bool spin(const struct mp_tracker *t, struct mp_thread *th, uint64_t deadline_ns)
{
    uint64_t until = deadline_ns;
    if (t->cfg.spin == COH_WAIT_BLOCK || (t->cfg.spin == COH_WAIT_ADAPTIVE && t->processors < 2))
        return answered(th);
    if (t->cfg.spin == COH_WAIT_ADAPTIVE)
        until = fl_clock_ns() + SPIN_ADAPTIVE_NS;
    for (uint32_t round = 0;; round++) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (answered(th))
                return true;
            coh_arch_relax();
        }
        if (fl_clock_ns() >= until)
            return false;
        if (t->cfg.spin == COH_WAIT_SPIN && round % 64 == 63)
            sched_yield();
    }
}

static void sleep_on(struct mp_thread *th, uint64_t deadline_ns)
{
    uint32_t asked = MP_ASKED;
    if (!atomic_compare_exchange_strong(&th->answer, &asked, MP_ASLEEP) && asked != MP_ASLEEP)
        return;
    struct timespec at = {.tv_sec = (time_t)(deadline_ns / FL_NS_PER_S),
                          .tv_nsec = (long)(deadline_ns % FL_NS_PER_S)};
    syscall(SYS_futex, &th->answer, FUTEX_WAIT_BITSET_PRIVATE, MP_ASLEEP,
            deadline_ns == FL_NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* Waits for the answer to the MISS that is out and takes it. */
static int wait_answer(struct mp_tracker *t, struct mp_thread *th)
{
    uint64_t deadline_ns = mp_deadline_ns(t);
    bool coro = t->cfg.coro.yield != NULL;
    bool done = coro ? answered(th) : spin(t, th, deadline_ns);
    while (!done) {
        if (coro)
            t->cfg.coro.yield(t->cfg.coro.arg, COH_WAY_WAIT, deadline_ns);
        else
            sleep_on(th, deadline_ns);
        done = answered(th);
        if (!done && mp_now_ns(t) >= deadline_ns)
            return FL_ETIMEDOUT; /* still out: its answer belongs to no later access */
    }
    uint32_t w = atomic_exchange(&th->answer, MP_IDLE);
    return -(int)(w >> MP_ANSWER_SHIFT);
}

int mp_miss(struct mp_tracker *t, struct mp_thread *th, uint16_t region, uint32_t page,
            enum fl_access access)
{
    /* A ticket has at most one MISS out. After a deadline the late answer must come first. */
    if (atomic_load(&th->answer) != MP_IDLE && wait_answer(t, th) == FL_ETIMEDOUT &&
        atomic_load(&th->answer) != MP_IDLE)
        return FL_ETIMEDOUT;
    uint32_t ticket = (uint32_t)(th - t->threads);
    uint32_t place = coh_twins_count(t->twins) + 1 + ticket;
    t->notes.places[place] = (struct coh_place){.page = page,
                                                .region = region,
                                                .kind = COH_NOTE_MISS,
                                                .access = (uint8_t)access,
                                                .ticket = ticket};
    atomic_store(&th->answer, MP_ASKED);
    coh_notes_push(&t->notes, place, true);
    return wait_answer(t, th);
}

void mp_answer(struct mp_tracker *t, uint32_t ticket, int status)
{
    if (ticket >= t->cfg.threads_max)
        return;
    struct mp_thread *th = &t->threads[ticket];
    uint32_t w = atomic_load(&th->answer);
    uint32_t answer = MP_ANSWERED | (uint32_t)(status < 0 ? -status : status) << MP_ANSWER_SHIFT;
    do {
        if (w != MP_ASKED && w != MP_ASLEEP)
            return; /* nobody asked */
    } while (!atomic_compare_exchange_weak(&th->answer, &w, answer));
    if (w == MP_ASLEEP)
        syscall(SYS_futex, &th->answer, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (t->cfg.coro.yield)
        t->cfg.coro.wake(t->cfg.coro.arg, ticket);
}
