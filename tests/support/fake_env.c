/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/fake_env.h"

#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/mech/wb_priv.h"

static struct fk_page *page_of(struct fake *f, uint16_t region, uint32_t page)
{
    FL_ASSERT(region < FK_REGIONS && page < FK_PAGES);
    return &f->pages[region * FK_PAGES + page];
}

static struct fk_call *record(struct fl_env *e, enum fl_call kind, uint64_t tag)
{
    struct fake *f = (struct fake *)e;
    struct fk_call *c;

    FL_ASSERT(f->call_count < FK_CALLS);
    c = &f->calls[f->call_count++];
    memset(c, 0, offsetof(struct fk_call, lines));
    c->kind = kind;
    c->tag = tag;
    return c;
}

static uint64_t env_now(struct fl_env *e)
{
    return ((struct fake *)e)->now_ns;
}

static uint64_t env_rng(struct fl_env *e, enum fl_stream s)
{
    (void)e;
    (void)s;
    return 4;
}

static void env_timer(struct fl_env *e, uint64_t tag, uint64_t after_ns)
{
    struct fake *f = (struct fake *)e;
    uint32_t i = 0;

    while (i < f->timer_count && f->timers[i].tag != tag) {
        i++;
    }
    if (i == f->timer_count) {
        FL_ASSERT(f->timer_count < FK_TIMERS);
        f->timer_count++;
    }
    f->timers[i].tag = tag;
    f->timers[i].after_ns = after_ns;
}

static void env_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    struct fake *f = (struct fake *)e;
    struct fk_call *c = record(e, FL_CALL_SEND, tag);

    c->node = node;
    c->msg = *m;
    for (uint16_t i = 0; i < m->entry_count; i++) {
        memcpy(c->lines[i], f->bufs[m->entries[i].buf], sizeof c->lines[i]);
    }
}

static void env_read(struct fl_env *e, const struct fl_rma *op)
{
    struct fk_call *c = record(e, FL_CALL_RMA_READ, op->tag);

    c->rma = *op;
    c->region = op->region;
    c->page = op->page;
    c->node = op->slot.node;
}

static void env_write(struct fl_env *e, const struct fl_rma *op)
{
    struct fk_call *c = record(e, FL_CALL_RMA_WRITE, op->tag);

    c->rma = *op;
    c->region = op->region;
    c->page = op->page;
    c->node = op->slot.node;
}

static void env_fence(struct fl_env *e, uint16_t node, uint64_t tag)
{
    record(e, FL_CALL_FENCE, tag)->node = node;
}

static void env_gate(struct fl_env *e, uint16_t region, uint32_t page, uint32_t count,
                     enum fl_prot prot, uint64_t tag)
{
    struct fk_call *c = record(e, FL_CALL_GATE, tag);

    c->region = region;
    c->page = page;
    c->count = count;
    c->prot = prot;
}

static fl_mask env_snap(struct fl_env *e, uint16_t region, uint32_t page, uint32_t buf)
{
    struct fake *f = (struct fake *)e;
    struct fk_page *p = page_of(f, region, page);
    fl_mask m = 0;

    FL_ASSERT(p->prot != FL_PROT_RW);
    for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
        m |= (fl_mask)(p->twin && p->live[i] != p->old[i]) << i;
    }
    memcpy(f->bufs[buf], p->live, sizeof p->live);
    p->twin = false;
    return m;
}

static void env_install(struct fl_env *e, uint16_t region, uint32_t page, fl_mask mask,
                        struct fl_src src)
{
    struct fake *f = (struct fake *)e;
    struct fk_page *p = page_of(f, region, page);

    FL_ASSERT(src.kind == FL_SRC_BUF && p->prot == FL_PROT_NONE);
    p->present = true;
    for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
        if ((mask >> i) & 1) {
            p->live[i] = f->bufs[src.idx][i];
        }
    }
}

static void env_map(struct fl_env *e, uint16_t region, uint32_t page, enum fl_map_kind kind,
                    struct fl_slot slot, uint64_t tag)
{
    struct fk_call *c = record(e, FL_CALL_MAP, tag);

