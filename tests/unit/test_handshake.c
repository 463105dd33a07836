/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "transport/handshake.h"

static const uint8_t key[TP_KEY_BYTES] = {1, 2, 3}, other_key[TP_KEY_BYTES] = {1, 2, 4};

static struct tp_hello sample(uint8_t kind)
{
    return (struct tp_hello){.kind = kind,
                             .cls = FL_BULK,
                             .version = 7,
                             .from = 0x1234,
                             .to = 0x2345,
                             .generation = 0x3456789a,
                             .incarnation = UINT64_C(0x456789abcdef0123),
                             .rma_key = UINT64_C(0x56789abcdef01234),
                             .rma_base = UINT64_C(0x6789abcdef012345),
                             .pages = 0x789abcde,
                             .credits = 256};
}

static void request_and_answer_round_trip(void **state)
{
    (void)state;
    uint8_t request[TP_HELLO_BYTES], answer[TP_HELLO_BYTES + 1] = {0};
    struct tp_hello in = sample(TP_HELLO_REQUEST), out;

    memset(&out, 0, sizeof(out));
    tp_hello_encode(&in, key, NULL, request);
    assert_int_equal(tp_hello_decode(request, sizeof(request), 7, key, NULL, &out), FL_OK);
    assert_int_equal(out.kind, TP_HELLO_REQUEST);
    assert_int_equal(out.cls, FL_BULK);
    assert_int_equal(out.from, 0x1234);
    assert_int_equal(out.to, 0x2345);
    assert_int_equal(out.generation, 0x3456789a);
    assert_true(out.incarnation == in.incarnation && out.rma_key == in.rma_key);
    assert_true(out.rma_base == in.rma_base && out.pages == in.pages);
    assert_int_equal(out.credits, 256);

    const uint8_t *mac = request + TP_HELLO_MAC_AT;
    in = sample(TP_HELLO_ANSWER);
    tp_hello_encode(&in, key, mac, answer);
    /* verbs pads private data: one more byte changes nothing */
    assert_int_equal(tp_hello_decode(answer, sizeof(answer), 7, key, mac, &out), FL_OK);
}

static void an_answer_belongs_to_one_request(void **state)
{
    (void)state;
    uint8_t answer[TP_HELLO_BYTES], mac[TP_MAC_BYTES] = {9}, other[TP_MAC_BYTES] = {8};
    struct tp_hello h = sample(TP_HELLO_ANSWER), out;

    tp_hello_encode(&h, key, mac, answer);
    assert_int_equal(tp_hello_decode(answer, sizeof(answer), 7, key, mac, &out), FL_OK);
    assert_int_equal(tp_hello_decode(answer, sizeof(answer), 7, key, other, &out), FL_EAUTH);
    assert_int_equal(tp_hello_decode(answer, sizeof(answer), 7, key, NULL, &out), FL_EAUTH);
}

static void any_flipped_bit_is_refused(void **state)
{
    (void)state;
    uint8_t hello[TP_HELLO_BYTES];
    struct tp_hello h = sample(TP_HELLO_REQUEST), out, before;

    tp_hello_encode(&h, key, NULL, hello);
    memset(&out, 0x5a, sizeof(out));
    before = out;
    for (unsigned bit = 0; bit < TP_HELLO_BYTES * 8; bit++) {
        hello[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int want = bit < 8 ? FL_EPROTO : bit >= 16 && bit < 32 ? FL_EVERSION : FL_EAUTH;
        assert_int_equal(tp_hello_decode(hello, sizeof(hello), 7, key, NULL, &out), want);
        hello[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_memory_equal(&out, &before, sizeof(out));
}

static void wrong_key_version_length_are_told_apart(void **state)
{
    (void)state;
    uint8_t hello[TP_HELLO_BYTES];
    struct tp_hello h = sample(TP_HELLO_REQUEST), out;

    tp_hello_encode(&h, key, NULL, hello);
    assert_int_equal(tp_hello_decode(hello, sizeof(hello), 7, other_key, NULL, &out), FL_EAUTH);
    assert_int_equal(tp_hello_decode(hello, sizeof(hello), 8, other_key, NULL, &out), FL_EVERSION);
    for (size_t len = 0; len < sizeof(hello); len++)
        assert_int_equal(tp_hello_decode(hello, len, 7, key, NULL, &out), FL_EPROTO);
}

static void who_holds_the_key_may_still_talk_nonsense(void **state)
{
    (void)state;
    uint8_t hello[TP_HELLO_BYTES];
    struct tp_hello h = sample(TP_HELLO_ANSWER), out; /* an answer where a request belongs */

    tp_hello_encode(&h, key, NULL, hello);
    assert_int_equal(tp_hello_decode(hello, sizeof(hello), 7, key, NULL, &out), FL_EPROTO);
    h = sample(TP_HELLO_REQUEST);
    h.cls = FL_CLASSES;
    tp_hello_encode(&h, key, NULL, hello);
    assert_int_equal(tp_hello_decode(hello, sizeof(hello), 7, key, NULL, &out), FL_EPROTO);
}

static void refusals_carry_only_known_statuses(void **state)
{
    (void)state;
    static const int known[] = {FL_EVERSION, FL_EAUTH, FL_EPROTO, FL_EFENCED};
    uint8_t why[TP_REFUSAL_BYTES];

    for (unsigned i = 0; i < 4; i++) {
        tp_refusal_encode(3, known[i], why);
        assert_int_equal(tp_refusal_decode(why, sizeof(why)), known[i]);
    }
    tp_refusal_encode(3, FL_OK, why);
    assert_int_equal(tp_refusal_decode(why, sizeof(why)), FL_ECONN);
    assert_int_equal(tp_refusal_decode(why, sizeof(why) - 1), FL_ECONN);
    assert_int_equal(tp_refusal_decode(NULL, 8), FL_ECONN);
    tp_refusal_encode(3, FL_EAUTH, why);
    why[0] ^= 1;
    assert_int_equal(tp_refusal_decode(why, sizeof(why)), FL_ECONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_and_answer_round_trip),
        cmocka_unit_test(an_answer_belongs_to_one_request),
        cmocka_unit_test(any_flipped_bit_is_refused),
        cmocka_unit_test(wrong_key_version_length_are_told_apart),
        cmocka_unit_test(who_holds_the_key_may_still_talk_nonsense),
        cmocka_unit_test(refusals_carry_only_known_statuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
