/* SPDX-License-Identifier: Apache-2.0 */
/** The stack of fault filters: entries of operations, their lanes down and up, their answers. */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "transport/filter_int.h"

/* The highest bit tells our tags from those of calls that pass without an entry. */
#define OWN_TAG (UINT64_C(1) << 63)

/* --- entries -------------------------------------------------------------------------------- */

static int timers_reserve(struct tp_filters *f)
{
    uint32_t lanes = f->peer_count * (2 * FL_CLASSES + 1);
    return tpo_timers_reserve(&f->timers, f->op_count + lanes + FLT_COPIES_MAX);
}

static bool slab_add(struct tp_filters *f)
{
    uint32_t slab = f->op_count / FLT_OPS_SLAB;
    if (f->op_count == FLT_OPS_MAX)
        return false;
    if (slab == f->slab_cap) {
        uint32_t cap = f->slab_cap ? 2 * f->slab_cap : 8;
        struct flt_op **bigger = realloc(f->slabs, cap * sizeof(struct flt_op *));
        if (!bigger)
            return false;
        f->slabs = bigger;
        f->slab_cap = cap;
    }
    struct flt_op *ops = calloc(FLT_OPS_SLAB, sizeof *ops);
    f->op_count += FLT_OPS_SLAB;
    if (!ops || timers_reserve(f) != FL_OK) {
        f->op_count -= FLT_OPS_SLAB;
        free(ops);
        return false;
    }
    f->slabs[slab] = ops;
    for (uint32_t i = 0; i < FLT_OPS_SLAB; i++) {
        ops[i].idx = slab * FLT_OPS_SLAB + i;
        TAILQ_INSERT_TAIL(&f->free_ops, &ops[i], lane);
    }
    return true;
}

static void lane_init(struct flt_lane *l, struct flt_peer *p, uint8_t cls, bool up)
{
    l->timer.kind = FLT_T_LANE;
    l->peer = p;
    l->cls = cls;
    l->up = up;
    TAILQ_INIT(&l->ops);
}

struct flt_peer *flt_peer(struct tp_filters *f, uint16_t peer)
{
    uint16_t at = peer < f->nodes && peer != f->self ? peer : f->nodes;
    if (f->peers[at])
        return f->peers[at];
    struct flt_peer *p = calloc(1, sizeof *p);
    f->peer_count++;
    if (!p || timers_reserve(f) != FL_OK) {
        f->peer_count--;
        free(p);
        return NULL;
    }
    p->id = at;
    p->t_connect.kind = FLT_T_CONNECT;
    TAILQ_INIT(&p->live);
    TAILQ_INIT(&p->fences);
    for (int c = 0; c < FL_CLASSES; c++) {
        lane_init(&p->down[c], p, (uint8_t)c, false);
        lane_init(&p->up[c], p, (uint8_t)c, true);
    }
    return f->peers[at] = p;
}

struct flt_op *flt_op_new(struct tp_filters *f, enum flt_what what, uint16_t peer, uint64_t tag)
{
    struct flt_peer *p = flt_peer(f, peer);
    if (!p || (TAILQ_EMPTY(&f->free_ops) && !slab_add(f)))
        return NULL;
    struct flt_op *op = TAILQ_FIRST(&f->free_ops);
    uint32_t idx = op->idx, gen = op->gen;
    TAILQ_REMOVE(&f->free_ops, op, lane);
    memset(op, 0, sizeof *op);
    op->timer.kind = FLT_T_OP;
    op->idx = idx;
    op->gen = gen;
    op->tag = tag;
    op->serial = ++f->serial;
    op->peer = p->id;
    op->slot = FLT_NO_SLOT;
    op->what = (uint8_t)what;
    op->where = FLT_BELOW;
    op->used = true;
    op->deadline_at_ns = FL_NEVER;
    TAILQ_INSERT_TAIL(&p->live, op, live);
    return op;
}

static void op_free(struct tp_filters *f, struct flt_op *op)
{
    op->used = false;
    op->gen = (op->gen + 1) & INT32_MAX;
    TAILQ_INSERT_HEAD(&f->free_ops, op, lane);
}

