/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/filter_fixture.h"

/** A read of page 1 over bytes 0x11 that brings 0x22. */
static uint8_t *read_through(struct ff *x, enum tp_fault_kind kind, int status)
{
    uint8_t *page = x->mem + FL_PAGE_BYTES;
    struct tp_fault t = {kind, .from = 0, .to = 1, .count = 1};

    ff_arm(x, 1, t);
    memset(page, 0x11, FL_PAGE_BYTES);
    ff_op(x, FF_WRITE, 1, FL_NORMAL, 3);
    ff_op(x, FF_READ, 2, FL_NORMAL, 2); /* another link */
    ff_op(x, FF_READ, 1, FL_NORMAL, 1);
    if (status == FL_OK)
        memset(page, 0x22, FL_PAGE_BYTES);
    ff_answer(x, FF_READ, 1, status);
    assert_int_equal(ff_status(x, 1), status);
    return page;
}

static size_t count_of(const uint8_t *page, uint8_t value)
{
    size_t n = 0;
    for (size_t i = 0; i < FL_PAGE_BYTES; i++)
        n += page[i] == value;
    return n;
}

static void the_second_half_stays(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const uint8_t *page = read_through(x, TP_FAULT_SHORT_READ, FL_OK);

    assert_int_equal(count_of(page, 0x22), FL_PAGE_BYTES / 2);
    assert_int_equal(page[0], 0x22);
    assert_int_equal(page[FL_PAGE_BYTES - 1], 0x11);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

static void all_of_it_stays(void **state)
{
    (void)state;
    struct ff *x = ff_new();

    assert_int_equal(count_of(read_through(x, TP_FAULT_STALE_READ, FL_OK), 0x11), FL_PAGE_BYTES);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

static void one_bit_is_wrong(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    const uint8_t *page = read_through(x, TP_FAULT_BIT_FLIP, FL_OK);
    int bits = 0;

    for (size_t i = 0; i < FL_PAGE_BYTES; i++)
        bits += __builtin_popcount(page[i] ^ 0x22U);
    assert_int_equal(bits, 1);
    assert_int_equal(tp_filters_fired(x->f, 1), 1);
    ff_free(x);
}

/* A read that fails is not lied about, and the next one is hit instead. */
static void a_failed_read_does_not_count(void **state)
{
    (void)state;
    const enum tp_fault_kind kinds[] = {TP_FAULT_SHORT_READ, TP_FAULT_STALE_READ,
                                        TP_FAULT_BIT_FLIP};
    for (int i = 0; i < 3; i++) {
        struct ff *x = ff_new();
        read_through(x, kinds[i], FL_ECONN);
        assert_int_equal(tp_filters_fired(x->f, 1), 0);
        ff_op(x, FF_READ, 1, FL_NORMAL, 5);
        ff_answer(x, FF_READ, 2, FL_OK);
        assert_int_equal(tp_filters_fired(x->f, 1), 1);
        ff_free(x);
    }
}

static void registration_fails(void **state)
{
    (void)state;
    struct ff *x = ff_new();
    struct fl_errmsg err = {0};

    ff_arm(x, 1, (struct tp_fault){TP_FAULT_REG_FAIL, .count = 2});
    ff_arm(x, 2, (struct tp_fault){TP_FAULT_REG_FAIL, .from = 1, .to = 1}); /* not of this node */
    assert_int_equal(x->port->ops->reg(x->port, x->mem, 4096, &err), FL_ENOMEM);
    assert_non_null(strstr(err.text, "ulimit -l"));
    assert_int_equal(x->port->ops->expose(x->port, x->mem, 4096, NULL), FL_ENOMEM);
    assert_int_equal(x->asked_count, 0);
    assert_int_equal(x->port->ops->expose(x->port, x->mem, 4096, NULL), FL_OK);
    assert_int_equal(tp_filters_fired(x->f, 1), 2);
    assert_int_equal(tp_filters_fired(x->f, 2), 0);
    ff_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_half_stays), cmocka_unit_test(all_of_it_stays),
        cmocka_unit_test(one_bit_is_wrong),      cmocka_unit_test(a_failed_read_does_not_count),
        cmocka_unit_test(registration_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
