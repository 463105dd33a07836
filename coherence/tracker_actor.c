/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/tracker_actor.h"

#include <stdlib.h>
#include <string.h>

#include "coherence/diff.h"
#include "coherence/gate.h"
#include "emu/base/assert.h"

enum {
    SPARE_TWINS = 16, /* beyond one per cached page and thread, as in the mprotect tracker */
    FRAMES_PER_BLOCK = 64,
    NO_FRAME = 0,     /* frames are numbered from 1 */
    HELD_ROUNDS = 24, /* looks at a page that waits for its snap before the device is asked */
    INSN_BYTES = 8,   /* an access that crosses pages by less needs both at once */
};

struct page {
    _Atomic uint32_t gate;
    uint32_t frame, twin;
    fl_mask told; /* exact: lines whose first store was told since the twin */
};

struct region {
    struct page *pages;
    uint32_t page_count;
    int error;
};

/* What a thread does next with the piece at hand. */
enum todo { TRY, COPY_TWIN, TELL, OPEN_GATE, WAIT };

struct thread {
    struct coh_access a;
    uint32_t pos; /* bytes done */
    uint8_t todo;
    bool busy;       /* an access is under way */
    uint32_t page;   /* whose gate this thread holds: COPY_TWIN .. OPEN_GATE */
    uint32_t rounds; /* looks at a held page */
    uint32_t fresh;  /* twin being made */
    uint64_t waits;
    int status;
};

struct actor {
    struct coh_tracker base;
    struct coh_actor_cfg cfg;
    struct region regions[COH_REGIONS_MAX];
    struct thread threads[COH_THREADS_MAX];
    uint8_t **blocks; /* of FRAMES_PER_BLOCK pages */
    uint32_t block_count, frame_count;
    uint32_t *free_frames;
    uint32_t free_count, free_cap;
    struct coh_note *fifo; /* ring, a power of two */
    uint32_t fifo_head, fifo_len, fifo_cap;
    uint32_t urgent; /* notes in it that wake the device even when armed */
    bool armed;
    uint32_t twin_limit;
    int64_t mappings; /* an estimate: borders that change at once are counted twice */
    struct coh_stats stats;
};

static struct actor *of(struct coh_tracker *t)
{
    return (struct actor *)t;
}

static const struct actor *of_const(const struct coh_tracker *t)
{
    return (const struct actor *)t;
}

/* --- frames --------------------------------------------------------------------------------- */

static uint8_t *frame(const struct actor *t, uint32_t f)
{
    return t->blocks[(f - 1) / FRAMES_PER_BLOCK] +
           (size_t)((f - 1) % FRAMES_PER_BLOCK) * FL_PAGE_BYTES;
}

static void *must(void *p)
{
    FL_ASSERT(p != NULL); /* the simulator has no one to hand this to */
    return p;
}

static uint32_t frame_take(struct actor *t)
{
    if (t->free_count)
        return t->free_frames[--t->free_count];
    if (t->frame_count % FRAMES_PER_BLOCK == 0) {
        t->blocks = must(realloc(t->blocks, (t->block_count + 1) * sizeof *t->blocks));
        t->blocks[t->block_count++] = must(malloc((size_t)FRAMES_PER_BLOCK * FL_PAGE_BYTES));
    }
    return ++t->frame_count;
}

static void frame_give(struct actor *t, uint32_t f)
{
    if (t->free_count == t->free_cap) {
        t->free_cap = t->free_cap ? t->free_cap * 2 : 64;
        t->free_frames = must(realloc(t->free_frames, t->free_cap * sizeof *t->free_frames));
    }
    t->free_frames[t->free_count++] = f;
}

/** Bytes of a page that is or becomes accessible; zeros when it had none. */
static uint8_t *bytes_of(struct actor *t, struct page *p)
{
    if (p->frame == NO_FRAME) {
        p->frame = frame_take(t);
        memset(frame(t, p->frame), 0, FL_PAGE_BYTES);
    }
    return frame(t, p->frame);
}

