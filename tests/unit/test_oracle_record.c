/* SPDX-License-Identifier: Apache-2.0 */
/* emu/oracle_record.c: what a crash may cost, and what it may not. */
#include "emu/oracle.h"

#include "emu/mech/writeback.h"
#include "tests/support/plans.h"

struct fx {
    struct plan *p;
    void *mem;
    struct oracle *o;
    uint8_t page[FL_PAGE_BYTES];
};

static struct plan *plan_with(const char *extra)
{
    struct plan *p = plans_new(extra);

    p->check_count = 1;
    strcpy(p->checks[0], "W3");
    return p;
}

static void setup(struct fx *f, uint8_t path)
{
    memset(f, 0, sizeof *f);
    f->p = plan_with("at \"1ms\" : kill (\"c0\")");
    f->p->regions[0].path = path;
    f->mem = calloc(1, oracle_record_bytes(f->p, 0));
    assert_non_null(f->mem);
    f->o = oracle_new(f->p, 0, NULL);
    oracle_record(f->o, f->mem);
    oracle_on_install(f->o, 0, 0, FL_MASK_ALL, f->page); /* zeros */
    oracle_on_install(f->o, 0, 1, FL_MASK_ALL, f->page);
}

static void teardown(struct fx *f)
{
    oracle_free(&f->o);
    free(f->mem);
    free(f->p);
}

static struct fl_rma write_of(uint32_t page, fl_mask mask, uint64_t seq, uint64_t batch)
{
    return (struct fl_rma){
        .tag = batch, .slot = {1, 0, page}, .page = page, .mask = mask, .seq = seq};
}

/** Stores @value into line @line of a page: shadow and @src. */
static void store(struct fx *f, uint32_t page, unsigned line, int value, uint8_t *src)
{
    memset(oracle_shadow(f->o, 0) + page * FL_PAGE_BYTES + line * FL_LINE_BYTES, value,
           FL_LINE_BYTES);
    memset(src + line * FL_LINE_BYTES, value, FL_LINE_BYTES);
}

static uint64_t violated(struct oracle *o)
{
    struct result *r = result_new();

    oracle_report(o, r);
    assert_int_equal(r->check_count, 1);
    uint64_t n = r->checks[0].violated;
    result_free(&r);
    return n;
}

static void only_plans_with_a_crash_need_it(void **state)
{
    struct plan *p = plan_with("");

    (void)state;
    assert_int_equal(oracle_record_bytes(p, 0), 0);
    free(p);
    p = plan_with("at \"1ms\" : kill (\"m0\") at \"2ms\" : restart (\"m0\")");
    assert_true(oracle_record_bytes(p, 0) > p->regions[0].size_bytes);
    assert_int_equal(oracle_record_bytes(p, 1), 0); /* a memory node has nothing to remember */
    free(p);
}

static void acknowledged_lines_must_be_there(void **state)
{
    struct fx f;
    uint8_t remote[FL_PAGE_BYTES] = {0};

    (void)state;
    setup(&f, WB_DIRECT);
    struct fl_rma op = write_of(0, 2, 1, 0);
    store(&f, 0, 1, 7, f.page);
    oracle_on_hand(f.o, &op, f.page);
    oracle_on_post(f.o, &op, f.page);
    oracle_on_done(f.o, &op, f.page, FL_OK, 0);
    memset(remote + FL_LINE_BYTES, 7, FL_LINE_BYTES);
    assert_int_equal(oracle_crash_page(f.o, 0, 0, remote), 0);
    assert_int_equal(violated(f.o), 0);
    remote[FL_LINE_BYTES + 5] = 8;
    assert_int_equal(oracle_crash_page(f.o, 0, 0, remote), 1);
    assert_int_equal(violated(f.o), 1);
    teardown(&f);
}

/* What was under way is old, new, or in one-sided writes a mixture; a line that was only stored is
 * lost. Another process reads all of this from the record. */
