/* SPDX-License-Identifier: Apache-2.0 */
/* emu/scenario_lua.c: what a scenario cannot reach, and the same result every time. */
#include "tests/support/plans.h"

/** The script must evaluate; assert() in it is the test. */
static void holds(const char *script)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    assert_non_null(p);
    if (plans_eval(script, p, &err) != FL_OK)
        fail_msg("%s", err.text);
    free(p);
}

static void nothing_leads_outside(void **state)
{
    static const char *const names[] = {"os",     "io",      "load",     "loadfile",
                                        "dofile", "require", "package",  "debug",
                                        "pcall",  "xpcall",  "coroutine"};
    char script[64];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(script, sizeof(script), "local x = %s", names[i]);
        plans_refused(script, "is not available");
    }
    plans_refused("local x = collectgarbage", "nothing called");
    plans_refused("local x = rawset", "nothing called");
    plans_refused("local x = _G", "nothing called");
    holds("assert (string.dump == nil and math.randomseed == nil)");
    holds("assert (getmetatable (_ENV) == \"locked\")");
    plans_refused("setmetatable (_ENV, {})", "locked");
}

static void names_are_checked(void **state)
{
    (void)state;
    plans_refused("nod \"x\" {}", "did you mean \"node\"");
    plans_refused("local y = undefined_thing", "define it before");
    plans_refused("node = 5", "belongs to the scenario language");
    plans_refused("print = nil", "belongs to the scenario language");
    holds("mine = 5 assert (mine == 5)");
}

static void addresses_are_hidden(void **state)
{
    (void)state;
    holds("assert (tostring ({}) == \"table\" and tostring (print) == \"function\")");
    holds("assert (string.format (\"%s\", {}) == \"table\")");
    holds("assert ((\"%5s|%d\"):format (\"a\", 3) == \"    a|3\")");
    holds("assert (tostring (event \"c0.miss\") == \"userdata\")");
    plans_refused("local s = string.format (\"%p\", {})", "%p is not available");
    plans_refused("local s = string.format (\"%-20p\", {})", "%p is not available");
    holds("local t = setmetatable ({}, { __tostring = function () return \"me\" end }) assert "
          "(tostring (t) == \"me\")");
}

static void tables_are_walked_in_order(void **state)
{
    (void)state;
    holds("local out = {} for k in pairs { z = 1, a = 2, [3] = 1, [1] = 1, [2.5] = 1, [true] = 1 } "
          "do out[#out + 1] = tostring (k) end assert (table.concat (out, \",\") == "
          "\"true,1,2.5,3,a,z\")");
    holds("local t, n = {}, 0 for i = 1, 200 do t[\"k\" .. (i * 7919) % 1000] = i end local last = "
          "\"\" for k in pairs (t) do assert (k > last) last = k n = n + 1 end assert (n == 200)");
    holds("local t = { a = 1, b = 2, c = 3 } for k in pairs (t) do t[k] = nil end assert (next (t) "
          "== nil)");
    holds(
        "local t = { b = 2, a = 1 } local k, v = next (t) assert (k == \"a\" and v == 1) k = next "
        "(t, k) assert (k == \"b\") assert (next (t, k) == nil)");
    plans_refused("for k in pairs { [{}] = 1 } do end", "has no order");
    plans_refused("for k in pairs (5) do end", "table expected");
}

static void sorting_is_stable(void **state)
{
    (void)state;
    holds("local t = {} for i = 1, 500 do t[i] = { key = (i * 31) % 7, at = i } end "
          "table.sort (t, function (a, b) return a.key < b.key end) "
          "for i = 2, 500 do assert (t[i - 1].key < t[i].key or (t[i - 1].key == t[i].key and "
          "t[i - 1].at < t[i].at)) end");
    holds("local t = { 3, 1, 2 } table.sort (t) assert (t[1] == 1 and t[2] == 2 and t[3] == 3)");
    holds("local t = { 1 } table.sort (t) table.sort ({})");
    holds("local t = { 5, 3, 8, 1 } table.sort (t, function (a, b) return a > b end) assert (t[1] "
          "== 8 and t[4] == 1)");
    plans_refused("table.sort { 1, \"x\" }", "attempt to compare");
    plans_refused("table.sort ({ 1, 2 }, 7)", "function expected");
}

static void endless_work_is_stopped(void **state)
{
    (void)state;
    plans_refused("while true do end", "runs too long");
    plans_refused("local function f () return f () end f ()", "runs too long");
    plans_refused(
        "local t = setmetatable ({}, { __index = function (t, k) return t[k] end }) local "
        "x = t.y",
        "overflow");
}

static void out_of_memory(const char *script)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    assert_int_equal(plans_eval(script, p, &err), FL_EINVAL);
    plans_contains(err.text, "needs more than 32 MiB");
    free(p);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    out_of_memory("local s = \"x\" while true do s = s .. s end");
    out_of_memory("local t = {} for i = 1, 1e9 do t[i] = (\"x\"):rep (1000) .. i end");
    out_of_memory("local s = (\"x\"):rep (1 << 30)");
    out_of_memory("local function f () return 1 + f () end f ()");
}

static void no_traces_of_the_collector(void **state)
{
    (void)state;
    plans_refused("setmetatable ({}, { __gc = print })", "__gc is not available");
    plans_refused("setmetatable ({}, { __mode = \"k\" })", "__mode is not available");
    plans_refused("local t <close> = setmetatable ({}, { __close = print })", "__close");
    holds("assert (getmetatable (setmetatable ({}, { a = 1 })).a == 1)");
    holds("assert (getmetatable (setmetatable ({}, nil)) == nil)");
}

static void printing_is_bounded(void **state)
{
    (void)state;
    plans_refused("for i = 1, 1000 do print ((\"x\"):rep (100)) end", "at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leads_outside), cmocka_unit_test(names_are_checked),
        cmocka_unit_test(addresses_are_hidden),  cmocka_unit_test(tables_are_walked_in_order),
        cmocka_unit_test(sorting_is_stable),     cmocka_unit_test(endless_work_is_stopped),
        cmocka_unit_test(memory_is_bounded),     cmocka_unit_test(no_traces_of_the_collector),
        cmocka_unit_test(printing_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
