/* SPDX-License-Identifier: Apache-2.0 */
/** Rows of table W: which of them a core has taken, for tests and the explorer. */
#ifndef MECH_WRITEBACK_ROWS_H
#define MECH_WRITEBACK_ROWS_H

#include "emu/mech/writeback.h"

enum wb_row {
#define WB_PAGE_ROW(e, id, from, event, to) e,
#define WB_REGION_ROW(e, id, from, event, to) e,
#include "emu/mech/writeback_rows.def"
    WB_ROW_COUNT
};

struct wb_row_info {
    const char *id, *event;
    bool region; /* from and to are enum wb_region_state, else enum wb_page_state */
    uint8_t from, to;
};

const struct wb_row_info *wb_row_info(enum wb_row r);
const char *wb_page_state_name(enum wb_page_state s);
const char *wb_region_state_name(enum wb_region_state s);

/** Set of rows taken since wb_init or the last wb_rows_clear: bit i is enum wb_row i. */
uint64_t wb_rows_taken(const struct wb *w);
void wb_rows_clear(struct wb *w);

#endif
