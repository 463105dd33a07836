/* SPDX-License-Identifier: Apache-2.0 */
/* emu/scenario_steps.c: at, event, expect, check. */
#include "emu/plan_steps.h"
#include "tests/support/plans.h"

static void steps_are_read(void **state)
{
    struct plan *p = plans_new("at (event (\"c0.flush_ack\", 12)) : kill (\"m0\") "
                               "at (\"5ms\") : pause (\"m1\", { for_ = \"2ms\" }) "
                               "at \"start\" : cut (\"c0\", \"m0\", { heal_after = \"20ms\" }) "
                               "at \"1s\" : heal (\"c0\", \"m1\", { one_way = true }) "
                               "at (event \"m0.lease\") : resume (\"m1\")");
    const struct plan_step *s = p->steps;

    (void)state;
    assert_int_equal(p->step_count, 6); /* a cut works in both directions */
    assert_int_equal(s[0].when, PLAN_AT_SITE);
    assert_int_equal(s[0].site, FL_SITE_FLUSH_ACK);
    assert_int_equal(s[0].nth, 12);
    assert_int_equal(s[0].action, PLAN_KILL);
    assert_int_equal(s[0].target, 1);
    assert_true(s[0].for_ns == FL_NEVER);
    assert_int_equal(s[1].at_ns, 5 * FL_NS_PER_MS);
    assert_int_equal(s[1].for_ns, 2 * FL_NS_PER_MS);
    assert_int_equal(s[2].when, PLAN_AT_START);
    assert_int_equal(s[2].target2, 1);
    assert_int_equal(s[3].target, 1);
    assert_int_equal(s[3].target2, 0);
    assert_int_equal(s[3].for_ns, 20 * FL_NS_PER_MS);
    assert_int_equal(s[4].action, PLAN_HEAL);
    assert_int_equal(s[5].nth, 1);
    free(p);
}

static void ranges_are_read(void **state)
{
    struct plan *p = plans_new("at (event (\"c0.miss\", { to = 7 })) : kill (\"m0\") "
                               "at { between = { \"0ns\", \"2ms\" } } : kill (\"m1\")");

    (void)state;
    assert_int_equal(p->steps[0].nth, 1);
    assert_int_equal(p->steps[0].to, 7);
    assert_int_equal(p->steps[0].draw, 1);
    assert_int_equal(p->steps[1].when, PLAN_AT_TIME);
    assert_int_equal(p->steps[1].at_ns, 0);
    assert_int_equal(p->steps[1].to, 2000000);
    assert_int_equal(p->steps[1].draw, 2);
    free(p);
}

static void wrong_ranges_are_refused(void **state)
{
    (void)state;
    plans_refused("at (event (\"c0.miss\", { from = 9, to = 9 })) : kill (\"m0\")", "larger");
    plans_refused("at (event (\"c0.miss\", { from = 9 })) : kill (\"m0\")", "larger");
    plans_refused("at (event (\"c0.miss\", { from = 0, to = 9 })) : kill (\"m0\")", "from 1");
    plans_refused("at (event (\"c0.miss\", { till = 9 })) : kill (\"m0\")", "from and to");
    plans_refused("at { between = { \"2ms\", \"1ms\" } } : kill (\"m0\")", "second after");
    plans_refused("at { between = { \"2ms\" } } : kill (\"m0\")", "two times");
    plans_refused("at { between = { \"2ms\", \"soon\" } } : kill (\"m0\")", "not a time");
    plans_refused("at { betwixt = 1 } : kill (\"m0\")", "there is between");
    plans_refused("at { } : kill (\"m0\")", "two times");
}

