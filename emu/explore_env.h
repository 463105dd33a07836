/* SPDX-License-Identifier: Apache-2.0 */
/** Calls of the cores inside the explorer: each becomes part of the state until it is answered. */
#ifndef EMU_EXPLORE_ENV_H
#define EMU_EXPLORE_ENV_H

#include "emu/explore_world.h"

enum { XW_DEVICE = 9, XW_TICKET_OPEN = 100, XW_TICKET_CLOSE = 101 };

/** The env of one step: which core is stepped, and in which state. */
struct xw_env {
    struct fl_env env;
    struct xw *x;
    struct xw_state *s;
    const struct xw_msg *msg; /* being handled */
    uint8_t who;              /* node, or XW_DEVICE */
};

/** Steps the device's core; counts the rows it takes. */
void xw_step_wb(struct xw *x, struct xw_state *s, const struct fl_event *ev);
/** Delivers a message to whom it is for. */
void xw_step_msg(struct xw *x, struct xw_state *s, const struct xw_msg *m);
/** Answers a memory node's call. */
void xw_step_mn(struct xw *x, struct xw_state *s, unsigned node, const struct fl_event *ev);

void xw_note(struct xw *x, struct xw_state *s, struct xw_note n);

#endif
