/* SPDX-License-Identifier: Apache-2.0 */
/* Application threads of a node: real loads and stores, each known to the shadow first. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/log.h"
#include "emu/world_real.h"

uint32_t rw_threads_of(const struct plan *p, uint16_t self)
{
    uint32_t n = 0;
    for (uint16_t i = 0; i < p->workload_count; i++)
        if (p->regions[p->workloads[i].region].on == self)
            n += p->workloads[i].threads;
    return n;
}

static void trouble(struct rw *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void trouble(struct rw *w, const char *fmt, ...)
{
    char text[sizeof(w->trouble.text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fl_log(FL_LOG_WARN, "%s", text);
    if (!w->trouble.text[0])
        memcpy(w->trouble.text, text, sizeof(text));
}

/* --- generated accesses --------------------------------------------------------------------- */

static void run_actor(struct rw_thread *t, const struct plan_workload *wl)
{
    struct rw *w = t->w;
    struct work_run *r = &t->run;
    uint64_t off = 0;
    work_run_init(r, w->plan, wl, t->index, emu_node_region_base(w->node, wl->region),
                  emu_node_oracle(w->node));
    if (work_run(r, &off) == FL_OK)
        return;
    t->errors++;
    t->status = coh_region_error(w->trk, wl->region);
    if (!t->status)
        t->status = FL_EPOISONED;
    fl_fail(&t->cause, t->status, "%s at offset 0x%llx of region %s failed: %s",
            r->op.store ? "store" : "load", (unsigned long long)off,
            w->plan->regions[wl->region].name, fl_strerror(t->status));
}

/* --- programs ------------------------------------------------------------------------------- */

static void run_program(struct rw_thread *t, const struct plan_workload *wl)
{
    struct rw *w = t->w;
    /* Every thread has a share of its own: a heap belongs to one thread. */
    size_t share =
        w->plan->regions[wl->region].size_bytes / wl->threads / NATIVE_ALIGN * (size_t)NATIVE_ALIGN;
    struct native_mem mem = {.base = (uint8_t *)emu_node_region_base(w->node, wl->region) +
                                     share * t->index,
                             .len_bytes = share};
    t->status = wl->kind == PLAN_SQLITE ? native_sqlite(w->plan, wl, &mem, &t->native, &t->cause)
                                        : native_lua(w->plan, wl, &mem, &t->native, &t->cause);
    struct oracle *o = emu_node_oracle(w->node);
    bool deceived = native_deceived(t->status, &t->native);
    if (o && (deceived || !t->status))
        oracle_on_program(o, wl->region, deceived, t->cause.text);
    if (t->status == FL_EPOISONED) {
        int e = coh_region_error(w->trk, wl->region);
        t->status = e ? e : FL_EPOISONED;
        t->errors++;
        t->parked = true;
    }
}

/* --- threads -------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    struct rw_thread *t = arg;
    const struct plan_workload *wl = &t->w->plan->workloads[t->workload];
    uint32_t ticket;
    t->status = coh_thread_enter(t->w->trk, &ticket, &t->cause);
    if (!t->status) {
        if (work_is_actor(wl->kind))
            run_actor(t, wl);
        else
            run_program(t, wl);
    }
    bool parked = t->parked;
    if (!parked)
        coh_thread_leave(t->w->trk);
    int fd = t->w->threads_fd;
    atomic_store(&t->done, true);
    uint64_t one = 1;
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    /* Ending would let the allocator look into a heap whose region has failed. */
    if (parked)
        for (;;)
            pause();
    return NULL;
}

static int start_threads(struct rw *w)
{
    unsigned k = 0;
    w->thread_count = rw_threads_of(w->plan, w->self);
    w->threads = calloc(w->thread_count ? w->thread_count : 1, sizeof(*w->threads));
    if (!w->threads)
        return FL_ENOMEM;
    for (uint16_t i = 0; i < w->plan->workload_count; i++) {
        const struct plan_workload *wl = &w->plan->workloads[i];
        for (uint32_t j = 0; w->plan->regions[wl->region].on == w->self && j < wl->threads; j++) {
            struct rw_thread *t = &w->threads[k++];
            t->w = w;
            t->workload = i;
            t->index = j;
            if (pthread_create(&t->id, NULL, thread_main, t))
                return FL_EAGAIN;
        }
    }
    return FL_OK;
}

static void close_regions(struct rw *w)
{
    fl_log(FL_LOG_INFO, "closing");
    w->closing_ns = fl_clock_ns();
    for (uint16_t r = 0; r < w->plan->region_count; r++)
        if (w->open_asked[r] && !w->open_status[r]) {
            w->close_asked[r] = true;
            w->closing++;
        }
    for (uint16_t r = 0; r < w->plan->region_count; r++)
        if (w->close_asked[r])
            emu_node_close(w->node, r);
    if (!w->closing)
        rw_report(w, "done");
}

void rw_threads_done(struct rw *w)
{
    uint64_t sum;
    if (read(w->threads_fd, &sum, sizeof(sum)) < 0)
        return;
    unsigned left = 0;
    for (unsigned i = 0; i < w->thread_count; i++)
        left += !atomic_load(&w->threads[i].done);
    if (left || w->threads_over)
        return;
    w->threads_over = true;
    for (unsigned i = 0; i < w->thread_count; i++) {
        struct rw_thread *t = &w->threads[i];
        if (!t->parked)
            pthread_join(t->id, NULL);
        if (t->status)
            trouble(w, "workload %s: %s", w->plan->workloads[t->workload].name, t->cause.text);
    }
    close_regions(w);
}

/* --- regions -------------------------------------------------------------------------------- */

static void opened(struct rw *w)
{
    bool good = true;
    for (uint16_t r = 0; r < w->plan->region_count; r++)
        good = good && (!w->open_asked[r] || !w->open_status[r]);
    fl_log(FL_LOG_INFO, "running: %u threads", rw_threads_of(w->plan, w->self));
    ctl_send(w->conn, json_pack("{s:s}", "t", "running"));
    int rv = good ? start_threads(w) : FL_OK;
    if (rv) { /* some threads run, others do not: this run means nothing */
        rw_tell_failure(w, rv, "cannot start an application thread; raise the limit on threads");
        rw_exit(1);
    }
    if (!good || !w->thread_count)
        close_regions(w);
}

void rw_start(struct rw *w)
{
    for (uint16_t r = 0; r < w->plan->region_count; r++)
        if (w->plan->regions[r].on == w->self) {
            w->open_asked[r] = true;
            w->opening++;
        }
    for (uint16_t r = 0; r < w->plan->region_count; r++)
        if (w->open_asked[r])
            emu_node_open(w->node, r);
    if (!w->opening && w->plan->nodes[w->self].role == PLAN_COMPUTE)
        opened(w);
}

void rw_answer(struct rw *w, uint32_t ticket, int status)
{
    bool is_close = ticket >= EMU_TICKET_CLOSE;
    uint32_t r = ticket - (is_close ? EMU_TICKET_CLOSE : EMU_TICKET_OPEN);
    if (r >= w->plan->region_count)
        return;
    if (status)
        trouble(w, "region %s could not be %s: %s", w->plan->regions[r].name,
                is_close ? "closed" : "opened", fl_strerror(status));
    if (is_close) {
        w->close_status[r] = status;
        w->close_ns[r] = fl_clock_ns() - w->closing_ns;
        if (w->closing && --w->closing == 0)
            rw_report(w, "done");
    } else {
        w->open_status[r] = status;
        if (w->opening && --w->opening == 0)
            opened(w);
    }
}