    (void)slot;
    FL_ASSERT(page_of((struct fake *)e, region, page)->prot == FL_PROT_NONE);
    c->region = region;
    c->page = page;
    c->map = kind;
}

static void env_resume(struct fl_env *e, uint32_t ticket, int status)
{
    struct fake *f = (struct fake *)e;

    FL_ASSERT(f->resume_count < FK_RESUMES);
    f->resumes[f->resume_count].ticket = ticket;
    f->resumes[f->resume_count++].status = status;
}

static void env_site(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a, uint64_t b)
{
    (void)region;
    (void)a;
    (void)b;
    ((struct fake *)e)->sites[id]++;
}

static const struct fl_env_ops ops = {
    .now = env_now,
    .rng = env_rng,
    .timer = env_timer,
    .send = env_send,
    .rma_read = env_read,
    .rma_write = env_write,
    .fence = env_fence,
    .gate = env_gate,
    .snap = env_snap,
    .install = env_install,
    .map = env_map,
    .resume = env_resume,
    .site = env_site,
};

struct wb_cfg fk_cfg(void)
{
    struct wb_cfg c = {.region_count = 1,
                       .thread_count = 1,
                       .capacity_pages = 4,
                       .dclb_lines = 256,
                       .buf_count = 8,
                       .log_batch_pages = 4,
                       .retry_max = 3};

    c.regions[0] = (struct wb_region_cfg){.page_count = 8,
                                          .chunk_count = 1,
                                          .chunks = {{.node = 1, .chunk = 0, .page_count = 8}},
                                          .period_ns = FL_NS_PER_MS,
                                          .op_deadline_ns = FL_NS_PER_S,
                                          .close_deadline_ns = 5 * FL_NS_PER_S,
                                          .threshold_lines = 32,
                                          .lease_epoch = 7};
    return c;
}

struct fake *fk_new(const struct wb_cfg *cfg)
{
    struct fake *f = calloc(1, sizeof *f);
    size_t n = wb_size(cfg);
    void *mem = aligned_alloc(64, n);

    FL_ASSERT(f != NULL && mem != NULL);
    memset(mem, 0, n);
    f->env.ops = &ops;
    f->cfg = *cfg;
    f->wb = wb_init(mem, cfg);
    for (uint32_t p = 0; p < FK_REGIONS * FK_PAGES; p++) {
        for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
            f->pages[p].remote[i] = f->pages[p].shadow[i] = ++f->version;
        }
    }
    FK_EV(f, .kind = FL_EV_START);
    return f;
}

void fk_free(struct fake **f)
{
    if (*f != NULL) {
        free((*f)->wb);
        free(*f);
        *f = NULL;
    }
}

void fk_ev(struct fake *f, struct fl_event ev)
{
    wb_step(f->wb, &f->env, &ev);
    f->rows |= wb_rows_taken(f->wb);
}

struct fk_call *fk_find_page(struct fake *f, enum fl_call kind, uint32_t page)
{
    for (uint32_t i = 0; i < f->call_count; i++) {
        struct fk_call *c = &f->calls[i];

        if (c->kind == kind && !c->answered &&
            (page == UINT32_MAX ||
             (page >= c->page && page < c->page + (c->count ? c->count : 1)))) {
            return c;
        }
    }
    return NULL;
}

struct fk_call *fk_find(struct fake *f, enum fl_call kind)
{
    return fk_find_page(f, kind, UINT32_MAX);
}

uint32_t fk_pending(struct fake *f, enum fl_call kind)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->call_count; i++) {
        n += f->calls[i].kind == kind && !f->calls[i].answered;
    }
    return n;
}

uint32_t fk_count(struct fake *f, enum fl_call kind)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->call_count; i++) {
        n += f->calls[i].kind == kind;
    }
    return n;
}

