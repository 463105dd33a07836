/* SPDX-License-Identifier: Apache-2.0 */
/* The wire codec: what is encoded comes back, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "transport/bytes.h"
#include "transport/wire.h"

enum { HEADER = 72, ENTRY = 32, CRC_AT = 8, BODY_AT = 12 };

struct sample {
    struct fl_msg m;
    uint8_t pages[3][FL_PAGE_BYTES];
    const uint8_t *lines[3];
    uint8_t *wire; /* exactly len bytes, so that a read outside is seen by ASan */
    size_t len;
};

static void sample_encode(struct sample *s)
{
    size_t size = tp_wire_size(&s->m);

    free(s->wire);
    s->wire = malloc(size);
    assert_non_null(s->wire);
    assert_int_equal(tp_wire_encode(&s->m, s->lines, s->wire, size, &s->len), FL_OK);
    assert_int_equal(s->len, size);
}

/* A log batch with a sparse, an empty and a full entry; every field holds a number of its own. */
static struct sample *sample_new(void)
{
    struct sample *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->m = (struct fl_msg){.type = FL_MSG_LOG_BATCH,
                           .flags = 0x5a,
                           .chunk = 0x1234,
                           .region = 0x2345,
                           .entry_count = 3,
                           .status = FL_EFENCED,
                           .page = 0x3456789a,
                           .count = 0x456789ab,
                           .epoch = 0x56789abcdef01234,
                           .seq = 0x6789abcdef012345,
                           .a = 0x789abcdef0123456,
                           .b = 0x89abcdef01234567};
    const fl_mask masks[3] = {UINT64_C(0x8000000000000103), 0, FL_MASK_ALL};
    for (unsigned i = 0; i < 3; i++) {
        s->m.entries[i] = (struct fl_msg_entry){.chunk = (uint16_t)(0x1100 + i),
                                                .region = (uint16_t)(0x2200 + i),
                                                .page = 0x33003300 + i,
                                                .mask = masks[i],
                                                .seq = UINT64_C(0x4400440044004400) + i,
                                                .buf = 77,
                                                .whole = i == 2};
        for (unsigned b = 0; b < FL_PAGE_BYTES; b++)
            s->pages[i][b] = (uint8_t)(b / FL_LINE_BYTES * 3 + b * 7 + i);
        s->lines[i] = s->pages[i];
    }
    sample_encode(s);
    return s;
}

static void sample_free(struct sample *s)
{
    free(s->wire);
    free(s);
}

static void recompute_crc(uint8_t *wire, size_t len)
{
    tp_put32(wire + CRC_AT, (uint32_t)crc32(0, wire + BODY_AT, (uInt)(len - BODY_AT)));
}

static int decode(const uint8_t *wire, size_t len)
{
    static struct fl_msg out;
    const uint8_t *payload;
    size_t bytes;

    return tp_wire_decode(wire, len, &out, &payload, &bytes);
}

static void round_trip_keeps_every_field(void **state)
{
    (void)state;
    struct sample *s = sample_new();
    struct fl_msg out;
    const uint8_t *payload = NULL;
    size_t bytes = 0;

    assert_int_equal(tp_wire_decode(s->wire, s->len, &out, &payload, &bytes), FL_OK);
    for (unsigned i = 0; i < 3; i++)
        s->m.entries[i].buf = 0; /* the sender's alone */
    assert_memory_equal(&out, &s->m, sizeof(out));
    assert_int_equal(bytes, (4 + 64) * FL_LINE_BYTES);
    assert_ptr_equal(payload, s->wire + HEADER + 3 * ENTRY);
    const unsigned lines[4] = {0, 1, 8, 63};
    for (unsigned i = 0; i < 4; i++)
        assert_memory_equal(payload + i * FL_LINE_BYTES, s->pages[0] + lines[i] * FL_LINE_BYTES,
                            FL_LINE_BYTES);
    assert_memory_equal(payload + 4 * FL_LINE_BYTES, s->pages[2], FL_PAGE_BYTES);
    sample_free(s);
}

