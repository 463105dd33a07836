/* SPDX-License-Identifier: Apache-2.0 */
/** The stack of fault filters: what its owner and the port below see of it. */
#include "transport/filter.h"

#include <stdlib.h>
#include <string.h>

#include "transport/filter_int.h"
#include "transport/wire.h"

static const struct tp_fault_info INFO[TP_FAULT_COUNT] = {
#define X(e, name, doc) [e] = {name, doc},
    TP_FAULTS(X)
#undef X
};

static const struct flt_kind *const KINDS[TP_FAULT_COUNT] = {
    [TP_FAULT_DELAY] = &flt_delay,
    [TP_FAULT_RATE] = &flt_rate,
    [TP_FAULT_CUT] = &flt_cut,
    [TP_FAULT_CLOG] = &flt_clog,
    [TP_FAULT_DUPLICATE] = &flt_duplicate,
    [TP_FAULT_REORDER] = &flt_reorder,
    [TP_FAULT_DROP] = &flt_drop,
    [TP_FAULT_TRUNCATE] = &flt_truncate,
    [TP_FAULT_CORRUPT] = &flt_corrupt,
    [TP_FAULT_DONE_LOST] = &flt_done_lost,
    [TP_FAULT_DONE_LATE] = &flt_done_late,
    [TP_FAULT_DONE_ERROR] = &flt_done_error,
    [TP_FAULT_DONE_EARLY] = &flt_done_early,
    [TP_FAULT_STUCK] = &flt_stuck,
    [TP_FAULT_SHORT_READ] = &flt_short_read,
    [TP_FAULT_STALE_READ] = &flt_stale_read,
    [TP_FAULT_BIT_FLIP] = &flt_bit_flip,
    [TP_FAULT_REG_FAIL] = &flt_reg_fail,
};

const struct tp_fault_info *tp_fault_info(enum tp_fault_kind k)
{
    return (unsigned)k < TP_FAULT_COUNT ? &INFO[k] : NULL;
}

const struct flt_kind *flt_kind_of(const struct flt_fault *t)
{
    return KINDS[t->t.kind];
}

/* --- in and out ----------------------------------------------------------------------------- */

static void enter(struct tp_filters *f)
{
    f->depth++;
}

/** The outermost entry says when it wants to run again. */
static void leave(struct tp_filters *f)
{
    if (--f->depth)
        return;
    uint64_t at = f->ready_count || f->credits_due ? flt_now(f) : tpo_timers_next(&f->timers);
    if (at >= f->wish_ns)
        return;
    f->wish_ns = at;
    f->env.wake_at(f->env.arg, at);
}

static void timer_due(struct tp_filters *f, struct tpo_timer *t)
{
    switch ((enum flt_timer)t->kind) {
    case FLT_T_OP:
        flt_op_expired(f, (struct flt_op *)t);
        break;
    case FLT_T_LANE:
        flt_lane_run(f, (struct flt_lane *)t);
        break;
    case FLT_T_COPY:
        flt_copy_deliver(f, (struct flt_copy *)t);
        break;
    case FLT_T_CONNECT: {
        struct flt_peer *p = (struct flt_peer *)t;
        p->connecting = false;
        f->timeouts++;
        f->above.peer_down(f->above.arg, p->id, 0, FL_ETIMEDOUT);
        break;
    }
    }
}

void tp_filters_run(struct tp_filters *f)
{
    uint64_t now = flt_now(f);
    struct tpo_timer *t;
    enter(f);
    f->wish_ns = FL_NEVER;
    flt_tell(f);
    while ((t = tpo_timers_pop(&f->timers, now)) != NULL)
        timer_due(f, t);
    flt_tell(f);
    leave(f);
}

/* --- what faults use ------------------------------------------------------------------------ */

bool flt_out(const struct tp_filters *f, const struct flt_fault *t, uint16_t peer)
{
    return t->t.from == f->self && t->t.to == peer;
}

bool flt_in(const struct tp_filters *f, const struct flt_fault *t, uint16_t peer)
{
    return t->t.from == peer && t->t.to == f->self;
}

