/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

static bool refusal(int status)
{
    return status == FL_EPROTO || status == FL_EVERSION || status == FL_ECORRUPT;
}

/* Wherever the seed puts it: the codec refuses, and that is the end of the connection. */
static void every_hit_is_refused_by_the_codec(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    size_t hits = 400, codes[2] = {0, 0};

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_TRUNCATE, .from = 1, .to = 0, .count = hits});
    for (size_t i = 0; i < hits; i++) {
        ff_arrive(x, 1, i, i % 2 != 0, (uint8_t)i);
        struct ff_entry *e = ff_asked(x, FF_SEVER, i);
        assert_non_null(e);
        assert_int_equal(e->peer, 1);
        assert_true(refusal(e->status));
        codes[0] += e->status == FL_EPROTO;
        codes[1] += e->status == FL_ECORRUPT;
    }
    assert_int_equal(x->told_count, 0);
    assert_int_equal(tp_filters_fired(x->f, 1), hits);
    assert_true(codes[0] > 0 && codes[1] > 0); /* not always the same place */
    ff_arrive(x, 1, 7, true, 0x77);
    ff_arrive(x, 2, 8, true, 0x88);
    assert_int_equal(x->told[0].a, 7);
    assert_int_equal(x->told[0].first_byte, 0x77);
    assert_int_equal(x->told[1].a, 8);
    assert_int_equal(ff_asked_count(x, FF_SEVER), hits);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_hit_is_refused_by_the_codec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