static void every_type_and_mask_shape_round_trips(void **state)
{
    (void)state;
    static const uint8_t types[] = {
#define X(e, value, cls, name) e,
        FL_MSGS(X)
#undef X
    };
    struct sample *s = sample_new();
    struct fl_msg out;
    const uint8_t *payload;
    size_t bytes;

    s->m.entry_count = 1;
    for (unsigned t = 0; t < sizeof(types); t++)
        for (unsigned first = 0; first < 64; first++)
            for (unsigned count = 1; first + count <= 64; count += 7) {
                s->m.type = types[t];
                s->m.entries[0].mask = fl_mask_run(first, count);
                sample_encode(s);
                assert_int_equal(tp_wire_decode(s->wire, s->len, &out, &payload, &bytes), FL_OK);
                assert_int_equal(out.type, types[t]);
                assert_int_equal(bytes, count * FL_LINE_BYTES);
                assert_memory_equal(payload, s->pages[0] + first * FL_LINE_BYTES, bytes);
            }
    sample_free(s);
}

/* The bytes themselves are the contract with peers on other machines. */
static void layout_is_little_endian_and_fixed(void **state)
{
    (void)state;
    struct sample *s = sample_new();
    static const uint8_t expect[] = {'F', 'L', 'W', '1', 1, 0, 72, 0};

    assert_memory_equal(s->wire, expect, sizeof(expect));
    assert_int_equal(s->wire[12], FL_MSG_LOG_BATCH);
    assert_int_equal(s->wire[14], 3);
    assert_int_equal(s->wire[24], 0x34);
    assert_int_equal(s->wire[25], 0x12);
    assert_int_equal(s->wire[40], 0x34);
    assert_int_equal(s->wire[47], 0x56);
    assert_int_equal(s->wire[HEADER], 0x00);
    assert_int_equal(s->wire[HEADER + 1], 0x11);
    assert_int_equal(s->wire[HEADER + 8], 0x03);
    assert_int_equal(s->wire[HEADER + 15], 0x80);
    sample_free(s);
}

static void any_flipped_bit_is_refused(void **state)
{
    (void)state;
    struct sample *s = sample_new();

    for (size_t bit = 0; bit < s->len * 8; bit++) {
        s->wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int err = decode(s->wire, s->len);
        if (bit < 32 || (bit >= 48 && bit < 64))
            assert_int_equal(err, FL_EPROTO); /* magic, header length */
        else if (bit < 48)
            assert_int_equal(err, FL_EVERSION);
        else
            assert_int_equal(err, FL_ECORRUPT);
        s->wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(decode(s->wire, s->len), FL_OK);
    sample_free(s);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct sample *s = sample_new();

    for (size_t len = 0; len < s->len; len++) {
        uint8_t *cut = malloc(len ? len : 1);
        assert_non_null(cut);
        memcpy(cut, s->wire, len);
        assert_int_equal(decode(cut, len), len < HEADER ? FL_EPROTO : FL_ECORRUPT);
        if (len >= HEADER) { /* also with a checksum that fits the shorter message */
            recompute_crc(cut, len);
            assert_int_equal(decode(cut, len), FL_EPROTO);
        }
        free(cut);
    }
    sample_free(s);
}

/* A peer that computes the right checksum over wrong numbers. */
static void bad_fields_under_a_right_checksum_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
    } bad[] = {
        {12, 1, 0},
        {12, 1, 255}, /* type */
        {14, 2, 2},
        {14, 2, 4}, /* entry count */
        {14, 2, 65},
        {14, 2, 0xffff},
        {16, 4, 0},
        {16, 4, 67 * 64}, /* payload bytes */
        {16, 4, 0xffffffff},
        {16, 4, 0x10001},
        {36, 4, 1},         /* must be zero */
        {HEADER + 8, 8, 0}, /* mask: fewer, more lines than payload */
        {HEADER + 8, 8, FL_MASK_ALL},
        {HEADER + 24, 4, 2}, /* whole */
        {HEADER + 28, 4, 1}, /* must be zero */
    };
    struct sample *s = sample_new();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sample_encode(s);
        for (unsigned b = 0; b < bad[i].bytes; b++)
            s->wire[bad[i].at + b] = (uint8_t)(bad[i].value >> 8 * b);
        recompute_crc(s->wire, s->len);
        assert_int_equal(decode(s->wire, s->len), FL_EPROTO);
    }
    sample_free(s);
}