void flt_op_free_all(struct tp_filters *f)
{
    for (uint32_t i = 0; i < f->op_count; i++)
        free(f->slabs[i / FLT_OPS_SLAB][i % FLT_OPS_SLAB].saved);
    for (uint32_t s = 0; s < f->op_count / FLT_OPS_SLAB; s++)
        free(f->slabs[s]);
    free(f->slabs);
    for (uint32_t i = 0; i <= f->nodes; i++)
        free(f->peers[i]);
    tpo_timers_done(&f->timers);
}

uint64_t flt_op_tag(const struct flt_op *op)
{
    return OWN_TAG | (uint64_t)op->gen << 32 | op->idx;
}

struct flt_op *flt_op_find(struct tp_filters *f, uint64_t tag)
{
    uint32_t idx = (uint32_t)tag;
    if (!(tag & OWN_TAG) || idx >= f->op_count)
        return NULL;
    struct flt_op *op = &f->slabs[idx / FLT_OPS_SLAB][idx % FLT_OPS_SLAB];
    return op->used && flt_op_tag(op) == tag ? op : NULL;
}

static struct flt_peer *peer_of(const struct tp_filters *f, const struct flt_op *op)
{
    return f->peers[op->peer];
}

/* --- answers -------------------------------------------------------------------------------- */

void flt_answer(struct tp_filters *f, struct flt_op *op, int status)
{
    if (op->answered)
        return;
    op->answered = op->ready = true;
    op->status = status;
    if (status == FL_ETIMEDOUT)
        f->timeouts++;
    tpo_timer_set(&f->timers, &op->timer, FL_NEVER);
    TAILQ_INSERT_TAIL(&f->ready, op, tell);
    f->ready_count++;
}

void flt_leave(struct tp_filters *f, struct flt_op *op)
{
    TAILQ_REMOVE(&peer_of(f, op)->live, op, live);
    tpo_timer_set(&f->timers, &op->timer, FL_NEVER);
    if (op->slot != FLT_NO_SLOT)
        f->slot_free[f->slot_free_count++] = op->slot;
    free(op->saved);
    op->saved = NULL;
    op->slot = FLT_NO_SLOT;
    op->where = FLT_GONE;
    if (!op->ready)
        op_free(f, op);
}

void flt_tell(struct tp_filters *f)
{
    /* What becomes ready meanwhile has its own turn: an owner that tries again at once must not
     * keep the loop here. */
    for (uint32_t left = f->ready_count; left; left--) {
        struct flt_op *op = TAILQ_FIRST(&f->ready);
        uint64_t tag = op->tag;
        int status = op->status;
        TAILQ_REMOVE(&f->ready, op, tell);
        f->ready_count--;
        op->ready = false;
        if (op->where == FLT_GONE)
            op_free(f, op);
        f->above.done(f->above.arg, tag, status);
    }
    for (uint16_t i = 0; f->credits_due && i < f->nodes; i++) {
        struct flt_peer *p = f->peers[i];
        for (int c = 0; p && c < FL_CLASSES; c++)
            if (p->credit_due >> c & 1) {
                p->credit_due &= (uint8_t) ~(1U << c);
                f->credits_due--;
                if (f->above.credit)
                    f->above.credit(f->above.arg, i, (enum fl_class)c);
            }
    }
}

static void credit_ready(struct tp_filters *f, struct flt_lane *l)
{
    struct flt_peer *p = l->peer;
    uint8_t bit = (uint8_t)(1U << l->cls);
    if (!(p->refused & bit) || l->no_credit || l->sends > FLT_SENDS_MAX / 2)
        return;
    p->refused &= (uint8_t)~bit;
    if (!(p->credit_due & bit))
        f->credits_due++;
    p->credit_due |= bit;
}

/* --- copies of written bytes ---------------------------------------------------------------- */

