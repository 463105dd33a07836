/* SPDX-License-Identifier: Apache-2.0 */
/* The mprotect tracker, device side. See mprotect_int.h for the picture. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coherence/arch.h"
#include "coherence/diff.h"
#include "coherence/farline.h"
#include "coherence/mprotect_int.h"
#include "emu/base/assert.h"

enum { TWINS_SPARE = 16 }; /* beyond one per cached page and thread */

static bool any_plant(const struct mp_tracker *t)
{
    return (t->cfg.plants.bits[0] | t->cfg.plants.bits[1]) != 0;
}

static int mp_wake_fd(struct coh_tracker *base)
{
    return mp(base)->notes.wake_fd;
}

static void mp_armed(struct coh_tracker *base, bool armed)
{
    coh_notes_arm(&mp(base)->notes, armed);
}

/* --- pages ----------------------------------------------------------------------------------- */

static void end_twin(struct mp_tracker *t, struct mp_page *p)
{
    if (p->twin == COH_TWIN_NONE)
        return;
    mp_collect(t); /* the note of this twin leaves its place before another page gets it */
    coh_twins_give(t->twins, p->twin);
    p->twin = COH_TWIN_NONE;
}

static fl_mask mp_snap(struct coh_tracker *base, uint16_t region, uint32_t page, uint8_t *dst)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    struct mp_page *p = mp_page(r, page);
    uint32_t w = mp_word(p);
    memcpy(dst, mp_alias(r, page), FL_PAGE_BYTES);
    FL_ASSERT(coh_gate_prot(w) != FL_PROT_RW || any_plant(t));
    if (!(w & COH_GATE_F_HELD) && coh_gate_prot(w) == FL_PROT_READ)
        return FL_MASK_NONE; /* fetched and not gated since: a twin may be a thread's right now */
    fl_mask mask = FL_MASK_NONE;
    if (p->twin != COH_TWIN_NONE)
        mask = coh_diff(dst, coh_twins_at(t->twins, p->twin));
    end_twin(t, p);
    coh_gate_do(&p->gate, COH_OP_RELEASE);
    return mask;
}

static fl_mask mp_peek(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    struct mp_page *p = mp_page(r, page);
    /* Between busy and open the twin is a thread's. */
    if (coh_gate_busy(mp_word(p)) || p->twin == COH_TWIN_NONE)
        return FL_MASK_NONE;
    return coh_diff(mp_alias(r, page), coh_twins_at(t->twins, p->twin));
}

static void copy_lines(uint8_t *dst, const uint8_t *src, fl_mask mask)
{
    while (mask) {
        unsigned first = fl_mask_first(mask);
        fl_mask rest = ~(mask >> first);
        unsigned n = rest ? (unsigned)__builtin_ctzll(rest) : FL_PAGE_LINES;
        memcpy(dst + (size_t)first * FL_LINE_BYTES, src + (size_t)first * FL_LINE_BYTES,
               (size_t)n * FL_LINE_BYTES);
        mask &= ~fl_mask_run(first, n);
    }
}

static void mp_install(struct coh_tracker *base, uint16_t region, uint32_t page, fl_mask mask,
                       const uint8_t *src)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    struct mp_page *p = mp_page(r, page);
    mp_give_back(t);
    copy_lines(mp_alias(r, page), src, mask);
    /* What arrives from the pool is not dirty. */
    if (!coh_gate_busy(mp_word(p)) && p->twin != COH_TWIN_NONE)
        copy_lines(coh_twins_at(t->twins, p->twin), src, mask);
}

void mp_give_back(struct mp_tracker *t)
{
    if (t->dropped.count == 0)
        return;
    /* memfd pages: this fails only if the arguments are wrong. */
    FL_ASSERT(fallocate(mp_region(t, t->dropped.region)->fd,
                        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)t->dropped.page * FL_PAGE_BYTES,
                        (off_t)t->dropped.count * FL_PAGE_BYTES) == 0);
    t->dropped.count = 0;
}

