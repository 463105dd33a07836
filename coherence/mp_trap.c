/* SPDX-License-Identifier: Apache-2.0 */
/* The SIGSEGV handler of the mprotect tracker. Everything here is async-signal-safe. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "coherence/arch.h"
#include "coherence/farline.h"
#include "coherence/mprotect_int.h"
#include "emu/base/clock.h"

enum {
    HELD_ROUNDS = 24, /* looks at a page that waits for its snap before the device is asked */
    CHECK_CLOCK_EVERY = 64,
    AGAIN_MAX = 1 << 16, /* equal faults on an open page: the kernel disagrees with the gate */
    BUS_ADDR_LSB = 12,   /* what is lost is a page of 2^12 bytes */
};

enum verdict { HANDLED, NOT_OURS };

static _Atomic(struct mp_tracker *) trackers; /* as a rule one: mp_trap_install */
static struct sigaction previous;

static void count(_Atomic uint64_t *c)
{
    /* One writer: no locked instruction needed. */
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static struct mp_region *region_in(struct mp_tracker *t, uintptr_t addr)
{
    for (struct mp_region *r = t->regions; r < t->regions + COH_REGIONS_MAX; r++) {
        uint64_t len = atomic_load_explicit(&r->len_bytes, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&r->base, memory_order_relaxed);
        if (len && addr >= base && addr - base < len)
            return r;
    }
    return NULL;
}

static struct mp_region *find_region(uintptr_t addr, struct mp_tracker **ret_t)
{
    struct mp_tracker *t = atomic_load_explicit(&trackers, memory_order_acquire);
    struct mp_region *r = NULL;
    for (; t && !r; t = t->next) {
        r = region_in(t, addr);
        *ret_t = t;
    }
    return r;
}

/* --- opening a page in the thread ------------------------------------------------------------ */

int64_t mp_border_delta(const struct mp_region *r, uint32_t page, enum fl_prot from,
                        enum fl_prot to)
{
    int64_t delta = 0;
    for (int side = -1; side <= 1; side += 2) {
        int64_t p = (int64_t)page + side;
        if (p < 0 || p >= r->page_count)
            continue;
        uint32_t w = atomic_load_explicit(&r->pages[p].gate, memory_order_relaxed);
        delta += (coh_gate_prot(w) != to) - (coh_gate_prot(w) != from);
    }
    return delta;
}

static void back_out(struct mp_tracker *t, struct mp_thread *th, struct mp_page *p)
{
    count(&th->refusals);
    if (coh_gate_do(&p->gate, COH_OP_BACK_OUT) == COH_GATE_WANTED)
        coh_notes_wake(&t->notes);
}

/* First store to a clean page; its gate is busy, taken by this thread. False: the kernel has no
 * mapping to spare, or the pool no twin; the gate has been let go. */
static bool open_page(struct mp_tracker *t, struct mp_thread *th, struct mp_region *r,
                      uint32_t page)
{
    struct mp_page *p = &r->pages[page];
    mp_give_way(t, COH_WAY_STEP);
    int64_t delta = mp_border_delta(r, page, FL_PROT_READ, FL_PROT_RW);
    if (!coh_maps_reserve(&t->maps, delta, true)) {
        back_out(t, th, p);
        return false;
    }
    uint32_t twin = p->twin; /* one that was never snapped stays: it tells more lines, not fewer */
    if (twin == COH_TWIN_NONE) {
        twin = coh_twins_take(t->twins);
        if (twin != COH_TWIN_NONE)
            memcpy(coh_twins_at(t->twins, twin), mp_app(r, page), FL_PAGE_BYTES);
    }
    if (twin == COH_TWIN_NONE ||
        mprotect(mp_app(r, page), FL_PAGE_BYTES, PROT_READ | PROT_WRITE) != 0) {
        if (twin != COH_TWIN_NONE && twin != p->twin)
            coh_twins_give(t->twins, twin);
        coh_maps_undo(&t->maps, delta);
        back_out(t, th, p);
        return false;
    }
    p->twin = twin;
    mp_give_way(t, COH_WAY_STEP);
    t->notes.places[twin] = (struct coh_place){.page = page,
                                               .region = (uint16_t)(r - t->regions),
                                               .kind = COH_NOTE_DIRTY,
                                               .access = FL_STORE};
    coh_notes_push(&t->notes, twin, false);
    mp_give_way(t, COH_WAY_STEP);
    if (coh_gate_do(&p->gate, COH_OP_OPEN) == COH_GATE_WANTED)
        coh_notes_wake(&t->notes);
    count(&th->local_dirty);
    return true;
}

/* --- one trap -------------------------------------------------------------------------------- */

/* The gate says open, yet the access trapped: as a rule it was opened meanwhile. */
static enum verdict again(struct mp_thread *th, const struct mp_page *p)
{
    uint32_t word = atomic_load_explicit(&p->gate, memory_order_relaxed);
    if (th->again_page != p || th->again_word != word) {
        th->again_page = p;
        th->again_word = word;
        th->again_count = 0;
    }
    return ++th->again_count < AGAIN_MAX ? HANDLED : NOT_OURS;
}

static int ask_device(struct mp_tracker *t, struct mp_thread *th, struct mp_region *r,
                      uint32_t page, enum fl_access access)
{
    count(&th->misses);
    return mp_miss(t, th, (uint16_t)(r - t->regions), page, access);
}

/* Tries the gate until it opens or the device has to be asked. @ret_status: outcome of the access
 * when HANDLED. */
static enum verdict resolve(struct mp_tracker *t, struct mp_thread *th, struct mp_region *r,
                            uint32_t page, enum fl_access access, int *ret_status)
{
    struct mp_page *p = &r->pages[page];
    enum coh_gate_op op = access == FL_STORE ? COH_OP_TAKE : COH_OP_LOAD;
    uint64_t deadline_ns = 0;
    *ret_status = FL_OK;
    for (uint32_t round = 0;; round++) {
        enum coh_gate_out out = coh_gate_do(&p->gate, op);
        if (out == COH_GATE_OPEN)
            return again(th, p);
        th->again_page = NULL;
        if (out == COH_GATE_OK && open_page(t, th, r, page))
            return HANDLED;
        if (out == COH_GATE_OK || out == COH_GATE_SHUT ||
            (out == COH_GATE_HELD && round >= HELD_ROUNDS)) {
            *ret_status = ask_device(t, th, r, page, access);
            return HANDLED;
        }
        mp_pause(t, round);
        if (round % CHECK_CLOCK_EVERY != CHECK_CLOCK_EVERY - 1)
            continue;
        if (deadline_ns == 0)
            deadline_ns = mp_deadline_ns(t);
        if (mp_now_ns(t) >= deadline_ns) {
            *ret_status = FL_ETIMEDOUT;
            return HANDLED;
        }
    }
}

/* SIGBUS as the kernel sends it for lost memory: delivered when our handler returns, with the
 * context of the access. A thread that blocks or ignores it dies of it, as it would of the real
 * one. */
static void fail_access(struct mp_region *r, const siginfo_t *si, ucontext_t *uc, int status)
{
    atomic_store(&r->error, status);
    struct sigaction sa;
    if (sigismember(&uc->uc_sigmask, SIGBUS) == 1 ||
        (sigaction(SIGBUS, NULL, &sa) == 0 && !(sa.sa_flags & SA_SIGINFO) &&
         sa.sa_handler == SIG_IGN)) {
        signal(SIGBUS, SIG_DFL);
        sigdelset(&uc->uc_sigmask, SIGBUS);
    }
    siginfo_t bus;
    memset(&bus, 0, sizeof bus);
    bus.si_signo = SIGBUS;
    bus.si_code = BUS_MCEERR_AR;
    bus.si_addr = si->si_addr;
    bus.si_addr_lsb = BUS_ADDR_LSB;
    long tid = syscall(SYS_gettid);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGBUS, &bus) != 0)
        syscall(SYS_tgkill, getpid(), tid, SIGBUS); /* a filter forbids the first one */
}