int flt_slots_reg(struct tp_filters *f)
{
    size_t bytes = (size_t)FLT_SLOTS * FL_PAGE_BYTES;
    f->slots_wanted = true;
    if (f->slots || !f->below)
        return FL_OK;
    f->slots = aligned_alloc(FL_PAGE_BYTES, bytes);
    if (!f->slots)
        return FL_ENOMEM;
    memset(f->slots, 0, bytes);
    if (f->below->ops->reg(f->below, f->slots, bytes, NULL) != FL_OK) {
        free(f->slots);
        f->slots = NULL;
        return FL_ENOMEM;
    }
    for (uint16_t i = 0; i < FLT_SLOTS; i++)
        f->slot_free[f->slot_free_count++] = i;
    return FL_OK;
}

static uint8_t *slot_mem(const struct tp_filters *f, const struct flt_op *op)
{
    return f->slots + (size_t)op->slot * FL_PAGE_BYTES;
}

bool flt_copy_bytes(struct tp_filters *f, struct flt_op *op)
{
    if (op->slot != FLT_NO_SLOT)
        return true;
    if (op->r.len_bytes > FL_PAGE_BYTES || f->slot_free_count == 0)
        return false;
    op->slot = f->slot_free[--f->slot_free_count];
    memcpy(slot_mem(f, op), op->r.local, op->r.len_bytes);
    return true;
}

/* --- down ----------------------------------------------------------------------------------- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void go_down(struct tp_filters *f, struct flt_op *op)
{
    struct tp_rma r = op->r;
    uint64_t now = flt_now(f);
    if (op->deadline_at_ns <= now)
        flt_answer(f, op, FL_ETIMEDOUT);
    if (op->answered && op->what == FLT_READ) {
        if (op->lie)
            flt_unchoose(op->lie);
        flt_leave(f, op);
        return;
    }
    r.tag = flt_op_tag(op);
    if (op->answered)
        r.deadline_ns = FLT_DEFAULT_DEADLINE_NS;
    else if (op->deadline_at_ns != FL_NEVER)
        r.deadline_ns = op->deadline_at_ns - now;
    if (op->slot != FLT_NO_SLOT)
        r.local = slot_mem(f, op);
    op->where = FLT_BELOW;
    tpo_timer_set(&f->timers, &op->timer, FL_NEVER);
    if (op->what == FLT_WRITE)
        f->below->ops->write(f->below, &r);
    else
        f->below->ops->read(f->below, &r);
}

static void lane_add(struct tp_filters *f, struct flt_lane *l, struct flt_op *op)
{
    op->where = l->up ? FLT_BACK : FLT_QUEUED;
    l->sends += op->what == FLT_SEND;
    TAILQ_INSERT_TAIL(&l->ops, op, lane);
    if (!op->answered)
        tpo_timer_set(&f->timers, &op->timer, op->deadline_at_ns);
    flt_lane_run(f, l);
}

static void lane_take(struct flt_lane *l, struct flt_op *op)
{
    l->sends -= op->what == FLT_SEND;
    TAILQ_REMOVE(&l->ops, op, lane);
}

static void wait_lost(struct tp_filters *f, struct flt_op *op)
{
    uint64_t at = op->deadline_at_ns;
    op->where = FLT_LOST;
    if (at == FL_NEVER)
        at = flt_now(f) + FLT_DEFAULT_DEADLINE_NS;
    tpo_timer_set(&f->timers, &op->timer, at);
}

static void wait_apart(struct tp_filters *f, struct flt_op *op, enum flt_where where)
{
    op->where = (uint8_t)where;
    tpo_timer_set(&f->timers, &op->timer,
                  op->answered ? op->due_ns : min_u64(op->due_ns, op->deadline_at_ns));
}

void flt_request_faults(struct tp_filters *f, struct flt_op *op)
{
    struct flt_fault *t;
    if (!peer_of(f, op)->session)
        return; /* nothing is on a link then: the port refuses it, or keeps it for the session */
    STAILQ_FOREACH(t, &f->armed, link)
    {
        const struct flt_kind *k = flt_kind_of(t);
        if (k->request && !op->lost && !op->apart)
            k->request(f, t, op);
    }
}

bool flt_must_queue(struct tp_filters *f, const struct flt_op *op)
{
    const struct flt_lane *l = &peer_of(f, op)->down[op->cls];
    return op->parked || op->due_ns > flt_now(f) || !TAILQ_EMPTY(&l->ops);
}