static void mp_drop(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    struct mp_page *p = mp_page(r, page);
    FL_ASSERT(coh_gate_prot(mp_word(p)) == FL_PROT_NONE || any_plant(t));
    if (coh_gate_prot(mp_word(p)) == FL_PROT_NONE)
        end_twin(t, p);
    if (t->dropped.count > 0 && t->dropped.region == region &&
        t->dropped.page + t->dropped.count == page) {
        t->dropped.count++;
    } else {
        mp_give_back(t);
        t->dropped.region = region;
        t->dropped.page = page;
        t->dropped.count = 1;
    }
    if (any_plant(t)) /* what a planted mistake does to an open page must be seen at once */
        mp_give_back(t);
}

static const uint8_t *mp_live(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    struct mp_region *r = mp_region(mp(base), region);
    mp_give_back(mp(base));
    (void)mp_page(r, page);
    return mp_alias(r, page);
}

static void mp_resume(struct coh_tracker *base, uint32_t ticket, int status)
{
    mp_answer(mp(base), ticket, status);
}

/* --- regions --------------------------------------------------------------------------------- */

static int check_region(const struct mp_tracker *t, const struct coh_region_cfg *cfg,
                        struct fl_errmsg *err)
{
    if (cfg->region >= COH_REGIONS_MAX || t->regions[cfg->region].pages)
        return fl_fail(err, FL_EINVAL, "region number %u is taken or not below %d", cfg->region,
                       COH_REGIONS_MAX);
    if (cfg->len_bytes == 0 || cfg->len_bytes % FL_PAGE_BYTES ||
        cfg->len_bytes / FL_PAGE_BYTES > UINT32_MAX / 2 || cfg->len_bytes > PTRDIFF_MAX)
        return fl_fail(err, FL_EINVAL,
                       "region of %llu bytes; give a multiple of %d, at most 2^31 "
                       "pages",
                       (unsigned long long)cfg->len_bytes, FL_PAGE_BYTES);
    if (cfg->addr_hint % FL_PAGE_BYTES)
        return fl_fail(err, FL_EINVAL, "address %#llx is not a multiple of %d",
                       (unsigned long long)cfg->addr_hint, FL_PAGE_BYTES);
    return FL_OK;
}

static void unmap_region(struct mp_region *r, uint64_t len)
{
    if (mp_app(r, 0))
        munmap(mp_app(r, 0), len);
    if (r->alias)
        munmap(r->alias, len);
    if (r->pages)
        munmap(r->pages, (size_t)r->page_count * sizeof *r->pages);
    if (r->fd >= 0)
        close(r->fd);
    *r = (struct mp_region){.fd = -1};
}

/* Closed to children: they would share our pages without our gates. */
static void *map_view(int fd, uint64_t len, int prot, uint64_t hint)
{
    int flags = MAP_SHARED | MAP_NORESERVE | (hint ? MAP_FIXED_NOREPLACE : 0);
    void *p = mmap((void *)(uintptr_t)hint, len, prot, flags, fd, 0); // NOLINT
    if (p == MAP_FAILED)
        return NULL;
    if ((hint && (uintptr_t)p != hint) || madvise(p, len, MADV_DONTFORK) != 0) {
        munmap(p, len);
        errno = EEXIST;
        return NULL;
    }
    return p;
}