bool flt_choose(struct flt_fault *t, uint8_t cls)
{
    uint32_t every = t->t.every ? t->t.every : 1;
    if (t->t.classes && !(t->t.classes >> cls & 1))
        return false;
    if (t->t.count && t->taken >= t->t.count)
        return false;
    if (t->seen++ % every != 0)
        return false;
    t->taken++;
    return true;
}

void flt_unchoose(struct flt_fault *t)
{
    t->taken--;
}

bool flt_hit(struct flt_fault *t, uint8_t cls)
{
    bool hit = flt_choose(t, cls);
    t->fired += hit;
    return hit;
}

void flt_block(struct tp_filters *f, uint16_t peer, bool on)
{
    struct flt_peer *p = f->peers[peer];
    struct flt_op *op;
    p->cuts = on ? p->cuts + 1 : p->cuts - 1;
    if (p->cuts || !f->below)
        return;
    while ((op = TAILQ_FIRST(&p->fences)) != NULL) {
        TAILQ_REMOVE(&p->fences, op, lane);
        tpo_timer_set(&f->timers, &op->timer, FL_NEVER);
        op->where = FLT_BELOW;
        f->below->ops->fence(f->below, peer, flt_op_tag(op));
    }
    if (p->lost_messages)
        f->below->ops->sever(f->below, peer, FL_ECONN);
    p->lost_messages = false;
    if (p->connecting) {
        p->connecting = false;
        /* Fails by its own deadline if not otherwise: the caller of this one was told FL_OK. */
        if (f->below->ops->connect(f->below, peer, &p->addr, NULL) != FL_OK)
            p->connecting = true;
        else
            tpo_timer_set(&f->timers, &p->t_connect, FL_NEVER);
    }
}

void flt_mute(struct tp_filters *f, uint16_t peer, bool on)
{
    struct flt_peer *p = f->peers[peer];
    bool before = p->mutes != 0;
    p->mutes = on ? p->mutes + 1 : p->mutes - 1;
    if (f->below && before != (p->mutes != 0))
        f->below->ops->mute(f->below, peer, on);
}

/** A connection is wanted that a fault forbids; counts it. */
static bool blocked(struct tp_filters *f, struct flt_peer *p)
{
    struct flt_fault *t;
    if (!p->cuts)
        return false;
    STAILQ_FOREACH(t, &f->armed, link)
    if ((flt_kind_of(t) == &flt_cut || flt_kind_of(t) == &flt_clog) &&
        (flt_out(f, t, p->id) || flt_in(f, t, p->id)))
        t->fired++;
    return true;
}

/* --- the owner's side ----------------------------------------------------------------------- */

static struct tp_filters *of(struct tp_port *p)
{
    return (struct tp_filters *)p;
}

static int reg_faults(struct tp_filters *f, size_t len_bytes, struct fl_errmsg *err)
{
    struct flt_fault *t;
    STAILQ_FOREACH(t, &f->armed, link)
    {
        int rc = flt_kind_of(t)->reg ? flt_kind_of(t)->reg(f, t, len_bytes, err) : FL_OK;
        if (rc != FL_OK)
            return rc;
    }
    return FL_OK;
}

static int f_reg(struct tp_port *p, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct tp_filters *f = of(p);
    int rc = reg_faults(f, len_bytes, err);
    return rc != FL_OK ? rc : f->below->ops->reg(f->below, base, len_bytes, err);
}

static int f_expose(struct tp_port *p, void *base, size_t len_bytes, struct fl_errmsg *err)
{
    struct tp_filters *f = of(p);
    int rc = reg_faults(f, len_bytes, err);
    return rc != FL_OK ? rc : f->below->ops->expose(f->below, base, len_bytes, err);
}

static int f_listen(struct tp_port *p, struct tp_addr *ret_addr, struct fl_errmsg *err)
{
    return of(p)->below->ops->listen(of(p)->below, ret_addr, err);
}