const struct fl_msg *fk_sent(struct fake *f, uint8_t type)
{
    for (uint32_t i = f->call_count; i > 0; i--) {
        if (f->calls[i - 1].kind == FL_CALL_SEND && f->calls[i - 1].msg.type == type) {
            return &f->calls[i - 1].msg;
        }
    }
    return NULL;
}

/* Page of a region that a slot holds. */
static struct fk_page *slot_page(struct fake *f, uint16_t node, uint16_t chunk, uint32_t page)
{
    for (uint16_t r = 0; r < f->cfg.region_count; r++) {
        for (uint32_t p = 0; p < f->cfg.regions[r].page_count; p++) {
            struct fl_slot s = wb_slot(&f->cfg, r, p);

            if (s.node == node && s.chunk == chunk && s.page == page) {
                return page_of(f, r, p);
            }
        }
    }
    fl_assert_fail("slot of no region", __FILE__, __LINE__);
}

static void put_lines(uint32_t *dst, const uint32_t *src, fl_mask m)
{
    for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
        if ((m >> i) & 1) {
            dst[i] = src[i];
        }
    }
}

static void apply(struct fake *f, struct fk_call *c)
{
    switch (c->kind) {
    case FL_CALL_RMA_READ:
        put_lines(f->bufs[c->rma.buf],
                  slot_page(f, c->rma.slot.node, c->rma.slot.chunk, c->rma.slot.page)->remote,
                  c->rma.mask);
        break;
    case FL_CALL_RMA_WRITE:
        put_lines(slot_page(f, c->rma.slot.node, c->rma.slot.chunk, c->rma.slot.page)->remote,
                  f->bufs[c->rma.buf], c->rma.mask);
        break;
    case FL_CALL_GATE:
        for (uint32_t p = c->page; p < c->page + c->count; p++) {
            struct fk_page *pg = page_of(f, c->region, p);

            if (c->prot == FL_PROT_RW && pg->prot != FL_PROT_RW) {
                memcpy(pg->old, pg->live, sizeof pg->old);
                pg->twin = true;
            }
            pg->prot = c->prot;
        }
        break;
    case FL_CALL_MAP:
        memset(page_of(f, c->region, c->page)->live, 0xdd, sizeof f->pages[0].live);
        page_of(f, c->region, c->page)->present = false;
        break;
    case FL_CALL_SEND:
        for (uint16_t i = 0; c->msg.type == FL_MSG_LOG_BATCH && i < c->msg.entry_count; i++) {
            const struct fl_msg_entry *n = &c->msg.entries[i];

            put_lines(slot_page(f, c->node, n->chunk, n->page)->remote, c->lines[i], n->mask);
        }
        break;
    default:
        break;
    }
}

void fk_done(struct fake *f, struct fk_call *c, int status)
{
    FL_ASSERT(c != NULL && !c->answered);
    enum fl_ev_kind kind = c->kind == FL_CALL_GATE  ? FL_EV_GATED
                           : c->kind == FL_CALL_MAP ? FL_EV_MAPPED
                                                    : FL_EV_DONE;

    c->answered = true;
    if (status == FL_OK) {
        apply(f, c);
    }
    FK_EV(f, .kind = kind, .tag = c->tag, .status = status);
}

void fk_answer(struct fake *f, struct fk_call *c, int status)
{
    static const uint8_t reply[] = {[FL_MSG_OPEN_REQ] = FL_MSG_OPEN_ACK,
                                    [FL_MSG_CLOSE_REQ] = FL_MSG_CLOSE_ACK,
                                    [FL_MSG_LOG_BATCH] = FL_MSG_LOG_ACK};
    struct fl_msg m = c->msg;

    fk_done(f, c, status);
    if (c->kind == FL_CALL_SEND && status == FL_OK) {
        m.type = reply[m.type];
        m.status = FL_OK;
        m.entry_count = 0;
        FK_EV(f, .kind = FL_EV_MSG, .node = c->node, .msg = &m);
    }
}