/** A twin's frame, NO_FRAME when as many are taken as there may be. */
static uint32_t twin_take(struct actor *t)
{
    if (t->stats.twins == t->twin_limit)
        return NO_FRAME;
    t->stats.twins++;
    if (t->stats.twins > t->stats.twins_max)
        t->stats.twins_max = t->stats.twins;
    return frame_take(t);
}

static void twin_end(struct actor *t, struct page *p)
{
    if (p->twin != NO_FRAME) {
        frame_give(t, p->twin);
        t->stats.twins--;
    }
    p->twin = NO_FRAME;
    p->told = FL_MASK_NONE;
}

/* --- pages ---------------------------------------------------------------------------------- */

static struct page *page_at(struct actor *t, uint16_t region, uint32_t page)
{
    FL_ASSERT(region < COH_REGIONS_MAX && page < t->regions[region].page_count);
    return &t->regions[region].pages[page];
}

static uint32_t word(const struct page *p)
{
    return atomic_load_explicit(&p->gate, memory_order_relaxed);
}

static enum fl_prot prot_of(const struct page *p)
{
    return coh_gate_prot(word(p));
}

static bool any_plant(const struct actor *t)
{
    return (t->cfg.base.plants.bits[0] | t->cfg.base.plants.bits[1]) != 0;
}

/** Borders between pages of different protection: what a kernel counts as mappings. */
static int64_t border_delta(const struct region *r, uint32_t page, uint32_t count, enum fl_prot to)
{
    int64_t delta = 0;
    for (uint32_t i = page; i <= page + count; i++) {
        if (i == 0 || i == r->page_count)
            continue;
        enum fl_prot a = prot_of(&r->pages[i - 1]), b = prot_of(&r->pages[i]);
        enum fl_prot a2 = i > page ? to : a, b2 = i < page + count ? to : b;
        delta += (a2 != b2) - (a != b);
    }
    return delta;
}

static bool reserve_mappings(struct actor *t, int64_t delta, bool raising)
{
    int64_t want = t->mappings + delta;
    if (t->cfg.mappings_max && raising && delta > 0 && want > (int64_t)t->cfg.mappings_max)
        return false;
    t->mappings = want;
    return true;
}

/* --- notes ---------------------------------------------------------------------------------- */

static void tell(struct actor *t, const struct coh_note *note)
{
    if (t->fifo_len == t->fifo_cap) {
        uint32_t cap = t->fifo_cap ? t->fifo_cap * 2 : 64;
        struct coh_note *bigger = must(malloc(cap * sizeof *bigger));
        for (uint32_t i = 0; i < t->fifo_len; i++)
            bigger[i] = t->fifo[(t->fifo_head + i) & (t->fifo_cap - 1)];
        free(t->fifo);
        t->fifo = bigger;
        t->fifo_cap = cap;
        t->fifo_head = 0;
    }
    t->fifo[(t->fifo_head + t->fifo_len++) & (t->fifo_cap - 1)] = *note;
    t->urgent += note->kind != COH_NOTE_DIRTY;
}

static bool actor_next(struct coh_tracker *base, struct coh_note *ret)
{
    struct actor *t = of(base);
    if (t->fifo_len == 0)
        return false;
    *ret = t->fifo[t->fifo_head];
    t->fifo_head = (t->fifo_head + 1) & (t->fifo_cap - 1);
    t->fifo_len--;
    t->urgent -= ret->kind != COH_NOTE_DIRTY;
    return true;
}

bool coh_actor_urgent(const struct coh_tracker *base)
{
    const struct actor *t = of_const(base);
    return t->urgent > 0 || (t->fifo_len > 0 && !t->armed);
}

static int actor_wake_fd(struct coh_tracker *base)
{
    (void)base;
    return -1;
}

static void actor_armed(struct coh_tracker *base, bool armed)
{
    of(base)->armed = armed;
}