static int f_connect(struct tp_port *port, uint16_t peer, const struct tp_addr *addr,
                     struct fl_errmsg *err)
{
    struct tp_filters *f = of(port);
    struct flt_peer *p = peer < f->nodes ? f->peers[peer] : NULL;
    if (!p || !blocked(f, p))
        return f->below->ops->connect(f->below, peer, addr, err);
    enter(f);
    p->connecting = true;
    p->addr = *addr;
    tpo_timer_set(&f->timers, &p->t_connect, flt_now(f) + f->env.connect_deadline_ns);
    leave(f);
    return FL_OK;
}

static void rma(struct tp_filters *f, const struct tp_rma *r, enum flt_what what)
{
    bool legal = r->peer < f->nodes && r->cls < FL_CLASSES;
    struct flt_op *op = legal ? flt_op_new(f, what, r->peer, r->tag) : NULL;
    if (!op) { /* the port says what is wrong with it; or there is no room for it here */
        if (what == FLT_WRITE)
            f->below->ops->write(f->below, r);
        else
            f->below->ops->read(f->below, r);
        return;
    }
    enter(f);
    op->r = *r;
    op->cls = r->cls;
    op->bytes = what == FLT_WRITE ? r->len_bytes : FLT_REQUEST_BYTES;
    uint64_t now = flt_now(f);
    if (r->deadline_ns && r->deadline_ns < FL_NEVER - now)
        op->deadline_at_ns = now + r->deadline_ns;
    flt_submit(f, op);
    leave(f);
}

static void f_read(struct tp_port *p, const struct tp_rma *r)
{
    rma(of(p), r, FLT_READ);
}

static void f_write(struct tp_port *p, const struct tp_rma *r)
{
    rma(of(p), r, FLT_WRITE);
}

static void f_send(struct tp_port *p, uint16_t peer, const struct fl_msg *m,
                   const uint8_t *const *lines, uint64_t tag)
{
    enter(of(p));
    flt_send(of(p), peer, m, lines, tag);
    leave(of(p));
}

static void f_fence(struct tp_port *port, uint16_t peer, uint64_t tag)
{
    struct tp_filters *f = of(port);
    struct flt_op *op = peer < f->nodes ? flt_op_new(f, FLT_FENCE, peer, tag) : NULL;
    if (!op) {
        f->below->ops->fence(f->below, peer, tag);
        return;
    }
    enter(f);
    struct flt_peer *p = f->peers[op->peer];
    flt_flush(f, p, FL_EFENCED, false);
    if (blocked(f, p)) {
        op->where = FLT_QUEUED;
        TAILQ_INSERT_TAIL(&p->fences, op, lane);
        tpo_timer_set(&f->timers, &op->timer, flt_now(f) + f->env.fence_deadline_ns);
    } else {
        f->below->ops->fence(f->below, peer, flt_op_tag(op));
    }
    leave(f);
}

static void f_mute(struct tp_port *p, uint16_t peer, bool muted)
{
    of(p)->below->ops->mute(of(p)->below, peer, muted);
}

static void f_sever(struct tp_port *p, uint16_t peer, int cause)
{
    of(p)->below->ops->sever(of(p)->below, peer, cause);
}

static bool f_poll(struct tp_port *p)
{
    struct tp_filters *f = of(p);
    bool due = f->ready_count || f->credits_due || tpo_timers_next(&f->timers) <= flt_now(f);
    if (due)
        tp_filters_run(f);
    return f->below->ops->poll(f->below) || due;
}

static void f_ledger(struct tp_port *p, struct tp_ledger *ret)
{
    of(p)->below->ops->ledger(of(p)->below, ret);
    ret->timeouts += of(p)->timeouts;
}

static void f_close(struct tp_port **p)
{
    struct tp_filters *f = *p ? of(*p) : NULL;
    if (!f)
        return;
    f->below->ops->close(&f->below);
    tp_filters_free(&f);
    *p = NULL;
}

static const struct tp_port_ops FILTER_OPS = {.reg = f_reg,
                                              .expose = f_expose,
                                              .listen = f_listen,
                                              .connect = f_connect,
                                              .read = f_read,
                                              .write = f_write,
                                              .send = f_send,
                                              .fence = f_fence,
                                              .mute = f_mute,
                                              .sever = f_sever,
                                              .poll = f_poll,
                                              .ledger = f_ledger,
                                              .close = f_close};

