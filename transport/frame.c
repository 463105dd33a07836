/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/frame.h"

#include "emu/base/env.h"
#include "transport/bytes.h"

#define FRAME_MAGIC 0x5046 /* "FP" in memory */

void tp_frame_encode(const struct tp_frame *f, uint8_t dst[TP_FRAME_BYTES])
{
    tp_put16(dst, FRAME_MAGIC);
    dst[2] = f->kind;
    dst[3] = f->cls;
    tp_put32(dst + 4, f->posted);
    tp_put64(dst + 8, f->incarnation);
}

int tp_frame_decode(const uint8_t *src, size_t len, struct tp_frame *ret)
{
    if (len < TP_FRAME_BYTES || tp_get16(src) != FRAME_MAGIC || src[3] >= FL_CLASSES ||
        src[2] < TP_FRAME_MSG || src[2] > TP_FRAME_FENCE)
        return FL_EPROTO;
    if ((src[2] == TP_FRAME_MSG) == (len == TP_FRAME_BYTES))
        return FL_EPROTO;
    ret->kind = src[2];
    ret->cls = src[3];
    ret->posted = tp_get32(src + 4);
    ret->incarnation = tp_get64(src + 8);
    return FL_OK;
}