/* Where the frame does not say: what traps on a readable page is a store. A load that met it while
 * it was being opened is then taken for one, which costs a needless twin and nothing else. */
static enum fl_access access_of(const struct mp_region *r, uint32_t page, const ucontext_t *uc)
{
    enum fl_access access;
    if (coh_arch_access(uc, &access))
        return access;
    uint32_t w = atomic_load_explicit(&r->pages[page].gate, memory_order_relaxed);
    return coh_gate_prot(w) == FL_PROT_NONE ? FL_LOAD : FL_STORE;
}

static enum verdict trap(const siginfo_t *si, ucontext_t *uc)
{
    struct mp_tracker *t = NULL;
    uintptr_t addr = (uintptr_t)si->si_addr;
    struct mp_region *r = si->si_code == SEGV_ACCERR ? find_region(addr, &t) : NULL;
    if (!r)
        return NOT_OURS;
    uint32_t page = (uint32_t)((addr - atomic_load(&r->base)) / FL_PAGE_BYTES);
    enum fl_access access = access_of(r, page, uc);
    if (access == FL_FETCH) /* code does not lie in regions */
        return NOT_OURS;
    int status = FL_ENOSPC; /* more threads than records */
    struct mp_thread *th = mp_thread_self(t);
    if (th) {
        count(&th->traps);
        mp_give_way(t, COH_WAY_TRAP);
        if (resolve(t, th, r, page, access, &status) == NOT_OURS)
            return NOT_OURS;
    }
    if (status != FL_OK)
        fail_access(r, si, uc, status);
    return HANDLED;
}

