/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Planted bugs: run-time switches in the default build. Each is a real mistake that an oracle must
 * catch; each `blind-*` takes the sight of exactly one oracle.
 * X(enumerator, id, id of the check that must catch it or go blind, what the mistake is)
 */
#ifndef FL_PLANTS_H
#define FL_PLANTS_H

#include <stdbool.h>
#include <stdint.h>

#define FL_PLANTS(X)                                                                               \
    X(FL_PLANT_CLOSE_EARLY, "W-close-before-last-ack", "W1", "close ends before the last ack")     \
    X(FL_PLANT_DROP_UNACKED, "W-drop-unacked", "W2", "a page is dropped with its flush in flight") \
    X(FL_PLANT_DROP_BUSY, "W-drop-busy-gate", "W2", "a clean page is dropped, its gate not asked") \
    X(FL_PLANT_CLEAR_LATE, "W-clear-after-snap", "W3",                                             \
      "dirty bits cleared after, not before snap")                                                 \
    X(FL_PLANT_LOCAL_ACK, "W-retire-on-post", "W3", "lines retired when posted, not when visible") \
    X(FL_PLANT_DCLB_DROP, "W-dclb-drop", "W3", "an entry that does not fit in the DCLB is lost")   \
    X(FL_PLANT_NO_RECORD, "W-no-commit-record", "W3", "a batch reaches a lasting pool unrecorded") \
    X(FL_PLANT_NO_RETRY, "W-never-retry", "W-f2", "a write-back that failed is never sent again")  \
    X(FL_PLANT_SEND_CLEAN, "W-send-clean", "W4", "one clean line is sent beside each dirty run")   \
    X(FL_PLANT_NEIGHBOUR, "W-neighbour", "W4", "bytes of the next line are overwritten remotely")  \
    X(FL_PLANT_MISCOUNT, "W-miscount", "W5", "the device's own count of bytes sent is wrong")      \
    X(FL_PLANT_NO_PERIOD, "W-skip-period", "W6", "every other periodic write-back is skipped")     \
    X(FL_PLANT_STALE_SEQ, "W-stale-seq", "W7", "the log unpacker applies old sequence numbers")    \
    X(FL_PLANT_SKIP_FENCE, "W-skip-fence", "W7", "writes are sent again without a fence")          \
    X(FL_PLANT_OVER_CAP, "W-over-capacity", "W8", "one page more than device memory is cached")    \
    X(FL_PLANT_COARSE_LINES, "W-threshold-lines", "W9", "past T only the first T lines are sent")  \
    X(FL_BLIND_W1, "blind-W1", "W1", "oracle W1 sees nothing")                                     \
    X(FL_BLIND_W2, "blind-W2", "W2", "oracle W2 sees nothing")                                     \
    X(FL_BLIND_W3, "blind-W3", "W3", "oracle W3 sees nothing")                                     \
    X(FL_BLIND_W4, "blind-W4", "W4", "oracle W4 sees nothing")                                     \
    X(FL_BLIND_W5, "blind-W5", "W5", "oracle W5 sees nothing")                                     \
    X(FL_BLIND_W6, "blind-W6", "W6", "oracle W6 sees nothing")                                     \
    X(FL_BLIND_W7, "blind-W7", "W7", "oracle W7 sees nothing")                                     \
    X(FL_BLIND_W8, "blind-W8", "W8", "oracle W8 sees nothing")                                     \
    X(FL_BLIND_W9, "blind-W9", "W9", "oracle W9 sees nothing")

enum fl_plant {
#define X(e, id, check, doc) e,
    FL_PLANTS(X)
#undef X
        FL_PLANT_COUNT
};

/** The set of planted bugs of one run: plain data, copied into each part's configuration. */
struct fl_plants {
    uint64_t bits[2];
};

static inline bool fl_planted(const struct fl_plants *p, enum fl_plant x)
{
    return (p->bits[x / 64] >> (x % 64)) & 1;
}

struct fl_plant_info {
    const char *id, *check, *doc;
};

const struct fl_plant_info *fl_plant_info(enum fl_plant x);

/** Adds the plant of that id to the set; FL_EINVAL when there is none, the set unchanged. */
int fl_plant_add(struct fl_plants *p, const char *id);

#endif