/* --- what the device does ------------------------------------------------------------------- */

static int gates_free(struct actor *t, struct region *r, uint32_t page, uint32_t count,
                      enum fl_prot prot)
{
    (void)t;
    for (uint32_t i = 0; i < count; i++) {
        struct page *p = &r->pages[page + i];
        if (coh_gate_do(&p->gate, coh_gate_to(prot)) != COH_GATE_BUSY)
            continue;
        for (uint32_t k = 0; k < i; k++)
            coh_gate_do(&r->pages[page + k].gate, COH_OP_CANCEL);
        return FL_EAGAIN;
    }
    return FL_OK;
}

static int twins_for(struct actor *t, struct region *r, uint32_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct page *p = &r->pages[page + i];
        if (p->twin != NO_FRAME)
            continue;
        uint32_t twin = twin_take(t);
        if (twin == NO_FRAME)
            return FL_ENOSPC;
        p->twin = twin;
        memcpy(frame(t, p->twin), bytes_of(t, p), FL_PAGE_BYTES);
    }
    return FL_OK;
}

static int actor_gate(struct coh_tracker *base, uint16_t region, uint32_t page, uint32_t count,
                      enum fl_prot prot)
{
    struct actor *t = of(base);
    struct region *r = &t->regions[region];
    FL_ASSERT(count > 0 && count <= r->page_count && page <= r->page_count - count);
    int rc = gates_free(t, r, page, count, prot);
    if (rc != FL_OK)
        return rc;
    bool raising = false;
    for (uint32_t i = 0; i < count; i++)
        raising |= prot_of(&r->pages[page + i]) < prot;
    if ((prot == FL_PROT_RW && twins_for(t, r, page, count) != FL_OK) ||
        !reserve_mappings(t, border_delta(r, page, count, prot), raising)) {
        t->stats.map_refusals++;
        for (uint32_t i = 0; i < count; i++)
            coh_gate_do(&r->pages[page + i].gate, COH_OP_CANCEL);
        return FL_ENOSPC;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct page *p = &r->pages[page + i];
        t->stats.resident_pages += (prot != FL_PROT_NONE);
        t->stats.resident_pages -= (prot_of(p) != FL_PROT_NONE);
        coh_gate_do(&p->gate, COH_OP_END);
    }
    if (t->stats.resident_pages > t->stats.resident_pages_max)
        t->stats.resident_pages_max = t->stats.resident_pages;
    return FL_OK;
}

static fl_mask actor_snap(struct coh_tracker *base, uint16_t region, uint32_t page, uint8_t *dst)
{
    struct actor *t = of(base);
    struct page *p = page_at(t, region, page);
    uint32_t w = word(p);
    memcpy(dst, bytes_of(t, p), FL_PAGE_BYTES);
    FL_ASSERT(coh_gate_prot(w) != FL_PROT_RW || any_plant(t));
    if (!(w & COH_GATE_F_HELD) && coh_gate_prot(w) == FL_PROT_READ)
        return FL_MASK_NONE; /* fetched and not gated since: a twin may be a thread's right now */
    fl_mask mask = FL_MASK_NONE;
    if (p->twin != NO_FRAME)
        mask = coh_diff(dst, frame(t, p->twin));
    twin_end(t, p);
    coh_gate_do(&p->gate, COH_OP_RELEASE);
    return mask;
}

static fl_mask actor_peek(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    struct actor *t = of(base);
    struct page *p = page_at(t, region, page);
    if (t->cfg.sight == COH_EXACT || coh_gate_busy(word(p)) || p->twin == NO_FRAME)
        return FL_MASK_NONE;
    return coh_diff(bytes_of(t, p), frame(t, p->twin));
}