/* --- faults that are not ours ---------------------------------------------------------------- */

/* The default action, with the faulting instruction on record: it faults again on return. A
 * signal that somebody sent does not, so it is sent again. */
static void default_action(int sig, const siginfo_t *si)
{
    signal(sig, SIG_DFL);
    if (si->si_code <= 0)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

static void pass_on(int sig, siginfo_t *si, ucontext_t *uc)
{
    if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN && si->si_code <= 0)
        return;
    if (!(previous.sa_flags & SA_SIGINFO) &&
        (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)) {
        default_action(sig, si);
        return;
    }
    sigset_t mask = uc->uc_sigmask, ours;
    sigorset(&mask, &mask, &previous.sa_mask);
    if (!(previous.sa_flags & SA_NODEFER))
        sigaddset(&mask, sig);
    pthread_sigmask(SIG_SETMASK, &mask, &ours);
    struct sigaction theirs = previous;
    if (previous.sa_flags & SA_RESETHAND)
        previous = (struct sigaction){.sa_handler = SIG_DFL};
    if (theirs.sa_flags & SA_SIGINFO)
        theirs.sa_sigaction(sig, si, uc);
    else
        theirs.sa_handler(sig);
    pthread_sigmask(SIG_SETMASK, &ours, NULL);
}

static void on_segv(int sig, siginfo_t *si, void *context)
{
    int saved = errno;
    if (trap(si, context) == NOT_OURS)
        pass_on(sig, si, context);
    errno = saved;
}

/* --- set-up ---------------------------------------------------------------------------------- */

int mp_trap_install(struct mp_tracker *t, struct fl_errmsg *err)
{
    struct mp_tracker *first = NULL;
    if (!atomic_compare_exchange_strong(&trackers, &first, t)) {
        if (!first->cfg.coro.yield || !t->cfg.coro.yield)
            return fl_fail(err, FL_EINVAL,
                           "this process has an mprotect tracker already; one serves all its "
                           "regions");
        t->next = first; /* one thread runs all of them */
        atomic_store(&trackers, t);
        return FL_OK;
    }
    /* Every signal waits while we handle one: another handler might touch a region, and SIGBUS is
     * to find the context of the access. */
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESTART};
    /* A coroutine's trap stays on its own stack: on one for all, the next trap would overwrite the
     * one that waits. */
    if (!t->cfg.coro.yield)
        sa.sa_flags |= SA_ONSTACK;
    sa.sa_sigaction = on_segv;
    sigfillset(&sa.sa_mask);
    if (sigaction(SIGSEGV, &sa, &previous) != 0) {
        atomic_store(&trackers, NULL);
        return fl_fail(err, FL_EIO, "cannot take over SIGSEGV: %s", strerror(errno));
    }
    return FL_OK;
}

void mp_trap_remove(struct mp_tracker *t)
{
    struct mp_tracker *at = atomic_load(&trackers);
    if (at != t) {
        while (at && at->next != t)
            at = at->next;
        if (at)
            at->next = t->next;
        return;
    }
    atomic_store(&trackers, t->next);
    if (t->next)
        return;
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == on_segv)
        sigaction(SIGSEGV, &previous, NULL);
}

int farline_region_error(const void *addr)
{
    struct mp_tracker *t;
    struct mp_region *r = find_region((uintptr_t)addr, &t);
    return r ? atomic_load(&r->error) : FL_EINVAL;
}