static int map_region(struct mp_region *r, const struct coh_region_cfg *cfg, struct fl_errmsg *err)
{
    uint64_t len = cfg->len_bytes;
    r->fd = memfd_create("farline-region", MFD_CLOEXEC);
    if (r->fd < 0 || ftruncate(r->fd, (off_t)len) != 0)
        return fl_fail(err, FL_ENOMEM, "cannot make a memory file of %llu bytes: %s",
                       (unsigned long long)len, strerror(errno));
    r->page_count = (uint32_t)(len / FL_PAGE_BYTES);
    r->alias = map_view(r->fd, len, PROT_READ | PROT_WRITE, 0);
    void *pages = mmap(NULL, (size_t)r->page_count * sizeof *r->pages, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    r->pages = pages == MAP_FAILED ? NULL : pages;
    if (!r->alias || !r->pages)
        return fl_fail(err, FL_ENOMEM,
                       "cannot map a region of %llu bytes: %s; raise the limit of address space",
                       (unsigned long long)len, strerror(errno));
    void *app = map_view(r->fd, len, PROT_NONE, cfg->addr_hint);
    if (!app)
        return fl_fail(err, cfg->addr_hint ? FL_EINVAL : FL_ENOMEM,
                       "cannot map a region of %llu bytes at %#llx: %s; choose another address",
                       (unsigned long long)len, (unsigned long long)cfg->addr_hint,
                       strerror(errno));
    atomic_store(&r->base, (uintptr_t)app);
    return FL_OK;
}

static int mp_region_add(struct coh_tracker *base, const struct coh_region_cfg *cfg,
                         void **ret_base, struct fl_errmsg *err)
{
    struct mp_tracker *t = mp(base);
    int rc = check_region(t, cfg, err);
    if (rc != FL_OK)
        return rc;
    struct mp_region *r = &t->regions[cfg->region];
    rc = map_region(r, cfg, err);
    if (rc != FL_OK) {
        unmap_region(r, cfg->len_bytes);
        return rc;
    }
    atomic_store(&r->len_bytes, cfg->len_bytes); /* from here on the handler sees it */
    mp_resync(t);
    *ret_base = mp_app(r, 0);
    return FL_OK;
}

static void mp_region_remove(struct coh_tracker *base, uint16_t region)
{
    struct mp_tracker *t = mp(base);
    struct mp_region *r = mp_region(t, region);
    mp_give_back(t);
    mp_collect(t);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->want_count; i++)
        if (t->wants[i].region != region)
            t->wants[kept++] = t->wants[i];
    t->want_count = kept;
    for (uint32_t i = 0; i < r->page_count; i++) {
        if (r->pages[i].twin != COH_TWIN_NONE)
            coh_twins_give(t->twins, r->pages[i].twin);
        t->resident -= coh_gate_prot(mp_word(&r->pages[i])) != FL_PROT_NONE;
    }
    uint64_t len = atomic_exchange(&r->len_bytes, 0);
    unmap_region(r, len);
    mp_resync(t);
}

/* --- the whole ------------------------------------------------------------------------------- */

static void mp_stats(struct coh_tracker *base, struct coh_stats *ret)
{
    struct mp_tracker *t = mp(base);
    *ret = (struct coh_stats){.map_refusals = t->refusals,
                              .resident_pages = t->resident,
                              .resident_pages_max = t->resident_max,
                              .mappings = (uint64_t)coh_maps_count(&t->maps),
                              .twins = coh_twins_used(t->twins),
                              .twins_max = coh_twins_used_max(t->twins)};
    for (uint32_t i = 0; i < t->cfg.threads_max; i++) {
        const struct mp_thread *th = &t->threads[i];
        ret->traps += atomic_load_explicit(&th->traps, memory_order_relaxed);
        ret->local_dirty += atomic_load_explicit(&th->local_dirty, memory_order_relaxed);
        ret->misses += atomic_load_explicit(&th->misses, memory_order_relaxed);
        ret->map_refusals += atomic_load_explicit(&th->refusals, memory_order_relaxed);
    }
}

static void mp_free(struct coh_tracker **base)
{
    if (!*base)
        return;
    struct mp_tracker *t = mp(*base);
    mp_trap_remove(t);
    for (uint16_t i = 0; i < COH_REGIONS_MAX; i++)
        if (t->regions[i].pages)
            mp_region_remove(*base, i);
    mp_threads_done(t);
    coh_notes_done(&t->notes);
    coh_twins_free(&t->twins);
    free(t->fifo);
    free(t->wants);
    free(t);
    *base = NULL;
}

static const struct coh_tracker_ops mp_ops = {
    .name = "mprotect",
    .doc = "SIGSEGV and mprotect: the first access to a page per change of its protection; lines "
           "by comparing the page with its twin",
    .region_add = mp_region_add,
    .region_remove = mp_region_remove,
    .gate = mp_gate,
    .snap = mp_snap,
    .peek = mp_peek,
    .install = mp_install,
    .drop = mp_drop,
    .live = mp_live,
    .resume = mp_resume,
    .next = mp_next,
    .wake_fd = mp_wake_fd,
    .armed = mp_armed,
    .stats = mp_stats,
    .free = mp_free,
};