static void wrong_steps_are_refused(void **state)
{
    (void)state;
    plans_refused("at (event (\"c0.flush_akc\")) : kill (\"m0\")", "did you mean \"flush_ack\"");
    plans_refused("at (event (\"c9.flush_ack\")) : kill (\"m0\")", "no node \"c9\"");
    plans_refused("at (event (\"flush_ack\")) : kill (\"m0\")", "NODE.SITE");
    plans_refused("at (event (\"c0.flush_ack\", 0)) : kill (\"m0\")", "from 1");
    plans_refused("at (event (\"c0.flush_ack\", 1.5)) : kill (\"m0\")", "from 1");
    plans_refused("at (5) : kill (\"m0\")", "at: the moment");
    plans_refused("at (\"soon\") : kill (\"m0\")", "neither");
    plans_refused("at (\"5ms\") : kil (\"m0\")", "did you mean \"kill\"");
    plans_refused("at (\"5ms\") : explode (\"m0\")", "farline-scenario(5)");
    plans_refused("at (\"5ms\").kill (\"m0\")", "with a colon");
    plans_refused("at (\"5ms\") : kill (\"mm\")", "no node");
    plans_refused("at (\"5ms\") : kill (\"m0\", { for_ = \"1ms\" })", "there is none");
    plans_refused("at (\"5ms\") : pause (\"m0\", { heal_after = \"1ms\" })", "there is for_");
    plans_refused("at (\"5ms\") : pause (\"m0\", { for_ = 5 })", "must be a time");
    plans_refused("at (\"5ms\") : pause (\"m0\", 5)", "braces");
    plans_refused("at (\"5ms\") : cut (\"m0\", \"m0\")", "two different nodes");
    plans_refused("at (\"5ms\") : cut (\"m0\", \"m1\", { one_way = 1 })", "true or false");
    plans_refused("local a = at (\"5ms\") a : kill (\"m0\") a : kill (\"m1\")", "already has");
    plans_refused("for i = 1, 65 do at (\"5ms\") : kill (\"m0\") end", "more than 64 steps");
}

static void faults_are_read(void **state)
{
    struct plan *p = plans_new(
        "at \"1ms\" : delay (\"c0\", \"m0\", { by = \"2ms\", for_ = \"10ms\", class = \"bulk\", "
        "every = 3, count = 1 }) "
        "at \"1ms\" : rate (\"c0\", \"m0\", { bps = \"1M\", one_way = true }) "
        "at \"1ms\" : flip_bit (\"c0\", \"m0\", { count = 1 }) "
        "at \"1ms\" : duplicate (\"c0\", \"m0\", { one_way = false }) "
        "at \"1ms\" : kill (\"m0\") "
        "at \"2ms\" : restart (\"m0\", { after = \"10ms\", image = \"blank\" }) "
        "at \"3ms\" : slow (\"c0\", { by = \"1ms\", for_ = \"20ms\" }) "
        "at \"4ms\" : fill_slots (\"c0\", { for_ = \"5ms\" }) "
        "at \"5ms\" : fail_registration (\"m1\")");
    const struct plan_step *s = p->steps;

    (void)state;
    assert_int_equal(p->step_count, 11);
    assert_int_equal(s[0].action, PLAN_FAULT);
    assert_int_equal(s[0].fault, TP_FAULT_DELAY);
    assert_int_equal(s[0].by_ns, 2 * FL_NS_PER_MS);
    assert_int_equal(s[0].for_ns, 10 * FL_NS_PER_MS);
    assert_int_equal(s[0].classes, 1 << FL_BULK);
    assert_int_equal(s[0].every, 3);
    assert_int_equal(s[0].count, 1);
    assert_int_equal(s[1].target, s[0].target2); /* a slow link is slow both ways */
    assert_int_equal(s[2].fault, TP_FAULT_RATE);
    assert_int_equal(s[2].rate_bps, 1000000);
    assert_int_equal(s[3].fault, TP_FAULT_BIT_FLIP); /* an operation has one way */
    assert_int_equal(s[4].fault, TP_FAULT_DUPLICATE);
    assert_int_equal(s[5].fault, TP_FAULT_DUPLICATE);
    assert_int_equal(s[7].action, PLAN_RESTART);
    assert_int_equal(s[7].by_ns, 10 * FL_NS_PER_MS);
    assert_true(s[7].blank);
    assert_int_equal(s[8].action, PLAN_SLOW);
    assert_int_equal(s[9].action, PLAN_SLOTS_FULL);
    assert_int_equal(s[10].fault, TP_FAULT_REG_FAIL);
    free(p);
}