void flt_queue(struct tp_filters *f, struct flt_op *op)
{
    lane_add(f, &peer_of(f, op)->down[op->cls], op);
}

void flt_submit(struct tp_filters *f, struct flt_op *op)
{
    flt_request_faults(f, op);
    if (op->lost) {
        wait_lost(f, op);
    } else if (op->apart) {
        if (op->early)
            flt_answer(f, op, FL_OK);
        wait_apart(f, op, FLT_APART);
    } else if (flt_must_queue(f, op)) {
        flt_queue(f, op);
    } else {
        go_down(f, op);
    }
}

/* --- up ------------------------------------------------------------------------------------- */

static void clear_decisions(struct flt_op *op)
{
    op->due_ns = 0;
    op->due_by = op->parked = NULL;
    op->lost = op->apart = op->early = false;
}

static void rma_done(struct tp_filters *f, struct flt_op *op, int status)
{
    bool keep = op->slot != FLT_NO_SLOT && status != FL_OK;
    if (op->lie && (op->answered || status != FL_OK))
        flt_unchoose(op->lie);
    if (op->answered || status != FL_OK) {
        flt_answer(f, op, status);
        if (keep)
            op->where = FLT_KEPT;
        else
            flt_leave(f, op);
        return;
    }
    struct flt_fault *t;
    clear_decisions(op);
    op->status = FL_OK;
    STAILQ_FOREACH(t, &f->armed, link)
    if (flt_kind_of(t)->answer && !op->lost && !op->apart)
        flt_kind_of(t)->answer(f, t, op);
    struct flt_lane *l = &peer_of(f, op)->up[op->cls];
    if (op->lost) {
        wait_lost(f, op);
    } else if (op->apart) {
        wait_apart(f, op, FLT_LATE);
    } else if (op->parked || op->due_ns > flt_now(f) || !TAILQ_EMPTY(&l->ops)) {
        lane_add(f, l, op);
    } else {
        flt_answer(f, op, op->status);
        flt_leave(f, op);
    }
}

static void send_done(struct tp_filters *f, struct flt_op *op, int status)
{
    struct flt_peer *p = peer_of(f, op);
    struct flt_lane *l = &p->down[op->cls];
    if (op->where == FLT_BELOW) {
        if (status == FL_EAGAIN && !op->answered)
            p->refused |= (uint8_t)(1U << op->cls);
        flt_answer(f, op, status);
        flt_leave(f, op);
        return;
    }
    l->asked = false;
    l->no_credit = status == FL_EAGAIN;
    if (l->no_credit)
        return;
    lane_take(l, op);
    flt_leave(f, op);
    flt_lane_run(f, l);
}

void flt_below_done(struct tp_filters *f, struct flt_op *op, int status)
{
    if (op->what == FLT_SEND) {
        send_done(f, op, status);
    } else if (op->what == FLT_FENCE) {
        if (status == FL_OK)
            flt_fenced(f, peer_of(f, op), op->serial);
        flt_answer(f, op, status);
        flt_leave(f, op);
    } else {
        rma_done(f, op, status);
    }
}

/* --- lanes ---------------------------------------------------------------------------------- */

void flt_lane_run(struct tp_filters *f, struct flt_lane *l)
{
    struct flt_op *op;
    uint64_t now = flt_now(f), at_ns = FL_NEVER;
    while ((op = TAILQ_FIRST(&l->ops)) != NULL && !l->asked && !l->no_credit && !op->parked) {
        if (op->due_ns > now) {
            at_ns = op->due_ns;
            break;
        }
        if (op->what == FLT_SEND) {
            l->asked = true; /* it stays the head until the port has taken it */
            flt_send_below(f, op);
            break;
        }
        lane_take(l, op);
        if (l->up) {
            flt_answer(f, op, op->status);
            flt_leave(f, op);
        } else {
            go_down(f, op);
        }
    }
    tpo_timer_set(&f->timers, &l->timer, at_ns);
    if (!l->up)
        credit_ready(f, l);
}

