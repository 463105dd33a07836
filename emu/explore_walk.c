/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded walks through larger worlds than a search can finish. */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/base/rng.h"
#include "emu/explore_env.h"

static bool is_fault(uint8_t kind)
{
    return kind == XW_A_GATE_REFUSE || kind == XW_A_ERROR || kind == XW_A_NO_CREDIT ||
           kind == XW_A_MSG_TWICE || kind == XW_A_MSG_LOST || kind == XW_A_CRASH ||
           kind == XW_A_CLOSE || kind == XW_A_PRESSURE || kind == XW_A_GHOST ||
           kind == XW_A_SAMPLE || kind == XW_A_TIMER;
}

static struct xw_cfg walk_cfg(struct fl_rng *r, const struct fl_plants *plants)
{
    static const uint16_t thresholds[] = {0, 1, 63, 64};
    struct xw_cfg c = {.name = "walk",
                       .pages =
                           (uint16_t)(1 + fl_rng_below(r, fl_rng_chance(r, 1, 2) ? 3 : XW_PAGES)),
                       .threads = (uint16_t)(1 + fl_rng_below(r, 2)),
                       .bufs = (uint16_t)(4 + fl_rng_below(r, XW_BUFS - 3)),
                       .dclb_lines = (uint16_t)(1 + fl_rng_below(r, 8)),
                       .threshold = thresholds[fl_rng_below(r, 4)],
                       .log_batch = (uint16_t)(1 + fl_rng_below(r, XW_ENTRIES)),
                       .retry_max = (uint16_t)(1 + fl_rng_below(r, 3)),
                       .path = (uint8_t)fl_rng_below(r, 2),
                       .evict = (uint8_t)fl_rng_below(r, 2),
                       .exact = (uint8_t)fl_rng_below(r, 2),
                       .plants = *plants};

    c.nodes = (uint16_t)(c.pages > 1 ? 1 + fl_rng_below(r, XW_NODES) : 1);
    c.capacity = (uint16_t)(4 * c.threads + fl_rng_below(r, 3));
    c.budget = (struct xw_budget){.stores = 400,
                                  .loads = 200,
                                  .errors = (uint16_t)fl_rng_below(r, 12),
                                  .dups = (uint16_t)fl_rng_below(r, 40),
                                  .refusals = (uint16_t)fl_rng_below(r, 8),
                                  .pressure = (uint16_t)fl_rng_below(r, 8),
                                  .samples = 60,
                                  .deadlines = (uint16_t)fl_rng_chance(r, 1, 8),
                                  .crashes = (uint16_t)fl_rng_chance(r, 1, 6),
                                  .closes = (uint16_t)fl_rng_chance(r, 1, 2)};
    return c;
}

/* No more faults and no more work; close, and let everything end. */
static void heal(struct xw *x, struct xw_state *s)
{
    uint16_t closes = (uint16_t)!s->closing;

    (void)x;
    s->left = (struct xw_budget){.closes = closes};
    s->over = 1;
}

static struct xw_action choose(struct fl_rng *r, const struct xw_action *a, uint32_t n, bool over)
{
    struct xw_action c = a[0];

    for (int i = 0; i < 8; i++) {
        c = a[fl_rng_below(r, n)];
        if (!is_fault(c.kind) || fl_rng_chance(r, 1, over ? 4 : 24)) {
            break;
        }
    }
    return c;
}

int emu_explore_walk(uint64_t seed, uint32_t steps, const struct fl_plants *plants, FILE *out,
                     struct explore_result *ret)
{
    struct xw_action actions[XW_ACTIONS];
    struct xw_state *s;
    struct fl_errmsg err;
    struct fl_rng r;
    struct xw_cfg cfg;
    struct xw x;
    char text[256];
    uint32_t n = 1;

    memset(ret, 0, sizeof *ret);
    fl_rng_init(&r, seed, 0, FL_RNG_SCHED, 0);
    cfg = walk_cfg(&r, plants);
    FL_ASSERT(xw_init(&x, &cfg, &err) == FL_OK);
    s = xw_state_new(&x);
    if (s == NULL) {
        return FL_ENOMEM;
    }
    xw_start(&x, s);
    for (uint32_t i = 0; n > 0 && !x.violated; i++) {
        struct xw_action a;

        if (i == steps) {
            heal(&x, s);
        }
        if (i == steps + 100000) {
            xw_fail(&x, "W-end", "no end within 100000 steps after everything healed");
        }
        n = xw_actions(&x, s, actions);
        if (n == 0 && i < steps) {
            heal(&x, s);
            n = xw_actions(&x, s, actions);
        }
        if (n == 0) {
            xw_check_end(&x, s);
            break;
        }
        a = choose(&r, actions, n, i >= steps);
        if (out != NULL) {
            xw_describe(&x, s, a, text, sizeof text);
            fprintf(out, "%6u  %s\n", i, text);
            fflush(out);
        }
        xw_apply(&x, s, a);
        ret->transitions++;
    }
    xw_collect(ret, &x);
    ret->configs = 1;
    free(s);
    return FL_OK;
}
