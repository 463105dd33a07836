/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Faults of messages, completions and remote memory: filters stacked over any fabric. A stack sits
 * between a node and its port: calls go down through it, callbacks come up. With nothing armed it
 * passes everything on untouched and in order.
 *
 * A fault belongs to one directed link @from -> @to and is armed in the stacks of both ends; what
 * each end does is the fault's own matter (filter_KIND.c says). Requests travel @from -> @to when
 * @from posts them; the acknowledgement of an operation travels against its request.
 *
 * Threads: a stack belongs to its port's thread.
 */
#ifndef TP_FILTER_H
#define TP_FILTER_H

#include "transport/fabric.h"

/** X(enumerator, name in scenarios, what it does) */
#define TP_FAULTS(X)                                                                               \
    X(TP_FAULT_DELAY, "delay", "everything on the link takes by_ns longer, in order")              \
    X(TP_FAULT_RATE, "rate", "the link carries rate_bps")                                          \
    X(TP_FAULT_CUT, "cut", "nothing passes, heartbeats neither; what hangs ends by its deadline")  \
    X(TP_FAULT_CLOG, "clog", "as cut, but all of it is delivered in order when it ends")           \
    X(TP_FAULT_DUPLICATE, "duplicate", "a message arrives twice")                                  \
    X(TP_FAULT_REORDER, "reorder", "a message arrives after the next one of its class")            \
    X(TP_FAULT_DROP, "drop", "a message is lost: a reliable connection breaks")                    \
    X(TP_FAULT_TRUNCATE, "truncate", "a message arrives cut short: it is refused")                 \
    X(TP_FAULT_CORRUPT, "corrupt", "a message arrives with a bit flipped: it is refused")          \
    X(TP_FAULT_DONE_LOST, "lose_completion", "the operation lands, its completion never comes")    \
    X(TP_FAULT_DONE_LATE, "delay_completion", "the operation lands, its completion by_ns later")   \
    X(TP_FAULT_DONE_ERROR, "fail_completion", "the operation lands, its completion is an error")   \
    X(TP_FAULT_DONE_EARLY, "early_completion", "a lie: done at once, it lands by_ns later")        \
    X(TP_FAULT_STUCK, "stick", "a write lands by_ns later, unless a fence comes first")            \
    X(TP_FAULT_SHORT_READ, "short_read", "a lie: a read leaves its second half as it was")         \
    X(TP_FAULT_STALE_READ, "stale_read", "a lie: a read leaves its slot's earlier bytes")          \
    X(TP_FAULT_BIT_FLIP, "flip_bit", "one bit of what a read brings is wrong")                     \
    X(TP_FAULT_REG_FAIL, "fail_registration", "memory registration fails for want of memlock")

enum tp_fault_kind {
#define X(e, name, doc) e,
    TP_FAULTS(X)
#undef X
        TP_FAULT_COUNT
};

struct tp_fault_info {
    const char *name, *doc;
};

/** Description of a kind; NULL for a number that is none. */
const struct tp_fault_info *tp_fault_info(enum tp_fault_kind k);

struct tp_fault {
    enum tp_fault_kind kind;
    uint16_t from, to; /* nodes; the same twice for what concerns no link */
    uint8_t classes;   /* bit 1 << enum fl_class; 0: all */
    uint32_t every;    /* every n-th that could be hit, the first included; 0 is 1 */
    uint64_t count;    /* hits at most; 0: no limit */
    uint64_t by_ns;
    uint64_t rate_bps; /* bits per second */
};

/** What the stack needs of its world. */
struct tp_filter_env {
    void *arg;
    uint64_t (*now_ns)(void *arg);
    /** Wants tp_filters_run at or soon after @t_ns; replaces the wish before. Running more often
     * does no harm; running for a node that is stopped or dead does. */
    void (*wake_at)(void *arg, uint64_t t_ns);
    /* How long a connect or fence waits for the end of a cut; as the port's. 0: a second. */
    uint64_t connect_deadline_ns, fence_deadline_ns;
};

struct tp_filters;

/* What a stack promises, whatever is armed: each tag is answered once, by its deadline (one without
 * a deadline: within 10 seconds), and before the fence or peer_down that ends its session is told.
 * A write of which nothing was told but FL_ETIMEDOUT may land until a fence; behind it nothing does.
 * Callbacks come from the port's callbacks, from tp_filters_run and from poll only. The highest bit
 * of tags is the stack's.
 *
 * Bounds: 65536 calls in flight, 64 held messages per peer and class (then FL_EAGAIN, and credit),
 * 256 held messages on their way up, 256 copied writes of a page at most. Beyond, a fault does not
 * touch what it could have hit, and does not count it. */

/** A stack for node @self that hands up to @above. NULL: out of memory. */
struct tp_filters *tp_filters_new(const struct tp_filter_env *env, uint16_t self, uint16_t nodes,
                                  uint64_t seed, const struct tp_handler *above);

/** What the port below must be made with. */
const struct tp_handler *tp_filters_handler(struct tp_filters *f);

/** The port that the node uses instead of @below; closing it closes @below and frees the stack. */
struct tp_port *tp_filters_over(struct tp_filters *f, struct tp_port *below);

/** Frees a stack that was never put over a port. */
void tp_filters_free(struct tp_filters **f);

/** From now on; @id is the caller's, unique among armed faults. FL_ENOMEM, FL_EINVAL (kind, node,
 * a link from a node to itself, a rate of 0, an id in use). */
int tp_filters_arm(struct tp_filters *f, uint32_t id, const struct tp_fault *t);

/** Ends a fault: what a delay or clog holds back is released in order; a cut that swallowed a
 * message breaks the connection, as the loss would. What is stuck or late stays so. The count stays,
 * also when the id is armed again. */
void tp_filters_disarm(struct tp_filters *f, uint32_t id);

/** How often the fault of that id hit something in this stack. */
uint64_t tp_filters_fired(const struct tp_filters *f, uint32_t id);

/** Does what is due. */
void tp_filters_run(struct tp_filters *f);

#endif
