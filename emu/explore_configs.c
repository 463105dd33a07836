/* SPDX-License-Identifier: Apache-2.0 */
/* Small worlds that are explored to the end. Budgets are part of the claim and are printed. */
#include "emu/explore_world.h"

enum {
    LOG = 1,              /* the log path */
    EXACT = 2,            /* stores tell their lines */
    OPENS = 4,            /* begins with a region that is closed */
    LARGE = 8,            /* left out of quick explorations */
    PAGES_PER_THREAD = 4, /* as many as may be pinned, so that there is always a victim */
};

struct row {
    const char *name;
    uint16_t pages, threads, nodes, threshold, dclb_lines;
    unsigned flags;
    struct xw_budget budget;
};

/* The smallest come first: a planted bug is found where its path is short. */
#define ROW(name, pages, threads, nodes, threshold, dclb, flags, ...)                              \
    {                                                                                              \
        name, pages, threads, nodes, threshold, dclb, flags,                                       \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct row rows[] = {
    ROW("open and close, and how they fail", 1, 1, 1, 64, 8, OPENS, .errors = 1, .refusals = 1,
        .deadlines = 1, .crashes = 1, .closes = 1),
    ROW("a dirty line buffer of one entry overflows", 1, 1, 1, 64, 1, EXACT, .stores = 2,
        .closes = 1),
    ROW("four pages of five fit", 5, 1, 1, 64, 8, 0, .loads = 5),
    ROW("one thread, mapping limit", 1, 1, 1, 64, 8, 0, .stores = 1, .loads = 1, .refusals = 2,
        .closes = 1),
    ROW("one thread, lines, the node dies", 1, 1, 1, 64, 8, 0, .stores = 1, .pressure = 2,
        .crashes = 1, .closes = 1),
    ROW("one thread, log, answers lost or twice", 1, 1, 1, 64, 8, LOG, .stores = 2, .errors = 1,
        .dups = 1, .closes = 1),
    ROW("one thread, whole pages, errors", 1, 1, 1, 0, 8, EXACT, .stores = 3, .errors = 1,
        .closes = 1),
    ROW("two threads, a fence between two tries", 1, 2, 1, 64, 8, 0, .stores = 2, .errors = 1,
        .closes = 1),
    ROW("close runs out of time", 1, 1, 1, 64, 8, 0, .stores = 2, .errors = 1, .deadlines = 1,
        .pressure = 1, .closes = 1),
    ROW("one thread, fences that fail, a node that is given up", 1, 1, 1, 64, 8, 0, .stores = 2,
        .errors = 3, .closes = 1),
    ROW("one thread, whole pages, the node dies", 1, 1, 1, 0, 8, EXACT, .stores = 2, .pressure = 2,
        .crashes = 1, .closes = 1),
    ROW("two threads store, load and lose the page under them", 1, 2, 1, 64, 8, LARGE, .stores = 2,
        .loads = 1, .pressure = 1, .closes = 1),
    ROW("two threads, the node dies", 1, 2, 1, 64, 8, LARGE, .stores = 2, .pressure = 1,
        .crashes = 1, .closes = 1),
    ROW("whole pages: T = 0", 1, 1, 1, 0, 8, EXACT | LARGE, .stores = 3, .errors = 1, .pressure = 1,
        .closes = 1),
    ROW("whole pages: T = 1, two threads", 1, 2, 1, 1, 8, EXACT | LARGE, .stores = 3, .pressure = 1,
        .closes = 1),
    ROW("a dirty line buffer of one entry", 1, 1, 1, 64, 1, EXACT | LARGE, .stores = 4, .errors = 1,
        .closes = 1),
    ROW("whole pages, the node dies", 1, 1, 1, 0, 8, EXACT | LARGE, .stores = 3, .pressure = 2,
        .crashes = 1, .closes = 1),
    ROW("sampling of open pages", 1, 1, 1, 1, 1, LARGE, .stores = 3, .samples = 2, .pressure = 1,
        .closes = 1),
    ROW("the mapping limit refuses", 1, 2, 1, 64, 8, LARGE, .stores = 1, .loads = 1, .refusals = 2,
        .pressure = 1, .closes = 1),
    ROW("log, batches and answers twice and late", 1, 1, 1, 64, 8, LOG | LARGE, .stores = 3,
        .dups = 2, .closes = 1),
    ROW("log, batches and answers lost, no credit", 1, 2, 1, 64, 8, LOG | LARGE, .stores = 2,
        .errors = 1, .dups = 1, .refusals = 1, .closes = 1),
    ROW("log, whole pages, the node dies", 1, 1, 1, 0, 8, LOG | EXACT | LARGE, .stores = 3,
        .errors = 1, .crashes = 1, .closes = 1),
    ROW("two pages gated together", 2, 1, 1, 64, 8, LARGE, .stores = 2, .loads = 1, .pressure = 1,
        .closes = 1),
    ROW("two pages in one log batch", 2, 1, 1, 64, 8, LOG | LARGE, .stores = 2, .errors = 1,
        .dups = 1, .closes = 1),
    ROW("four pages of five fit, one of them dirty", 5, 1, 1, 64, 8, LARGE, .stores = 1,
        .loads = 5),
    ROW("two pages on two nodes, one dies", 2, 1, 2, 64, 8, LARGE, .stores = 2, .crashes = 1,
        .closes = 1),
};

const int xw_config_count = sizeof rows / sizeof rows[0];

struct xw_cfg xw_config(int i)
{
    const struct row *r = &rows[i];

    return (struct xw_cfg){.name = r->name,
                           .pages = r->pages,
                           .threads = r->threads,
                           .nodes = r->nodes,
                           .bufs = 4,
                           .capacity = (uint16_t)(PAGES_PER_THREAD * r->threads),
                           .dclb_lines = r->dclb_lines,
                           .threshold = r->threshold,
                           .log_batch = 4,
                           .retry_max = 1,
                           .path = r->flags & LOG ? WB_LOG : WB_DIRECT,
                           .exact = (r->flags & EXACT) != 0,
                           .large = (r->flags & LARGE) != 0,
                           .skip_open = (r->flags & OPENS) == 0,
                           .budget = r->budget,
                           .states_max = 4000000};
}