/* --- the port's side ------------------------------------------------------------------------ */

static void on_done(void *arg, uint64_t tag, int status)
{
    struct tp_filters *f = arg;
    struct flt_op *op = flt_op_find(f, tag);
    enter(f);
    if (op)
        flt_below_done(f, op, status);
    flt_tell(f); /* what was ready before comes before */
    if (!op)
        f->above.done(f->above.arg, tag, status);
    leave(f);
}

static void on_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                   size_t payload_bytes)
{
    struct tp_filters *f = arg;
    int cls = fl_msg_class(m->type);
    struct flt_arrival a = {.peer = peer,
                            .cls = (uint8_t)(cls < 0 ? 0 : cls),
                            .m = m,
                            .payload = payload,
                            .payload_bytes = payload_bytes};
    enter(f);
    flt_tell(f);
    flt_arrived(f, &a);
    leave(f);
}

static void on_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    struct tp_filters *f = arg;
    struct flt_peer *p = f->peers[peer];
    struct flt_lane *l = p ? &p->down[cls] : NULL;
    enter(f);
    flt_tell(f);
    if (l && l->no_credit) {
        l->no_credit = false;
        flt_lane_run(f, l);
    } else {
        if (p)
            p->refused &= (uint8_t) ~(1U << cls);
        if (f->above.credit)
            f->above.credit(f->above.arg, peer, cls);
    }
    leave(f);
}

static void on_peer_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    struct tp_filters *f = arg;
    enter(f);
    flt_tell(f);
    struct flt_peer *p = flt_peer(f, peer);
    if (p) {
        p->session = true;
        p->connecting = false; /* the other side's attempt served */
        tpo_timer_set(&f->timers, &p->t_connect, FL_NEVER);
        flt_fenced(f, p, UINT64_MAX);
    }
    if (f->above.peer_up)
        f->above.peer_up(f->above.arg, peer, incarnation);
    leave(f);
}

static void on_peer_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    struct tp_filters *f = arg;
    struct flt_peer *p = f->peers[peer];
    struct flt_fault *t;
    enter(f);
    STAILQ_FOREACH(t, &f->armed, link)
    if (flt_kind_of(t)->down)
        flt_kind_of(t)->down(f, t, peer, cause);
    flt_copies_end(f, peer);
    if (p) {
        p->session = p->lost_messages = false;
        flt_flush(f, p, cause, true);
    }
    flt_tell(f);
    if (f->above.peer_down)
        f->above.peer_down(f->above.arg, peer, incarnation, cause);
    leave(f);
}

static void on_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    struct tp_filters *f = arg;
    if (f->above.landed)
        f->above.landed(f->above.arg, peer, bytes);
}

/* --- making and arming ---------------------------------------------------------------------- */

struct tp_filters *tp_filters_new(const struct tp_filter_env *env, uint16_t self, uint16_t nodes,
                                  uint64_t seed, const struct tp_handler *above)
{
    struct tp_filters *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->port.ops = &FILTER_OPS;
    f->env = *env;
    if (!f->env.connect_deadline_ns)
        f->env.connect_deadline_ns = FL_NS_PER_S;
    if (!f->env.fence_deadline_ns)
        f->env.fence_deadline_ns = FL_NS_PER_S;
    f->self = self;
    f->nodes = nodes;
    f->above = *above;
    f->mine =
        (struct tp_handler){f, on_done, on_msg, on_credit, on_peer_up, on_peer_down, on_landed};
    f->wish_ns = FL_NEVER;
    fl_rng_init(&f->rng, seed, self, FL_RNG_FAULT, 0);
    STAILQ_INIT(&f->armed);
    STAILQ_INIT(&f->over);
    TAILQ_INIT(&f->free_ops);
    TAILQ_INIT(&f->ready);
    TAILQ_INIT(&f->copies);
    f->peers = calloc((size_t)nodes + 1, sizeof(struct flt_peer *));
    if (!f->peers) {
        free(f);
        return NULL;
    }
    return f;
}

const struct tp_handler *tp_filters_handler(struct tp_filters *f)
{
    return &f->mine;
}