static void wrong_faults_are_refused(void **state)
{
    (void)state;
    plans_refused("at (\"5ms\") : dely (\"c0\", \"m0\")", "did you mean \"delay\"");
    plans_refused("at (\"5ms\") : delay (\"c0\", \"m0\", { by = 5 })", "must be a time");
    plans_refused("at (\"5ms\") : rate (\"c0\", \"m0\", { bps = \"fast\" })", "must be a rate");
    plans_refused("at (\"5ms\") : drop (\"c0\", \"m0\", { class = \"huge\" })",
                  "one of \"urgent\"");
    plans_refused("at (\"5ms\") : drop (\"c0\", \"m0\", { count = 0 })", "from 1");
    plans_refused("at (\"5ms\") : drop (\"c0\", \"m0\", { by = \"1ms\" })",
                  "there are for_, class, every, count and one_way");
    plans_refused("at (\"5ms\") : restart (\"m0\", { image = \"old\" })", "\"kept\", \"blank\"");
    plans_refused("at (\"5ms\") : resume (\"m0\", { for_ = \"1ms\" })", "there is none");
}

static void expectations_are_read(void **state)
{
    struct plan *p = plans_new(
        "expect (\"evictions\") : above (0) expect \"close_ns.heap\" : below (\"2ms\") "
        "expect \"bytes_sent\" : at_most (\"1M\") expect \"close.heap\" : is (\"FL_OK\") "
        "expect \"a\" : at_least (1) expect \"b\" : equals (2) expect \"c\" : differs (3) "
        "expect \"d\" : is_not (\"x\")");
    const struct plan_expect *e = p->expects;

    (void)state;
    assert_int_equal(p->expect_count, 8);
    assert_int_equal(e[0].cmp, PLAN_GT);
    assert_int_equal(e[1].cmp, PLAN_LT);
    assert_true(e[1].value > 1999999 && e[1].value < 2000001);
    assert_int_equal(e[2].cmp, PLAN_LE);
    assert_true(e[2].value > 1048575 && e[2].value < 1048577);
    assert_string_equal(e[3].text, "FL_OK");
    assert_int_equal(e[4].cmp, PLAN_GE);
    assert_int_equal(e[5].cmp, PLAN_EQ);
    assert_int_equal(e[6].cmp, PLAN_NE);
    assert_int_equal(e[7].cmp, PLAN_NE);
    free(p);
}

static void wrong_expectations_are_refused(void **state)
{
    (void)state;
    plans_refused("expect (\"x\") : abov (1)", "did you mean \"above\"");
    plans_refused("expect (\"x\") : above ()", "missing");
    plans_refused("expect (\"x\") : above (\"2ms\")", "not a number");
    plans_refused("expect (\"x\") : above (0/0)", "finite");
    plans_refused("expect (\"x\") : is (\"\")", "empty");
    plans_refused("expect (\"x\") : is ((\"y\"):rep (40))", "longer than 31");
    plans_refused("expect (\"x\").above (1)", "with a colon");
    plans_refused("local e = expect (\"x\") e : above (1) e : above (2)", "already has");
    plans_refused("expect (7) : above (1)", "text in quotes");
    plans_refused("for i = 1, 65 do expect (\"x\") : above (1) end", "more than 64");
}

static void wrong_checks_are_refused(void **state)
{
    (void)state;
    plans_refused("check \"W2\"", "needs a list");
    plans_refused("check {}", "needs a list");
    plans_refused("check { a = \"W2\" }", "needs a list");
    plans_refused("check { \"W2\", \"W2\" }", "listed twice");
    plans_refused("check { \"W3\" }", "listed twice"); /* the basic text has it */
    plans_refused("check { \"w2\" }", "no invariant \"w2\"");
    plans_refused("check { 2 }", "text in quotes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_read),
        cmocka_unit_test(wrong_steps_are_refused),
        cmocka_unit_test(ranges_are_read),
        cmocka_unit_test(wrong_ranges_are_refused),
        cmocka_unit_test(faults_are_read),
        cmocka_unit_test(wrong_faults_are_refused),
        cmocka_unit_test(expectations_are_read),
        cmocka_unit_test(wrong_expectations_are_refused),
        cmocka_unit_test(wrong_checks_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
