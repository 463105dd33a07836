/* SPDX-License-Identifier: Apache-2.0 */
/* emu/plan_json.c: what is written reads back equal; anything else is refused. */
#include "tests/support/plans.h"

static const char rich[] =
    "node \"c1\" { role = \"compute\", evict = \"clock\" } seed (99) same_image () "
    "region \"r2\" { on = \"c1\", size = \"64K\", period = \"never\", path = \"log\", chunks = { { "
    "node = \"m1\", size = \"64K\" } } } "
    "workload \"z\" { region = \"r2\", kind = \"zipf\", theta = 0.123456789012345 } "
    "at (event (\"c0.flush_ack\", 3)) : kill (\"m0\") at { between = { \"5ms\", \"7ms\" } } : "
    "pause (\"m1\", { for_ = "
    "\"2ms\" }) at (\"start\") : cut (\"c0\", \"m0\", { for_ = \"1ms\" }) "
    "at \"1ms\" : delay (\"c0\", \"m0\", { by = \"1ms\", class = \"bulk\", every = 3, count = 9 }) "
    "at \"1ms\" : rate (\"c0\", \"m0\", { bps = \"1M\", for_ = \"2ms\" }) "
    "at \"1s\" : restart (\"m0\", { after = \"3ms\", image = \"blank\" }) "
    "at \"1s\" : slow (\"c0\", { by = \"3us\" }) at \"1s\" : fill_slots (\"c0\") "
    "at \"start\" : fail_registration (\"c0\", { count = 1 }) "
    "expect (\"close.heap\") : is (\"FL_OK\") expect (\"evictions\") : above (0.1) "
    "variant \"A\" { [\"region.heap.threshold\"] = 0 } variant \"B\" { seed = 3 } check { \"W9\" }";

