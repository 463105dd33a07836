/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/world_sim.h"

#define WALL_NS (60 * FL_NS_PER_S)

static struct plan *plan;
static struct result *res;
static int touched; /* the child's own copy */

static int setup(void **state)
{
    (void)state;
    plan = calloc(1, sizeof(*plan));
    plan->node_count = 2;
    res = result_new();
    touched = 0;
    return !plan || !res;
}

static int teardown(void **state)
{
    (void)state;
    free(plan);
    result_free(&res);
    return 0;
}

static int finds(const struct plan *p, const struct run_opts *o, struct result *ret,
                 struct fl_errmsg *err)
{
    (void)err;
    touched = 1;
    result_metric(ret, "c0.misses", 12);
    result_metric_text(ret, "close.heap", "FL_OK");
    struct result_check *c = result_check(ret, "W3", "bytes");
    c->checked = 99;
    snprintf(ret->nodes[1].name, sizeof ret->nodes[1].name, "m0");
    ret->node_count = p->node_count;
    ret->trace_hash = 0x1234;
    if (o->site_counts)
        o->site_counts[FL_SITE_COUNT + 2] += 7;
    return FL_OK;
}

static void what_it_found_comes_back(void **state)
{
    (void)state;
    uint64_t counts[2 * FL_SITE_COUNT] = {[FL_SITE_COUNT + 2] = 1};
    const struct run_opts o = {.site_counts = counts};
    struct result_metric *metrics = res->metrics;
    struct fl_errmsg err;
    assert_int_equal(ws_in_child(finds, plan, &o, WALL_NS, res, &err), FL_OK);
    assert_int_equal(touched, 0); /* in a process of its own */
    assert_ptr_equal(res->metrics, metrics);
    assert_int_equal(res->metric_count, 2);
    assert_string_equal(res->metrics[0].name, "c0.misses");
    assert_true(res->metrics[0].value > 11.9 && res->metrics[0].value < 12.1);
    assert_string_equal(res->metrics[1].text, "FL_OK");
    assert_int_equal(res->check_count, 1);
    assert_int_equal(res->checks[0].checked, 99);
    assert_int_equal(res->node_count, 2);
    assert_string_equal(res->nodes[1].name, "m0");
    assert_int_equal(res->trace_hash, 0x1234);
    assert_int_equal(counts[FL_SITE_COUNT + 2], 8);
    assert_false(res->node_failed);
}

static int refuses(const struct plan *p, const struct run_opts *o, struct result *ret,
                   struct fl_errmsg *err)
{
    (void)p;
    (void)o;
    (void)ret;
    return fl_fail(err, FL_EUNSUPPORTED, "not here");
}

static void an_error_comes_back_with_its_text(void **state)
{
    (void)state;
    const struct run_opts o = {0};
    struct fl_errmsg err = {{0}};
    assert_int_equal(ws_in_child(refuses, plan, &o, WALL_NS, res, &err), FL_EUNSUPPORTED);
    assert_string_equal(err.text, "not here");
}

static int crashes(const struct plan *p, const struct run_opts *o, struct result *ret,
                   struct fl_errmsg *err)
{
    (void)p;
    (void)o;
    (void)ret;
    (void)err;
    raise(SIGKILL);
    return FL_OK;
}

static void a_crash_is_a_result(void **state)
{
    (void)state;
    const struct run_opts o = {0};
    struct fl_errmsg err;
    assert_int_equal(ws_in_child(crashes, plan, &o, WALL_NS, res, &err), FL_OK);
    assert_true(res->node_failed);
    assert_non_null(strstr(res->why, "signal 9"));
}

static int leaves(const struct plan *p, const struct run_opts *o, struct result *ret,
                  struct fl_errmsg *err)
{
    (void)p;
    (void)o;
    (void)ret;
    (void)err;
    _exit(5);
}

static void an_exit_is_a_result(void **state)
{
    (void)state;
    const struct run_opts o = {0};
    struct fl_errmsg err;
    assert_int_equal(ws_in_child(leaves, plan, &o, WALL_NS, res, &err), FL_OK);
    assert_true(res->node_failed);
    assert_non_null(strstr(res->why, "status 5"));
}

static int hangs(const struct plan *p, const struct run_opts *o, struct result *ret,
                 struct fl_errmsg *err)
{
    (void)p;
    (void)o;
    (void)ret;
    (void)err;
    while (pause() != 0)
        ;
    return FL_OK;
}

static void one_that_does_not_come_back_is_ended(void **state)
{
    (void)state;
    const struct run_opts o = {0};
    struct fl_errmsg err;
    assert_int_equal(ws_in_child(hangs, plan, &o, 50 * FL_NS_PER_MS, res, &err), FL_OK);
    assert_true(res->timed_out);
    assert_non_null(strstr(res->why, "wall time"));
}

static void programs_are_found(void **state)
{
    (void)state;
    struct fl_errmsg err = {{0}};
    plan->workload_count = 2;
    plan->workloads[0].kind = PLAN_ZIPF;
    plan->workloads[1].kind = PLAN_RANDOM;
    assert_false(ws_has_programs(plan));
    plan->workloads[1].kind = PLAN_LUA;
    assert_true(ws_has_programs(plan));
    assert_int_equal(ws_coro_check(plan, &err), FL_OK);
    snprintf(plan->workloads[0].name, sizeof plan->workloads[0].name, "db");
    plan->workloads[0].kind = PLAN_SQLITE;
    assert_int_equal(ws_coro_check(plan, &err), FL_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "\"db\""));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_it_found_comes_back),
        T(an_error_comes_back_with_its_text),
        T(a_crash_is_a_result),
        T(an_exit_is_a_result),
        T(one_that_does_not_come_back_is_ended),
        T(programs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
