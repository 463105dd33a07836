/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

static struct ff *with(uint64_t count, uint64_t by_ns)
{
    struct ff *x = ff_new();

    ff_arm(x, 1,
           (struct tp_fault){TP_FAULT_REORDER, .from = 1, .to = 0, .count = count, .by_ns = by_ns});
    return x;
}

static void assert_order(struct ff *x, const uint64_t *seqs, size_t count)
{
    assert_int_equal(x->told_count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(x->told[i].a, seqs[i]);
}

static void comes_behind_the_next_of_its_class(void **state)
{
    (void)state;
    struct ff *x = with(1, 0);

    ff_arrive(x, 1, 1, true, 0x11);
    ff_arrive(x, 2, 2, true, 0);  /* from elsewhere */
    ff_arrive(x, 1, 3, false, 0); /* of another class */
    ff_arrive(x, 1, 4, true, 0x44);
    ff_arrive(x, 1, 5, true, 0);
    assert_order(x, (const uint64_t[]){2, 3, 4, 1, 5}, 5);
    assert_int_equal(x->told[3].first_byte, 0x11);
    assert_int_equal(x->told[3].bytes, FL_LINE_BYTES);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

/* All of them are hit: pairs are swapped, for only one of a class is held at a time. */
static void one_of_a_class_is_held(void **state)
{
    (void)state;
    struct ff *x = with(0, 0);

    for (uint64_t seq = 1; seq <= 6; seq++)
        ff_arrive(x, 1, seq, true, 0);
    assert_order(x, (const uint64_t[]){2, 1, 4, 3, 6, 5}, 6);
    ff_free(x);
}

static void nothing_is_held_for_ever(void **state)
{
    (void)state;
    struct ff *x = with(0, 0);

    ff_arrive(x, 1, 1, true, 0);
    ff_run(x, 10 * FL_NS_PER_MS - 1);
    assert_int_equal(x->told_count, 0);
    ff_run(x, 1);
    assert_order(x, (const uint64_t[]){1}, 1);
    ff_arrive(x, 1, 2, true, 0);
    ff_disarm(x, 1);
    ff_run(x, 0);
    assert_order(x, (const uint64_t[]){1, 2}, 2);
    ff_free(x);
    x = with(0, FL_NS_PER_MS);
    ff_arrive(x, 1, 1, true, 0);
    ff_run(x, FL_NS_PER_MS);
    assert_order(x, (const uint64_t[]){1}, 1);
    ff_free(x);
}

/* It had arrived: it is told before the end. */
static void comes_before_the_end_of_its_connection(void **state)
{
    (void)state;
    struct ff *x = with(0, 0);

    ff_arrive(x, 1, 1, true, 0);
    ff_peer_down(x, 1, FL_ECONN);
    assert_int_equal(x->told[0].kind, FF_MSG);
    assert_int_equal(x->told[1].kind, FF_DOWN);
    ff_run(x, 20 * FL_NS_PER_MS);
    assert_int_equal(x->told_count, 2);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_behind_the_next_of_its_class),
        cmocka_unit_test(one_of_a_class_is_held),
        cmocka_unit_test(nothing_is_held_for_ever),
        cmocka_unit_test(comes_before_the_end_of_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