static void copy_lines(uint8_t *dst, const uint8_t *src, fl_mask mask)
{
    if (mask == FL_MASK_ALL) {
        memcpy(dst, src, FL_PAGE_BYTES);
        return;
    }
    for (; mask; mask &= mask - 1) {
        size_t at = (size_t)fl_mask_first(mask) * FL_LINE_BYTES;
        memcpy(dst + at, src + at, FL_LINE_BYTES);
    }
}

static void actor_install(struct coh_tracker *base, uint16_t region, uint32_t page, fl_mask mask,
                          const uint8_t *src)
{
    struct actor *t = of(base);
    struct page *p = page_at(t, region, page);
    copy_lines(bytes_of(t, p), src, mask);
    if (!coh_gate_busy(word(p)) && p->twin != NO_FRAME)
        copy_lines(frame(t, p->twin), src, mask); /* what arrives from the pool is not dirty */
}

static void actor_drop(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    struct actor *t = of(base);
    struct page *p = page_at(t, region, page);
    FL_ASSERT(prot_of(p) == FL_PROT_NONE || any_plant(t));
    if (prot_of(p) == FL_PROT_NONE)
        twin_end(t, p);
    if (p->frame != NO_FRAME)
        frame_give(t, p->frame);
    p->frame = NO_FRAME;
}

static const uint8_t *actor_live(struct coh_tracker *base, uint16_t region, uint32_t page)
{
    static const uint8_t zeros[FL_PAGE_BYTES];
    struct actor *t = of(base);
    struct page *p = page_at(t, region, page);
    return p->frame == NO_FRAME ? zeros : frame(t, p->frame);
}

/** Ends a wait: the access is tried again, or fails. */
static void wake(struct actor *t, uint32_t ticket, int status)
{
    struct thread *th = &t->threads[ticket];
    th->todo = TRY;
    th->rounds = 0;
    th->status = status;
    t->cfg.wake(t->cfg.arg, ticket);
}

static void actor_resume(struct coh_tracker *base, uint32_t ticket, int status)
{
    struct actor *t = of(base);
    FL_ASSERT(ticket < t->cfg.base.threads_max);
    if (t->threads[ticket].busy && t->threads[ticket].todo == WAIT)
        wake(t, ticket, status);
}

void coh_actor_expire(struct coh_tracker *base, uint32_t ticket, uint64_t nth)
{
    struct actor *t = of(base);
    struct thread *th = &t->threads[ticket];
    if (th->busy && th->todo == WAIT && th->waits == nth)
        wake(t, ticket, FL_ETIMEDOUT);
}

uint64_t coh_actor_waits(const struct coh_tracker *base, uint32_t ticket)
{
    return of_const(base)->threads[ticket].waits;
}

/* --- what a thread does --------------------------------------------------------------------- */

void coh_actor_begin(struct coh_tracker *base, uint32_t ticket, const struct coh_access *a)
{
    struct actor *t = of(base);
    FL_ASSERT(ticket < t->cfg.base.threads_max && !t->threads[ticket].busy);
    uint64_t region_bytes = (uint64_t)t->regions[a->region].page_count * FL_PAGE_BYTES;
    FL_ASSERT(a->len_bytes > 0 && a->off < region_bytes && a->len_bytes <= region_bytes - a->off);
    struct thread *th = &t->threads[ticket];
    uint64_t waits = th->waits;
    *th = (struct thread){.a = *a, .busy = true, .waits = waits};
}

uint32_t coh_actor_progress(const struct coh_tracker *base, uint32_t ticket)
{
    return of_const(base)->threads[ticket].pos;
}

int coh_actor_status(const struct coh_tracker *base, uint32_t ticket)
{
    return of_const(base)->threads[ticket].status;
}

/** Lines of [@off, @off + @len) that lie in @page. */
static fl_mask lines_in(uint64_t off, uint32_t len, uint32_t page)
{
    uint64_t lo = (uint64_t)page * FL_PAGE_BYTES, hi = lo + FL_PAGE_BYTES;
    uint64_t from = off > lo ? off : lo;
    uint64_t to = off + len < hi ? off + len : hi;
    unsigned first = (unsigned)((from - lo) / FL_LINE_BYTES);
    unsigned last = (unsigned)((to - 1 - lo) / FL_LINE_BYTES);
    return fl_mask_run(first, last - first + 1);
}