static void other_version_is_told_apart(void **state)
{
    (void)state;
    struct sample *s = sample_new();

    tp_put16(s->wire + 4, TP_WIRE_VERSION + 1);
    assert_int_equal(decode(s->wire, s->len), FL_EVERSION);
    assert_int_equal(decode(s->wire, 6), FL_EVERSION); /* however long its header is */
    sample_free(s);
}

static void outputs_stay_untouched_on_failure(void **state)
{
    (void)state;
    struct sample *s = sample_new();
    struct fl_msg out, before;
    const uint8_t *payload = (const uint8_t *)&before;
    size_t bytes = 4711;

    memset(&out, 0xa5, sizeof(out));
    before = out;
    s->wire[s->len - 1] ^= 1;
    assert_int_equal(tp_wire_decode(s->wire, s->len, &out, &payload, &bytes), FL_ECORRUPT);
    assert_memory_equal(&out, &before, sizeof(out));
    assert_ptr_equal(payload, &before);
    assert_int_equal(bytes, 4711);
    sample_free(s);
}

static void encode_refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct sample *s = sample_new();
    uint8_t *big = malloc(tp_wire_max());
    const uint8_t *lines[FL_MSG_ENTRIES_MAX];
    size_t len = 4711;

    assert_non_null(big);
    assert_int_equal(tp_wire_encode(&s->m, s->lines, big, s->len - 1, &len), FL_ETOOBIG);
    s->m.entry_count = FL_MSG_ENTRIES_MAX + 1;
    assert_int_equal(tp_wire_encode(&s->m, s->lines, big, tp_wire_max(), &len), FL_ETOOBIG);
    s->m.entry_count = 17; /* one page more than FL_MSG_PAYLOAD_MAX */
    for (unsigned i = 0; i < FL_MSG_ENTRIES_MAX; i++) {
        lines[i] = s->pages[0];
        s->m.entries[i].mask = i < 17 ? FL_MASK_ALL : 0;
    }
    assert_int_equal(tp_wire_encode(&s->m, lines, big, tp_wire_max(), &len), FL_ETOOBIG);
    s->m.entries[16].mask = 0;
    s->m.entry_count = FL_MSG_ENTRIES_MAX; /* the largest message there is */
    assert_int_equal(len, 4711);
    assert_int_equal(tp_wire_encode(&s->m, lines, big, tp_wire_max(), &len), FL_OK);
    assert_int_equal(len, tp_wire_max());
    assert_int_equal(decode(big, len), FL_OK);
    free(big);
    sample_free(s);
}

static void encode_refuses_caller_mistakes(void **state)
{
    (void)state;
    struct sample *s = sample_new();
    uint8_t big[8192];
    size_t len;

    s->lines[2] = NULL;
    assert_int_equal(tp_wire_encode(&s->m, s->lines, big, sizeof(big), &len), FL_EINVAL);
    assert_int_equal(tp_wire_encode(&s->m, NULL, big, sizeof(big), &len), FL_EINVAL);
    s->m.type = 0;
    s->m.entry_count = 0;
    assert_int_equal(tp_wire_encode(&s->m, NULL, big, sizeof(big), &len), FL_EINVAL);
    s->m.type = FL_MSG_OPEN_REQ;
    assert_int_equal(tp_wire_encode(&s->m, NULL, big, sizeof(big), &len), FL_OK);
    assert_int_equal(len, HEADER);
    sample_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_keeps_every_field),
        cmocka_unit_test(every_type_and_mask_shape_round_trips),
        cmocka_unit_test(layout_is_little_endian_and_fixed),
        cmocka_unit_test(any_flipped_bit_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bad_fields_under_a_right_checksum_are_refused),
        cmocka_unit_test(other_version_is_told_apart),
        cmocka_unit_test(outputs_stay_untouched_on_failure),
        cmocka_unit_test(encode_refuses_what_does_not_fit),
        cmocka_unit_test(encode_refuses_caller_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
