/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The ids that scenarios, tests, verdicts and comments cite: invariants (W3) and faults (M-f2) of
 * the four mechanisms, explained for a reader who has not seen the specification. Static data.
 */
#ifndef FL_IDS_H
#define FL_IDS_H

#include <stdbool.h>
#include <stddef.h>

enum fl_id_kind { FL_ID_INVARIANT, FL_ID_FAULT };

/** Texts are sentences without line breaks. A NULL says that this version has none. */
struct fl_id_info {
    const char *id;        /* "W3", "M-f2" */
    const char *mech;      /* "W", "C", "M", "P" */
    const char *title;     /* a few words */
    const char *text;      /* what must hold; for a fault: what happens and what must follow */
    const char *why;       /* why it matters */
    const char *violation; /* what a violation, or a wrong outcome, would look like */
    const char *oracle;    /* what is compared to decide it; NULL: not checked in this version */
    const char *scenario;  /* file that shows it, from the top of the source tree */
    const char *plant;     /* planted bug that breaks it (see plants.h) */
    enum fl_id_kind kind;
};

/** Number of ids, and the i-th in the order of the specification; NULL from the end on. */
size_t fl_id_count(void);
const struct fl_id_info *fl_id_at(size_t i);

/** The entry of that id, upper or lower case; NULL when there is none. */
const struct fl_id_info *fl_id_find(const char *id);

/** Name of a mechanism ("W": "remote memory write-back"); NULL when there is none. */
const char *fl_id_mech_name(const char *mech);

/** True when this version runs the mechanism; ids of the others are explained all the same. */
bool fl_id_mech_built(const char *mech);

/* Tables behind the functions above, one per mechanism, each ended by an entry without an id. */
extern const struct fl_id_info fl_ids_writeback[], fl_ids_copyrestore[], fl_ids_postcopy[],
    fl_ids_pmemha[];

#endif