static enum coh_act ask_device(struct actor *t, uint32_t ticket, uint32_t page)
{
    struct thread *th = &t->threads[ticket];
    const struct coh_access *a = &th->a;
    bool exact = t->cfg.sight == COH_EXACT;
    th->todo = WAIT;
    th->waits++;
    t->stats.misses++;
    tell(t, &(struct coh_note){.kind = COH_NOTE_MISS,
                               .region = th->a.region,
                               .access = th->a.store ? FL_STORE : FL_LOAD,
                               .page = page,
                               .ticket = ticket,
                               .mask = exact ? lines_in(a->off, a->len_bytes, page) : 0});
    return COH_ACT_BLOCKED;
}

/** The access met a page that does not allow it. */
static enum coh_act trap(struct actor *t, uint32_t ticket, uint32_t page)
{
    struct thread *th = &t->threads[ticket];
    struct page *p = page_at(t, th->a.region, page);
    t->stats.traps++;
    switch (coh_gate_do(&p->gate, th->a.store ? COH_OP_TAKE : COH_OP_LOAD)) {
    case COH_GATE_OK:
        th->page = page;
        th->todo = COPY_TWIN;
        return COH_ACT_AGAIN;
    case COH_GATE_SHUT:
        return ask_device(t, ticket, page);
    case COH_GATE_HELD:
        return ++th->rounds < HELD_ROUNDS ? COH_ACT_AGAIN : ask_device(t, ticket, page);
    default:
        return COH_ACT_AGAIN; /* another thread holds the gate, or it has been opened meanwhile */
    }
}

static void gate_told(struct actor *t, struct thread *th, enum coh_gate_out out)
{
    if (out == COH_GATE_WANTED)
        tell(t, &(struct coh_note){
                    .kind = COH_NOTE_GATE_FREE, .region = th->a.region, .page = th->page});
}

/** First store to a clean page: the twin, unless there is no room for it or for a mapping. */
static enum coh_act copy_twin(struct actor *t, uint32_t ticket)
{
    struct thread *th = &t->threads[ticket];
    struct page *p = page_at(t, th->a.region, th->page);
    int64_t delta = border_delta(&t->regions[th->a.region], th->page, 1, FL_PROT_RW);
    bool room = reserve_mappings(t, delta, true);
    if (room && p->twin == NO_FRAME) {
        p->twin = twin_take(t);
        if (p->twin != NO_FRAME)
            memcpy(frame(t, p->twin), bytes_of(t, p), FL_PAGE_BYTES);
        else
            t->mappings -= delta;
        room = p->twin != NO_FRAME;
    }
    if (!room) {
        t->stats.map_refusals++;
        gate_told(t, th, coh_gate_do(&p->gate, COH_OP_BACK_OUT));
        return ask_device(t, ticket, th->page);
    }
    th->todo = TELL;
    return COH_ACT_AGAIN;
}

static void tell_dirty(struct actor *t, struct thread *th, uint32_t page, fl_mask lines)
{
    struct page *p = page_at(t, th->a.region, page);
    p->told |= lines;
    tell(t, &(struct coh_note){.kind = COH_NOTE_DIRTY,
                               .region = th->a.region,
                               .access = FL_STORE,
                               .page = page,
                               .mask = lines});
}

/** Bytes of the piece at @off: up to the end of its line; where the page ends within one
 * instruction, the instruction as a whole. */
static uint32_t piece(uint64_t off, uint32_t left)
{
    uint32_t to_line = FL_LINE_BYTES - (uint32_t)(off % FL_LINE_BYTES);
    uint32_t to_page = FL_PAGE_BYTES - (uint32_t)(off % FL_PAGE_BYTES);
    uint32_t n = to_page < INSN_BYTES ? INSN_BYTES : to_line;
    return n < left ? n : left;
}

