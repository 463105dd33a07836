/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

static void comes_twice_at_once(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DUPLICATE, .from = 1, .to = 0, .count = 1});
    ff_arrive(x, 1, 5, true, 0xaa);
    ff_arrive(x, 1, 6, true, 0xbb);
    assert_int_equal(x->told_count, 3);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(x->told[i].a, 5);
        assert_int_equal(x->told[i].first_byte, 0xaa);
        assert_int_equal(x->told[i].bytes, FL_LINE_BYTES);
    }
    assert_int_equal(x->told[2].a, 6);
    ff_free(x);
}

static void comes_again_later(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1,
           (struct tp_fault){TP_FAULT_DUPLICATE, .from = 1, .to = 0, .count = 1,
                             .by_ns = FL_NS_PER_MS});
    ff_arrive(x, 1, 5, true, 0xaa);
    ff_arrive(x, 1, 6, true, 0xbb);
    assert_int_equal(x->told_count, 2);
    ff_run(x, FL_NS_PER_MS - 1);
    assert_int_equal(x->told_count, 2);
    ff_run(x, 1);
    assert_int_equal(x->told[2].a, 5);
    assert_int_equal(x->told[2].first_byte, 0xaa);
    ff_free(x);
}

/* Nothing of an old connection comes behind its end; what cannot be kept is not hit. */
static void copies_end_with_the_connection(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_DUPLICATE, .from = 1, .to = 0, .by_ns = FL_NS_PER_MS});
    for (uint64_t seq = 0; seq < 300; seq++)
        ff_arrive(x, 1, seq, false, 0);
    assert_int_equal(x->told_count, 300);
    assert_int_equal(tp_filters_fired(x->f, 1), 256);
    ff_peer_down(x, 1, FL_ECONN);
    ff_run(x, 10 * FL_NS_PER_MS);
    assert_int_equal(x->told_count, 301);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_twice_at_once),
        cmocka_unit_test(comes_again_later),
        cmocka_unit_test(copies_end_with_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
