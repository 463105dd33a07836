/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "emu/base/env.h"
#include "emu/base/trace.h"

static void sink(void *arg, const struct fl_trace_rec *rec)
{
    *(uint64_t *)arg += rec->a;
}

static const struct fl_trace_rec rec = {.t_ns = 0x0102030405060708,
                                        .node = 3,
                                        .kind = FL_TR_SITE,
                                        .code = FL_SITE_SNAP,
                                        .region = 1,
                                        .page = 77,
                                        .a = 5,
                                        .b = 6};

/* The golden value also pins the byte order: records are hashed little-endian everywhere. */
static void the_hash_is_the_same_on_every_machine(void **state)
{
    uint64_t sum = 0;
    struct fl_trace *t = fl_trace_new(sink, &sum);

    (void)state;
    fl_trace_add(t, &rec);
    fl_trace_add(t, &rec);
    assert_int_equal(sum, 10);
    assert_int_equal(fl_trace_count(t), 2);
    assert_int_equal(fl_trace_hash(t), UINT64_C(0x6d5b5ef4c94122f6));
    fl_trace_free(&t);
    assert_null(t);
}

static void every_field_changes_the_hash(void **state)
{
    struct fl_trace *t = fl_trace_new(NULL, NULL);
    uint64_t base;

    (void)state;
    fl_trace_add(t, &rec);
    base = fl_trace_hash(t);
    fl_trace_free(&t);
#define CHANGED(field)                                                                             \
    do {                                                                                           \
        struct fl_trace_rec r = rec;                                                               \
        r.field++;                                                                                 \
        t = fl_trace_new(NULL, NULL);                                                              \
        fl_trace_add(t, &r);                                                                       \
        assert_int_not_equal(fl_trace_hash(t), base);                                              \
        fl_trace_free(&t);                                                                         \
    } while (0)
    CHANGED(t_ns);
    CHANGED(node);
    CHANGED(kind);
    CHANGED(code);
    CHANGED(region);
    CHANGED(page);
    CHANGED(a);
    CHANGED(b);
#undef CHANGED
}

static void records_have_names(void **state)
{
    struct fl_trace_rec r = rec;

    (void)state;
    assert_string_equal(fl_trace_code_name(&r), "snap");
    r.kind = FL_TR_EVENT;
    r.code = FL_EV_DIRTY;
    assert_string_equal(fl_trace_code_name(&r), "DIRTY");
    r.kind = FL_TR_CALL;
    r.code = FL_CALL_FENCE;
    assert_string_equal(fl_trace_code_name(&r), "fence");
    r.kind = FL_TR_OP;
    r.code = 1;
    assert_string_equal(fl_trace_code_name(&r), "store");
    r.kind = FL_TR_SITE;
    r.code = 9999;
    assert_string_equal(fl_trace_code_name(&r), "?");
    r.kind = 99;
    assert_string_equal(fl_trace_code_name(&r), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_the_same_on_every_machine),
        cmocka_unit_test(every_field_changes_the_hash),
        cmocka_unit_test(records_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