/** Tells what the store at hand is going to dirty. */
static enum coh_act tell_opening(struct actor *t, struct thread *th)
{
    uint64_t off = th->a.off + th->pos;
    fl_mask lines = FL_MASK_NONE;
    if (t->cfg.sight == COH_EXACT)
        lines = lines_in(off, piece(off, th->a.len_bytes - th->pos), th->page);
    tell_dirty(t, th, th->page, lines);
    th->todo = OPEN_GATE;
    return COH_ACT_AGAIN;
}

static enum coh_act open_gate(struct actor *t, struct thread *th)
{
    struct page *p = page_at(t, th->a.region, th->page);
    gate_told(t, th, coh_gate_do(&p->gate, COH_OP_OPEN));
    t->stats.local_dirty++;
    th->todo = TRY;
    return COH_ACT_AGAIN;
}

static bool allows(const struct page *p, bool store)
{
    return prot_of(p) >= (store ? FL_PROT_RW : FL_PROT_READ);
}

/** The bytes of a piece that lie in one page; every page of the piece is open. */
static void move(struct actor *t, struct thread *th, uint64_t off, uint32_t done, uint32_t n)
{
    struct page *p = page_at(t, th->a.region, (uint32_t)(off / FL_PAGE_BYTES));
    uint8_t *at = bytes_of(t, p) + off % FL_PAGE_BYTES;
    if (!th->a.store) {
        memcpy(th->a.dst + done, at, n);
        return;
    }
    if (t->cfg.sight == COH_EXACT) {
        fl_mask line = (fl_mask)1 << (off % FL_PAGE_BYTES / FL_LINE_BYTES);
        if (!(p->told & line))
            tell_dirty(t, th, (uint32_t)(off / FL_PAGE_BYTES), line);
    }
    memcpy(at, th->a.src + done, n);
}

static enum coh_act try_piece(struct actor *t, uint32_t ticket)
{
    struct thread *th = &t->threads[ticket];
    uint64_t off = th->a.off + th->pos;
    uint32_t n = piece(off, th->a.len_bytes - th->pos);
    uint32_t first = (uint32_t)(off / FL_PAGE_BYTES);
    uint32_t last = (uint32_t)((off + n - 1) / FL_PAGE_BYTES);
    for (uint32_t page = first; page <= last; page++)
        if (!allows(page_at(t, th->a.region, page), th->a.store))
            return trap(t, ticket, page);
    uint32_t here = first == last ? n : FL_PAGE_BYTES - (uint32_t)(off % FL_PAGE_BYTES);
    move(t, th, off, th->pos, here);
    if (here < n)
        move(t, th, off + here, th->pos + here, n - here);
    th->pos += n;
    th->rounds = 0;
    if (th->pos < th->a.len_bytes)
        return COH_ACT_AGAIN;
    th->busy = false;
    return COH_ACT_DONE;
}

enum coh_act coh_actor_step(struct coh_tracker *base, uint32_t ticket)
{
    struct actor *t = of(base);
    struct thread *th = &t->threads[ticket];
    FL_ASSERT(th->busy);
    if (th->status != FL_OK) {
        t->regions[th->a.region].error = th->status;
        th->busy = false;
        return COH_ACT_FAILED;
    }
    switch ((enum todo)th->todo) {
    case TRY:
        return try_piece(t, ticket);
    case COPY_TWIN:
        return copy_twin(t, ticket);
    case TELL:
        return tell_opening(t, th);
    case OPEN_GATE:
        return open_gate(t, th);
    case WAIT:
        break;
    }
    return COH_ACT_BLOCKED;
}

/* --- regions and the whole ------------------------------------------------------------------ */