void flt_lanes_run(struct tp_filters *f, struct flt_peer *p)
{
    for (int c = 0; c < FL_CLASSES; c++) {
        flt_lane_run(f, &p->down[c]);
        flt_lane_run(f, &p->up[c]);
    }
}

/** The lane that @op waits in; NULL when it waits in none. */
static struct flt_lane *lane_of(struct tp_filters *f, const struct flt_op *op)
{
    struct flt_peer *p = peer_of(f, op);
    if (op->where == FLT_BACK)
        return &p->up[op->cls];
    return op->where == FLT_QUEUED && op->what != FLT_FENCE ? &p->down[op->cls] : NULL;
}

void flt_op_expired(struct tp_filters *f, struct flt_op *op)
{
    uint64_t now = flt_now(f);
    struct flt_lane *l = lane_of(f, op);
    if (op->where == FLT_APART && op->due_ns <= now) {
        go_down(f, op);
    } else if (op->where == FLT_APART) {
        flt_answer(f, op, FL_ETIMEDOUT);
        wait_apart(f, op, FLT_APART);
    } else if (op->where == FLT_QUEUED && op->what == FLT_WRITE) {
        flt_answer(f, op, FL_ETIMEDOUT); /* it goes on its way all the same */
    } else {
        bool late = op->where == FLT_LATE && op->due_ns <= now;
        if (op->what == FLT_FENCE)
            TAILQ_REMOVE(&peer_of(f, op)->fences, op, lane);
        if (l)
            lane_take(l, op);
        if (op->where == FLT_QUEUED && op->lie)
            flt_unchoose(op->lie);
        flt_answer(f, op, late ? op->status : FL_ETIMEDOUT);
        flt_leave(f, op);
        if (l)
            flt_lane_run(f, l);
    }
}

/* --- the end of a session ------------------------------------------------------------------- */

static void flush_op(struct tp_filters *f, struct flt_op *op, int status)
{
    struct flt_lane *l = lane_of(f, op);
    if (op->where == FLT_BELOW)
        return; /* the port answers it */
    if (op->what == FLT_SEND && l && l->asked && op == TAILQ_FIRST(&l->ops)) {
        lane_take(l, op);
        op->where = FLT_BELOW; /* an answer to it is still to come */
        return;
    }
    if (l)
        lane_take(l, op);
    if (op->what == FLT_FENCE)
        TAILQ_REMOVE(&peer_of(f, op)->fences, op, lane);
    if (op->lie && op->where != FLT_BACK && op->where != FLT_LATE && op->where != FLT_LOST)
        flt_unchoose(op->lie);
    flt_answer(f, op, status);
    flt_leave(f, op);
}

void flt_flush(struct tp_filters *f, struct flt_peer *p, int status, bool gone)
{
    for (struct flt_op *op = TAILQ_FIRST(&p->live), *next; op; op = next) {
        next = TAILQ_NEXT(op, live);
        bool fence = op->what == FLT_FENCE;
        if (gone && fence)
            flush_op(f, op, status == FL_ETIMEDOUT ? FL_ETIMEDOUT : FL_EPEERDEAD);
        else if (!fence && op->where != FLT_KEPT)
            flush_op(f, op, status == FL_EFENCED || status == FL_EPEERDEAD ? status : FL_ECONN);
    }
    for (int c = 0; c < FL_CLASSES; c++) {
        struct flt_lane *l = &p->down[c];
        l->asked = l->no_credit = false;
        tpo_timer_set(&f->timers, &l->timer, FL_NEVER);
        tpo_timer_set(&f->timers, &p->up[c].timer, FL_NEVER);
        if (gone)
            p->refused = 0;
        credit_ready(f, l);
    }
}

void flt_fenced(struct tp_filters *f, struct flt_peer *p, uint64_t serial)
{
    for (struct flt_op *op = TAILQ_FIRST(&p->live), *next; op && op->serial < serial; op = next) {
        next = TAILQ_NEXT(op, live);
        if (op->where == FLT_KEPT)
            flt_leave(f, op);
    }
}