struct tp_port *tp_filters_over(struct tp_filters *f, struct tp_port *below)
{
    f->below = below;
    if (f->slots_wanted)
        (void)flt_slots_reg(f); /* without, those faults hit nothing and say so by their count */
    for (uint16_t i = 0; i < f->nodes; i++)
        if (f->peers[i] && f->peers[i]->mutes)
            below->ops->mute(below, i, true);
    return &f->port;
}

static void faults_free(struct flt_faults *list)
{
    struct flt_fault *t;
    while ((t = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        free(t);
    }
}

void tp_filters_free(struct tp_filters **filters)
{
    struct tp_filters *f = *filters;
    if (!f)
        return;
    flt_copies_free(f);
    flt_op_free_all(f);
    faults_free(&f->armed);
    faults_free(&f->over);
    free(f->peers);
    free(f->slots);
    free(f->scratch);
    free(f);
    *filters = NULL;
}

static struct flt_fault *find(const struct flt_faults *list, uint32_t id)
{
    struct flt_fault *t;
    STAILQ_FOREACH(t, list, link)
    if (t->id == id)
        return t;
    return NULL;
}

/** A fault of that id that has ended goes on counting. */
static struct flt_fault *make(struct tp_filters *f, uint32_t id, const struct tp_fault *what)
{
    struct flt_fault *t = find(&f->over, id);
    uint64_t fired = t ? t->fired : 0;
    if (t)
        STAILQ_REMOVE(&f->over, t, flt_fault, link);
    else
        t = malloc(sizeof *t);
    if (t)
        *t = (struct flt_fault){.id = id, .t = *what, .fired = fired};
    return t;
}

int tp_filters_arm(struct tp_filters *f, uint32_t id, const struct tp_fault *what)
{
    if ((unsigned)what->kind >= TP_FAULT_COUNT || what->from >= f->nodes || what->to >= f->nodes ||
        find(&f->armed, id))
        return FL_EINVAL;
    if ((what->kind == TP_FAULT_RATE && what->rate_bps == 0) ||
        (what->kind != TP_FAULT_REG_FAIL && what->from == what->to))
        return FL_EINVAL;
    if (!f->scratch)
        f->scratch = malloc(sizeof *f->scratch + tp_wire_max());
    struct flt_fault *t = make(f, id, what);
    if (!t)
        return FL_ENOMEM;
    enter(f);
    const struct flt_kind *k = KINDS[what->kind];
    int rc = FL_ENOMEM;
    if (f->scratch && flt_peer(f, what->from) && flt_peer(f, what->to))
        rc = k->arm ? k->arm(f, t) : FL_OK;
    if (rc == FL_OK)
        STAILQ_INSERT_TAIL(&f->armed, t, link);
    else
        STAILQ_INSERT_TAIL(&f->over, t, link); /* entries may still refer to it */
    leave(f);
    return rc;
}

/** Nothing waits for @t any more. */
static void release(struct tp_filters *f, const struct flt_fault *t)
{
    for (uint32_t i = 0; i <= f->nodes; i++) {
        struct flt_op *op;
        if (!f->peers[i])
            continue;
        TAILQ_FOREACH(op, &f->peers[i]->live, live)
        {
            if (op->parked == t)
                op->parked = NULL;
            if (op->due_by == t) {
                op->due_by = NULL;
                op->due_ns = 0;
            }
        }
        flt_lanes_run(f, f->peers[i]);
    }
    flt_copies_release(f, t);
}

void tp_filters_disarm(struct tp_filters *f, uint32_t id)
{
    struct flt_fault *t = find(&f->armed, id);
    if (!t)
        return;
    enter(f);
    STAILQ_REMOVE(&f->armed, t, flt_fault, link);
    STAILQ_INSERT_TAIL(&f->over, t, link);
    release(f, t);
    if (flt_kind_of(t)->disarm)
        flt_kind_of(t)->disarm(f, t);
    leave(f);
}

uint64_t tp_filters_fired(const struct tp_filters *f, uint32_t id)
{
    const struct flt_fault *t = find(&f->armed, id);
    if (!t)
        t = find(&f->over, id);
    return t ? t->fired : 0;
}
