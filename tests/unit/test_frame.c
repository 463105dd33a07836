/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "emu/base/env.h"
#include "transport/frame.h"

static void frames_round_trip(void **state)
{
    (void)state;
    uint8_t buf[TP_FRAME_BYTES + 1];

    for (unsigned kind = TP_FRAME_MSG; kind <= TP_FRAME_FENCE; kind++)
        for (unsigned cls = 0; cls < FL_CLASSES; cls++) {
            struct tp_frame in = {(uint8_t)kind, (uint8_t)cls, 0x12345678,
                                  UINT64_C(0x23456789abcdef01)},
                            out;
            size_t len = kind == TP_FRAME_MSG ? sizeof(buf) : TP_FRAME_BYTES;
            tp_frame_encode(&in, buf);
            assert_int_equal(tp_frame_decode(buf, len, &out), FL_OK);
            assert_int_equal(out.kind, kind);
            assert_int_equal(out.cls, cls);
            assert_int_equal(out.posted, 0x12345678);
            assert_true(out.incarnation == in.incarnation);
        }
    assert_int_equal(buf[4], 0x78); /* little-endian on every machine */
}

static void what_is_no_frame_is_refused(void **state)
{
    (void)state;
    struct tp_frame in = {TP_FRAME_CREDIT, FL_NORMAL, 5, 6}, out = {0};
    uint8_t buf[TP_FRAME_BYTES + 1] = {0};

    tp_frame_encode(&in, buf);
    for (size_t len = 0; len < TP_FRAME_BYTES; len++)
        assert_int_equal(tp_frame_decode(buf, len, &out), FL_EPROTO);
    assert_int_equal(tp_frame_decode(buf, TP_FRAME_BYTES + 1, &out), FL_EPROTO);
    for (unsigned at = 0; at < 4; at++) {
        uint8_t was = buf[at];
        buf[at] = 0xee;
        assert_int_equal(tp_frame_decode(buf, TP_FRAME_BYTES, &out), FL_EPROTO);
        buf[at] = was;
    }
    buf[2] = 0;
    assert_int_equal(tp_frame_decode(buf, TP_FRAME_BYTES, &out), FL_EPROTO);
    buf[2] = TP_FRAME_MSG; /* a message frame without a message */
    assert_int_equal(tp_frame_decode(buf, TP_FRAME_BYTES, &out), FL_EPROTO);
    assert_int_equal(out.kind, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_round_trip),
        cmocka_unit_test(what_is_no_frame_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