int mp_check_host(long host_page_bytes, bool knows_access, struct fl_errmsg *err)
{
    if (host_page_bytes != FL_PAGE_BYTES)
        return fl_fail(err, FL_EUNSUPPORTED,
                       "this host has pages of %ld bytes and tracker mprotect needs %d; use a "
                       "kernel with 4 KiB pages, or --fabric sim",
                       host_page_bytes, FL_PAGE_BYTES);
    if (!knows_access)
        return fl_fail(err, FL_EUNSUPPORTED,
                       "tracker mprotect cannot tell loads from stores on this processor; run on "
                       "x86-64 or arm64, or use --fabric sim");
    return FL_OK;
}

static int check_cfg(const struct coh_cfg *cfg, struct fl_errmsg *err)
{
    if (cfg->threads_max == 0 || cfg->threads_max > COH_THREADS_MAX)
        return fl_fail(err, FL_EINVAL, "%u threads; give 1 to %d", cfg->threads_max,
                       COH_THREADS_MAX);
    if (cfg->cached_pages_max == 0 || cfg->cached_pages_max > UINT32_MAX / 8)
        return fl_fail(err, FL_EINVAL, "device memory of %u pages; give 1 to 2^29",
                       cfg->cached_pages_max);
    if (cfg->spin < COH_WAIT_ADAPTIVE || cfg->spin > COH_WAIT_SPIN)
        return fl_fail(err, FL_EINVAL, "there is no way to wait number %d", cfg->spin);
    return FL_OK;
}

static int init_queues(struct mp_tracker *t, struct fl_errmsg *err)
{
    uint32_t pages = t->cfg.cached_pages_max + TWINS_SPARE;
    t->want_cap = pages + t->cfg.threads_max;
    t->fifo_cap = 1;
    while (t->fifo_cap < 2 * (pages + t->cfg.threads_max))
        t->fifo_cap *= 2;
    t->fifo = calloc(t->fifo_cap, sizeof *t->fifo);
    t->wants = calloc(t->want_cap, sizeof *t->wants);
    if (!t->fifo || !t->wants)
        return fl_fail(err, FL_ENOMEM, "no memory for queues of %u pages", pages);
    int rc = coh_twins_new(pages + t->cfg.threads_max, &t->twins, err);
    if (rc != FL_OK)
        return rc;
    return coh_notes_init(&t->notes, coh_twins_count(t->twins) + t->cfg.threads_max, err);
}

int coh_mprotect_new(const struct coh_cfg *cfg, struct coh_tracker **ret, struct fl_errmsg *err)
{
    static _Atomic uint64_t serials;
    int rc = check_cfg(cfg, err);
    if (rc == FL_OK)
        rc = mp_check_host(sysconf(_SC_PAGESIZE), coh_arch_knows_access(), err);
    if (rc != FL_OK)
        return rc;
    struct mp_tracker *t = aligned_alloc(64, sizeof *t);
    if (!t)
        return fl_fail(err, FL_ENOMEM, "no memory for the tracker");
    memset(t, 0, sizeof *t);
    t->base.ops = &mp_ops;
    t->cfg = *cfg;
    t->serial = atomic_fetch_add(&serials, 1) + 1;
    t->stack_bytes = mp_stack_bytes();
    t->processors = mp_processors();
    coh_maps_init(&t->maps);
    rc = init_queues(t, err);
    if (cfg->coro.yield) {
        t->notes.wake = cfg->coro.wake_device;
        t->notes.wake_arg = cfg->coro.arg;
    }
    if (rc == FL_OK)
        rc = mp_trap_install(t, err);
    if (rc != FL_OK) {
        struct coh_tracker *base = &t->base;
        mp_free(&base);
        return rc;
    }
    *ret = &t->base;
    return FL_OK;
}

int coh_region_error(struct coh_tracker *base, uint16_t region)
{
    FL_ASSERT(region < COH_REGIONS_MAX);
    return atomic_load(&mp(base)->regions[region].error);
}

void mp_set_map_limit(struct coh_tracker *base, int64_t limit)
{
    mp(base)->maps.limit = limit;
}