static void what_was_under_way_may_be_either(void **state)
{
    struct fx f;
    uint8_t remote[FL_PAGE_BYTES] = {0};

    (void)state;
    setup(&f, WB_DIRECT);
    struct fl_rma op = write_of(0, 6, 1, 0);
    store(&f, 0, 1, 7, f.page);
    store(&f, 0, 2, 9, f.page);
    oracle_on_hand(f.o, &op, f.page);
    oracle_on_post(f.o, &op, f.page);
    store(&f, 0, 3, 4, f.page); /* after the snapshot */
    struct oracle *reader = oracle_new(f.p, 0, NULL);
    oracle_record(reader, f.mem);
    memset(remote + FL_LINE_BYTES, 7, FL_LINE_BYTES);
    memset(remote + 2 * FL_LINE_BYTES, 9, 10);
    assert_int_equal(oracle_crash_page(reader, 0, 0, remote), 2);
    assert_int_equal(oracle_crash_page(reader, 0, 1, f.page), 4 - 1); /* lines never stored there */
    assert_int_equal(violated(reader), 3);
    remote[2 * FL_LINE_BYTES] = 1; /* neither of the two */
    assert_int_equal(oracle_crash_page(reader, 0, 0, remote), 2);
    assert_int_equal(violated(reader), 4);
    oracle_free(&reader);
    teardown(&f);
}

static void a_batch_is_there_as_a_whole_or_not_at_all(void **state)
{
    struct fx f;
    uint8_t zeros[FL_PAGE_BYTES] = {0};

    (void)state;
    setup(&f, WB_LOG);
    struct fl_rma a = write_of(0, 2, 1, 5), b = write_of(1, 2, 1, 5);
    store(&f, 0, 1, 7, f.page);
    store(&f, 1, 1, 7, f.page);
    oracle_on_hand(f.o, &a, f.page);
    oracle_on_post(f.o, &a, f.page);
    oracle_on_hand(f.o, &b, f.page);
    oracle_on_post(f.o, &b, f.page);
    assert_int_equal(oracle_crash_page(f.o, 0, 0, f.page), 0);
    assert_int_equal(oracle_crash_page(f.o, 0, 1, f.page), 0);
    assert_int_equal(violated(f.o), 0);
    assert_int_equal(oracle_crash_page(f.o, 0, 1, zeros), 1);
    assert_int_equal(violated(f.o), 1);
    teardown(&f);
}

/* A failed write and its repetition: any version may be there until the answer. */
static void several_versions_decide_nothing(void **state)
{
    struct fx f;
    uint8_t remote[FL_PAGE_BYTES] = {0};

    (void)state;
    setup(&f, WB_DIRECT);
    struct fl_rma op = write_of(0, 2, 1, 0);
    store(&f, 0, 1, 7, f.page);
    oracle_on_hand(f.o, &op, f.page);
    oracle_on_post(f.o, &op, f.page);
    oracle_on_done(f.o, &op, f.page, FL_ETIMEDOUT, 0);
    oracle_on_fence(f.o, 1, FL_OK);
    op.seq = 2;
    store(&f, 0, 1, 8, f.page);
    oracle_on_hand(f.o, &op, f.page);
    oracle_on_post(f.o, &op, f.page);
    memset(remote + FL_LINE_BYTES, 7, FL_LINE_BYTES);
    assert_int_equal(oracle_crash_page(f.o, 0, 0, remote), 1);
    assert_int_equal(violated(f.o), 0);
    oracle_on_done(f.o, &op, f.page, FL_OK, 0);
    assert_int_equal(oracle_crash_page(f.o, 0, 0, remote), 1);
    assert_int_equal(violated(f.o), 1); /* acknowledged, and gone */
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_plans_with_a_crash_need_it),
        cmocka_unit_test(acknowledged_lines_must_be_there),
        cmocka_unit_test(what_was_under_way_may_be_either),
        cmocka_unit_test(a_batch_is_there_as_a_whole_or_not_at_all),
        cmocka_unit_test(several_versions_decide_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