bool fk_run(struct fake *f)
{
    for (int step = 0; step < 20000; step++) {
        uint32_t i = 0;

        while (i < f->call_count && f->calls[i].answered) {
            i++;
        }
        if (i == f->call_count) {
            f->call_count = 0;
            if (!fk_fire(f, 13 /* go on */)) {
                return true;
            }
            continue;
        }
        fk_answer(f, &f->calls[i], FL_OK);
    }
    return false;
}

static int timer_of(struct fake *f, unsigned kind)
{
    for (uint32_t i = 0; i < f->timer_count; i++) {
        if (f->timers[i].tag >> 56 == kind && f->timers[i].after_ns != FL_NEVER) {
            return (int)i;
        }
    }
    return -1;
}

bool fk_armed(struct fake *f, unsigned kind)
{
    return timer_of(f, kind) >= 0;
}

bool fk_fire(struct fake *f, unsigned kind)
{
    int i = timer_of(f, kind);

    if (i < 0) {
        return false;
    }
    f->timers[i].after_ns = FL_NEVER;
    FK_EV(f, .kind = FL_EV_TIMER, .tag = f->timers[i].tag);
    return true;
}

void fk_open(struct fake *f, uint16_t region)
{
    FK_EV(f, .kind = FL_EV_OPEN, .ticket = 1000u + region, .region = region);
    FL_ASSERT(fk_run(f) && wb_region_state(f->wb, region) == WB_OPEN);
}

bool fk_load(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page)
{
    if (page_of(f, region, page)->prot != FL_PROT_NONE) {
        return true;
    }
    FK_EV(f, .kind = FL_EV_MISS, .ticket = ticket, .region = region, .page = page,
          .access = FL_LOAD);
    return false;
}

bool fk_store(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page, unsigned line)
{
    struct fk_page *p = page_of(f, region, page);
    bool first = p->prot == FL_PROT_READ;

    if (p->prot == FL_PROT_NONE) {
        FK_EV(f, .kind = FL_EV_MISS, .ticket = ticket, .region = region, .page = page,
              .access = FL_STORE);
        return false;
    }
    if (first) {
        memcpy(p->old, p->live, sizeof p->old);
        p->twin = true;
        p->prot = FL_PROT_RW;
    }
    p->live[line] = p->shadow[line] = ++f->version;
    if (first || p->exact) {
        FK_EV(f, .kind = FL_EV_DIRTY, .region = region, .page = page,
              .mask = p->exact ? (fl_mask)1 << line : 0);
    }
    return true;
}

void fk_touch(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page)
{
    for (int i = 0; !fk_load(f, ticket, region, page); i++) {
        FL_ASSERT(i < 4 && fk_run(f));
    }
}

void fk_write(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page, unsigned line)
{
    for (int i = 0; !fk_store(f, ticket, region, page, line); i++) {
        FL_ASSERT(i < 4 && fk_run(f));
    }
}

int fk_status(struct fake *f, uint32_t ticket)
{
    for (uint32_t i = f->resume_count; i > 0; i--) {
        if (f->resumes[i - 1].ticket == ticket) {
            return f->resumes[i - 1].status;
        }
    }
    return 1;
}

enum wb_page_state fk_state(struct fake *f, uint32_t page)
{
    return wb_page_state(f->wb, 0, page);
}

uint32_t fk_differ(struct fake *f, uint16_t region)
{
    uint32_t n = 0;

    for (uint32_t p = 0; p < f->cfg.regions[region].page_count; p++) {
        const struct fk_page *pg = page_of(f, region, p);

        for (unsigned i = 0; i < FL_PAGE_LINES; i++) {
            n += pg->remote[i] != pg->shadow[i];
        }
    }
    return n;
}

struct fake *fk_opened(const struct wb_cfg *cfg)
{
    struct fake *f = fk_new(cfg);

    fk_open(f, 0);
    return f;
}

struct fk_call *fk_in_flight(struct fake *f, unsigned line)
{
    fk_write(f, 0, 0, 0, line);
    FL_ASSERT(fk_fire(f, WB_T_PERIOD));
    fk_done(f, fk_find(f, FL_CALL_GATE), FL_OK);
    return fk_find(f, FL_CALL_RMA_WRITE);
}
