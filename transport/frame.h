/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What the libfabric port puts before every message: whose it is and how many receive buffers its
 * sender has posted so far. Frames without a message carry credits, heartbeats and farewells.
 */
#ifndef TP_FRAME_H
#define TP_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum { TP_FRAME_BYTES = 16 };

enum tp_frame_kind {
    TP_FRAME_MSG = 1,   /* an encoded fl_msg follows */
    TP_FRAME_CREDIT,    /* only the count of posted buffers */
    TP_FRAME_HEARTBEAT, /* nothing else was sent for a while */
    TP_FRAME_GOODBYE,   /* clean shutdown: the end that follows is no death */
    TP_FRAME_FENCE,     /* the sender is about to reconnect with a higher generation */
};

struct tp_frame {
    uint8_t kind;         /* enum tp_frame_kind */
    uint8_t cls;          /* enum fl_class of the connection */
    uint32_t posted;      /* receive buffers the sender posted since the connection began */
    uint64_t incarnation; /* of the sender */
};

void tp_frame_encode(const struct tp_frame *f, uint8_t dst[TP_FRAME_BYTES]);

/** Errors: FL_EPROTO (short, magic, kind, class; bytes behind a frame that carries none); @ret is
 * then unchanged. */
int tp_frame_decode(const uint8_t *src, size_t len, struct tp_frame *ret);

#endif