static void a_plan_reads_back_equal(void **state)
{
    struct plan *p = plans_new(rich), *q = malloc(sizeof(*q));
    struct fl_errmsg err = {""};

    (void)state;
    assert_non_null(q);
    memset(q, 0xaa, sizeof(*q));
    assert_int_equal(fl_plant_add(&p->plants, "W-miscount"), FL_OK);
    assert_int_equal(fl_plant_add(&p->plants, "blind-W9"), FL_OK);
    char *text = plan_to_json(p);
    assert_non_null(text);
    if (plan_from_json(text, q, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(p, q, sizeof(*p));
    char *again = plan_to_json(q);
    assert_string_equal(text, again);
    free(again);
    free(text);
    free(q);
    free(p);
}

static void the_text_is_one_line_with_sorted_keys_and_units(void **state)
{
    struct plan *p = plans_new("");
    char *text = plan_to_json(p);

    (void)state;
    assert_non_null(text);
    assert_null(strchr(text, '\n'));
    plans_contains(text, "\"device_memory_bytes\":262144");
    plans_contains(text, "\"period_ns\":10000000");
    assert_true(strstr(text, "\"checks\"") < strstr(text, "\"expects\""));
    free(text);
    free(p);
}

/* Every prefix of a plan, and every plan with one byte changed, is refused or reads as a plan that
 * can be written again; nothing crashes. */
static void damaged_texts_never_crash(void **state)
{
    struct plan *p = plans_new(rich), *q = calloc(1, sizeof(*q));
    struct fl_errmsg err;
    char *text = plan_to_json(p);
    size_t len = strlen(text), refusals = 0;

    (void)state;
    assert_non_null(q);
    for (size_t i = 0; i < len; i += 7) {
        char keep = text[i];

        text[i] = '\0';
        assert_int_equal(plan_from_json(text, q, &err), FL_EINVAL);
        text[i] = keep;
    }
    for (size_t i = 0; i < len; i += 3) {
        char keep = text[i];

        text[i] = "\"0}z"[i % 4];
        if (plan_from_json(text, q, &err) == FL_OK) {
            char *again = plan_to_json(q);

            assert_non_null(again);
            free(again);
        } else {
            assert_true(strlen(err.text) > 6);
            refusals++;
        }
        text[i] = keep;
    }
    assert_true(refusals > len / 6);
    free(text);
    free(q);
    free(p);
}

/** Replaces @from by @to in the basic plan and expects @want in the refusal. */
static void refused(const char *from, const char *to, const char *want)
{
    struct plan *p = plans_new(rich), *q = calloc(1, sizeof(*q));
    struct fl_errmsg err = {""};
    char *text = plan_to_json(p), *at = strstr(text, from);
    size_t room = strlen(text) + strlen(to) + 1;
    char *changed = malloc(room);

    assert_non_null(at);
    assert_non_null(changed);
    snprintf(changed, room, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(plan_from_json(changed, q, &err), FL_EINVAL);
    plans_contains(err.text, want);
    free(changed);
    free(text);
    free(q);
    free(p);
}

static void every_wrong_field_is_named(void **state)
{
    (void)state;
    refused("\"version\":1", "\"version\":2", "\"version\" is 2");
    refused("\"seed\":99", "\"seed\":-1", "seed");
    refused("\"seed\":99", "\"seed\":\"x\"", "seed");
    refused("\"seed\":99", "\"sead\":99", "seed");
    refused("\"seed\":99", "\"seed\":99,\"extra\":1", "not known");
    refused("\"name\":\"c0\"", "\"name\":\"0123456789012345678901234567890123\"", "name");
    refused("\"role\":\"compute\"", "\"role\":\"king\"", "role");
    refused("\"on\":\"c0\"", "\"on\":\"c9\"", "no node");
    refused("\"period_ns\":10000000", "\"period_ns\":1.5", "period_ns");
    refused("\"op_deadline_ns\":500000000", "\"op_deadline_ns\":\"never\"", "op_deadline_ns");
    refused("\"site\":\"flush_ack\"", "\"site\":\"nowhere\"", "no site");
    refused("\"region\":\"heap\"", "\"region\":\"help\"", "no region");
    refused("\"when\":\"site\"", "\"when\":\"never\"", "when");
    refused("\"plants\":[]", "\"plants\":[\"no-bug\"]", "plants");
    refused("\"plants\":[]", "\"plants\":{}", "plants");
    refused("\"checks\":[\"W1\"", "\"checks\":[\"W1234567890\"", "checks");
    refused("\"same_image\":true", "\"same_image\":1", "same_image");
    refused("\"value\":0.10000000000000001", "\"value\":\"x\"", "value");
    refused("\"text\":\"FL_OK\"", "\"text\":\"\"", "text");
    refused("\"set\":[", "\"set\":[7,", "set");
    refused("\"page_count\":128", "\"page_count\":4294967296", "page_count");
    refused("\"zipf_theta\":0.98999999999999999", "\"zipf_theta\":null", "zipf_theta");
}

static void too_many_objects_are_refused(void **state)
{
    struct plan *p = plans_new(""), *q = calloc(1, sizeof(*q));
    struct fl_errmsg err = {""};
    size_t room = 64 * 1024, used;
    char *text = plan_to_json(p), *big = malloc(strlen(text) + room), *at;

    (void)state;
    assert_non_null(big);
    at = strstr(text, "\"checks\":[");
    assert_non_null(at);
    used = (size_t)snprintf(big, strlen(text) + room, "%.*s\"checks\":[", (int)(at - text), text);
    for (int i = 0; i < PLAN_CHECKS_MAX + 1; i++)
        used += (size_t)snprintf(big + used, strlen(text) + room - used, "\"X%d\",", i);
    snprintf(big + used, strlen(text) + room - used, "%s", at + strlen("\"checks\":["));
    assert_int_equal(plan_from_json(big, q, &err), FL_EINVAL);
    plans_contains(err.text, "checks");
    free(big);
    free(text);
    free(q);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_reads_back_equal),
        cmocka_unit_test(the_text_is_one_line_with_sorted_keys_and_units),
        cmocka_unit_test(damaged_texts_never_crash),
        cmocka_unit_test(every_wrong_field_is_named),
        cmocka_unit_test(too_many_objects_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
