/* SPDX-License-Identifier: Apache-2.0 */
/* emu/scenario_api.c: every mistake is reported where it is made. */
#include "tests/support/plans.h"

static void nodes(void **state)
{
    (void)state;
    plans_refused("node \"c0\" { role = \"memory\" }", "already defined on line 2");
    plans_refused("node \"n\" {}", "role is missing");
    plans_refused("node \"n\" { role = \"king\" }", "\"compute\" or \"memory\"");
    plans_refused("node \"n\" { role = 3 }", "text in quotes");
    plans_refused("node \"n\" { role = \"memory\", memry = 1 }", "did you mean \"memory\"");
    plans_refused("node \"n\" { role = \"memory\", device_memory = \"1M\" }",
                  "not a setting of a memory node");
    plans_refused("node \"n\" { role = \"memory\", memory = {} }", "not a table");
    plans_refused("node \"n\" { role = \"memory\", memory = true }", "not a boolean");
    plans_refused("node \"n\" { role = \"memory\", memory = -4096 }", "\"-4096\"");
    plans_refused("node \"n\" { role = \"memory\", memory = 4096.5 }", "4096.5");
    plans_refused("node \"n\" { role = \"memory\", memory = 1/0 }", "memory is");
    plans_refused("node \"n\" { role = \"memory\", 7 }", "without a name");
    plans_refused("node \"n\" (3)", "settings in braces");
    plans_refused("node \"a-b\" {}", "name of a node");
    plans_refused("node (nil)", "text in quotes");
    plans_refused("local f = node \"n\" f { role = \"memory\" } f { role = \"memory\" }",
                  "already defined");
}

static void links(void **state)
{
    (void)state;
    plans_refused("link (\"c0\", \"m9\")", "did you mean \"m0\"");
    plans_refused("link (\"c0\", \"c0\")", "two different nodes");
    plans_refused("link (\"m0\", \"c0\") {}", "already defined on line 5");
    plans_refused("link (\"c0\", \"m1\") { delay = 5 }", "unit");
    plans_refused("link (\"c0\", \"m1\") { dealy = \"5us\" }", "did you mean \"delay\"");
    plans_refused("link (\"c0\") {}", "second node");
}

static void regions(void **state)
{
    (void)state;
    plans_refused("region \"heap\" {}", "already defined on line 6");
    plans_refused("region \"r\" { on = \"c0\", backed_by = { \"m0\" } }", "size is missing");
    plans_refused("region \"r\" { size = \"4K\", backed_by = { \"m0\" } }", "on is missing");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\" }", "either backed_by");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", backed_by = \"m0\" }", "list");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", backed_by = {} }", "0 elements");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", backed_by = { a = \"m0\" } }",
                  "without names");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", backed_by = { 7 } }", "element 1");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", backed_by = { \"mm\" } }", "no node");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", chunks = { \"m0\" } }", "element 1");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", chunks = { { node = \"m0\" } } }",
                  "size is missing");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", chunks = { { size = \"4K\" } } }",
                  "node is missing");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", chunks = { { node = \"m0\", size = 5 "
                  "} } }",
                  "whole pages");
    plans_refused("region \"r\" { on = \"c0\", size = \"4K\", chunks = { { node = \"m0\", sise = 5 "
                  "} } }",
                  "node and size");
    plans_refused(
        "region \"r\" { on = \"c0\", size = \"4K\", backed_by = { \"m0\" }, chunks = {} }",
        "either backed_by");
}

static void workloads(void **state)
{
    (void)state;
    plans_refused("workload \"w\" { region = \"heap\", kind = \"zipf\" }", "already defined");
    plans_refused("workload \"x\" { region = \"heap\" }", "kind is missing");
    plans_refused("workload \"x\" { kind = \"zipf\" }", "region is missing");
    plans_refused("workload \"x\" { kind = \"zip\", region = \"heap\" }", "\"zipf\"");
    plans_refused("workload \"x\" { kind = \"zipf\", region = \"hep\" }", "did you mean \"heap\"");
    plans_refused("workload \"x\" { kind = \"zipf\", region = \"heap\", ops = \"1K\" }",
                  "whole number");
}

static void variants(void **state)
{
    (void)state;
    plans_refused("variant \"a/b\" {}", "name of a variant");
    plans_refused("variant \"a\" {} variant \"a\" {}", "already defined on line 9");
    plans_refused("variant \"a\" { [\"region.heap.treshold\"] = 1 }", "did you mean");
    plans_refused("variant \"a\" { a=1, b=1, c=1, d=1, e=1, f=1, g=1, h=1, i=1 }", "more than 8");
    plans_refused("variant \"a\" { [(\"x\"):rep (96)] = 1 }", "longer than");
    plans_refused("variant \"a\" { { } }", "without a name");
}

static void the_run(void **state)
{
    (void)state;
    plans_refused("title \"again\"", "title is given twice");
    plans_refused("deadline \"0\"", "deadline is 0");
    plans_refused("deadline (5)", "unit");
    plans_refused("heartbeat {}", "not a table");
    plans_refused("seed (-1)", "whole number");
    plans_refused("seed (1.5)", "whole number");
}

static void texts_are_clean(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(plans_eval_text("title \"a\\255b\"", p, &err), FL_EINVAL);
    plans_contains(err.text, "UTF-8");
    assert_int_equal(plans_eval_text("title \"a\\27[2Jb\"", p, &err), FL_EINVAL);
    plans_contains(err.text, "control character");
    assert_int_equal(plans_eval_text("title \"a\\0b\"", p, &err), FL_EINVAL);
    plans_contains(err.text, "control character");
    assert_int_equal(plans_eval_text("title ((\"x\"):rep (500))", p, &err), FL_EINVAL);
    plans_contains(err.text, "longer than 127");
    assert_int_equal(plans_eval_text("title \"caf\\u{e9}\" check { \"W1\" }", p, &err), FL_OK);
    free(p);
}

static void loops_build_clusters(void **state)
{
    struct plan *p =
        plans_new("local names = {} for i = 2, 9 do local n = \"m\" .. i node (n) { role = "
                  "\"memory\", memory "
                  "= \"64K\" } names[#names + 1] = n end "
                  "region \"wide\" { on = \"c0\", size = \"256K\", backed_by = names }");

    (void)state;
    assert_int_equal(p->node_count, 11);
    assert_int_equal(p->regions[1].chunk_count, 8);
    assert_int_equal(p->regions[1].chunks[7].page_count, 8);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes),           cmocka_unit_test(links),
        cmocka_unit_test(regions),         cmocka_unit_test(workloads),
        cmocka_unit_test(variants),        cmocka_unit_test(the_run),
        cmocka_unit_test(texts_are_clean), cmocka_unit_test(loops_build_clusters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