static int actor_region_add(struct coh_tracker *base, const struct coh_region_cfg *cfg,
                            void **ret_base, struct fl_errmsg *err)
{
    struct actor *t = of(base);
    if (cfg->region >= COH_REGIONS_MAX || t->regions[cfg->region].pages)
        return fl_fail(err, FL_EINVAL, "region number %u is taken or not below %d", cfg->region,
                       COH_REGIONS_MAX);
    if (cfg->len_bytes == 0 || cfg->len_bytes % FL_PAGE_BYTES ||
        cfg->len_bytes / FL_PAGE_BYTES > UINT32_MAX / 2)
        return fl_fail(err, FL_EINVAL, "region of %llu bytes; give a multiple of %d",
                       (unsigned long long)cfg->len_bytes, FL_PAGE_BYTES);
    struct region *r = &t->regions[cfg->region];
    r->page_count = (uint32_t)(cfg->len_bytes / FL_PAGE_BYTES);
    r->pages = calloc(r->page_count, sizeof *r->pages);
    if (!r->pages)
        return fl_fail(err, FL_ENOMEM, "no memory for a table of %u pages", r->page_count);
    t->mappings++;
    *ret_base = NULL;
    return FL_OK;
}

static void actor_region_remove(struct coh_tracker *base, uint16_t region)
{
    struct actor *t = of(base);
    struct region *r = &t->regions[region];
    for (uint32_t i = 0; i < r->page_count; i++) {
        struct page *p = &r->pages[i];
        t->stats.resident_pages -= prot_of(p) != FL_PROT_NONE;
        twin_end(t, p);
        if (p->frame != NO_FRAME)
            frame_give(t, p->frame);
    }
    free(r->pages);
    *r = (struct region){0};
}

static void actor_stats(struct coh_tracker *base, struct coh_stats *ret)
{
    *ret = of(base)->stats;
    ret->mappings = of(base)->mappings > 0 ? (uint64_t)of(base)->mappings : 0;
}

static void actor_free(struct coh_tracker **base)
{
    struct actor *t = base ? (struct actor *)*base : NULL;
    if (!t)
        return;
    for (uint16_t i = 0; i < COH_REGIONS_MAX; i++)
        free(t->regions[i].pages);
    for (uint32_t i = 0; i < t->block_count; i++)
        free(t->blocks[i]);
    free(t->blocks);
    free(t->free_frames);
    free(t->fifo);
    free(t);
    *base = NULL;
}

static const struct coh_tracker_ops actor_ops = {
    .name = "actor",
    .doc = "generated accesses in virtual time; lines exact, or unknown as mprotect sees them",
    .region_add = actor_region_add,
    .region_remove = actor_region_remove,
    .gate = actor_gate,
    .snap = actor_snap,
    .peek = actor_peek,
    .install = actor_install,
    .drop = actor_drop,
    .live = actor_live,
    .resume = actor_resume,
    .next = actor_next,
    .wake_fd = actor_wake_fd,
    .armed = actor_armed,
    .stats = actor_stats,
    .free = actor_free,
};

int coh_actor_new(const struct coh_actor_cfg *cfg, struct coh_tracker **ret, struct fl_errmsg *err)
{
    if (cfg->base.threads_max == 0 || cfg->base.threads_max > COH_THREADS_MAX)
        return fl_fail(err, FL_EINVAL, "%u threads; give 1 to %d", cfg->base.threads_max,
                       COH_THREADS_MAX);
    if (cfg->base.cached_pages_max == 0 || cfg->base.cached_pages_max > UINT32_MAX / 8)
        return fl_fail(err, FL_EINVAL, "device memory of %u pages; give 1 to 2^29",
                       cfg->base.cached_pages_max);
    struct actor *t = calloc(1, sizeof *t);
    if (!t)
        return fl_fail(err, FL_ENOMEM, "no memory for the tracker");
    t->base.ops = &actor_ops;
    t->cfg = *cfg;
    t->twin_limit = cfg->base.cached_pages_max + SPARE_TWINS + cfg->base.threads_max;
    *ret = &t->base;
    return FL_OK;
}
