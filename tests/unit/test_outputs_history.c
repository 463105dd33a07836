/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs_history.c: records in, NDJSON and Chrome trace events out. */
#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

#include "tests/support/runs.h"

static void record(struct history *h, uint64_t t_ns, uint32_t node, enum fl_site site)
{
    const struct fl_trace_rec r = {.t_ns = t_ns,
                                   .node = node,
                                   .kind = FL_TR_SITE,
                                   .code = (uint16_t)site,
                                   .region = 0,
                                   .page = 7,
                                   .a = 7,
                                   .b = UINT64_MAX};

    history_sink(h, &r);
}

static struct history *begin(const char *path, const struct plan *p)
{
    struct history *h = NULL;
    struct fl_errmsg err = {""};

    if (history_open(path, p, &h, &err) != FL_OK)
        fail_msg("%s", err.text);
    return h;
}

static size_t lines_in(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void each_record_is_one_line(void **state)
{
    struct plan *p = plans_new("");
    struct history *h = begin(runs_path("h.ndjson"), p);
    struct fl_errmsg err = {""};

    (void)state;
    record(h, 1000, 0, FL_SITE_MISS);
    record(h, 2000, 99, FL_SITE_FLUSH_ACK); /* a node that is none */
    assert_int_equal(history_close(&h, &err), FL_OK);
    assert_null(h);
    char *text = runs_read(runs_path("h.ndjson"));
    assert_int_equal(lines_in(text), 3);
    json_t *head = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_integer_value(json_object_get(head, "version")), 1);
    json_t *rec = json_loads(strchr(text, '\n') + 1, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_integer_value(json_object_get(rec, "t_ns")), 1000);
    assert_string_equal(json_string_value(json_object_get(rec, "node")), "c0");
    assert_string_equal(json_string_value(json_object_get(rec, "kind")), "site");
    assert_string_equal(json_string_value(json_object_get(rec, "code")), "miss");
    assert_string_equal(json_string_value(json_object_get(rec, "b")), "0xffffffffffffffff");
    assert_int_equal(json_object_size(rec), 8);
    json_decref(rec);
    json_decref(head);
    free(text);
    free(p);
}

static void files_of_nodes_are_merged_by_time(void **state)
{
    struct plan *p = plans_new("");
    struct fl_errmsg err = {""};
    struct history *a = begin(runs_path("c0.trace"), p), *b = begin(runs_path("m0.trace"), p);

    (void)state;
    record(a, 1, 0, FL_SITE_MISS);
    record(a, 5, 0, FL_SITE_MISS);
    record(b, 2, 1, FL_SITE_LEASE);
    record(b, 5, 1, FL_SITE_LEASE);
    record(b, 9, 1, FL_SITE_LEASE);
    assert_int_equal(history_close(&a, &err), FL_OK);
    assert_int_equal(history_close(&b, &err), FL_OK);
    FILE *cut = fopen(runs_path("m0.trace"), "a"); /* killed in the middle of a line */
    fputs("{\"t_ns\":10,\"no", cut);
    fclose(cut);
    (void)unlink(runs_path("history.ndjson"));
    assert_int_equal(history_merge(runs_dir, p, &err), FL_OK);
    char *text = runs_read(runs_path("history.ndjson"));
    assert_int_equal(lines_in(text), 6);
    uint64_t last = 0, t;
    for (char *l = strchr(text, '\n') + 1; *l != '\0'; l = strchr(l, '\n') + 1) {
        assert_int_equal(sscanf(l, "{\"t_ns\":%" SCNu64, &t), 1);
        assert_true(t >= last);
        last = t;
    }
    assert_int_equal(last, 9);
    assert_int_not_equal(access(runs_path("c0.trace"), F_OK), 0); /* they are taken away */
    /* what is there already stays */
    assert_int_equal(history_merge(runs_dir, p, &err), FL_OK);
    char *again = runs_read(runs_path("history.ndjson"));
    assert_string_equal(text, again);
    free(again);
    free(text);
    free(p);
}

static void records_past_the_limit_are_counted(void **state)
{
    struct plan *p = plans_new("");
    struct history *h = begin(runs_path("many.ndjson"), p);
    struct fl_errmsg err = {""};
    char line[512], last[512] = "";
    size_t n = 0;

    (void)state;
    for (uint64_t i = 0; i < HISTORY_RECORDS_MAX + 3; i++)
        record(h, i, 0, FL_SITE_MISS);
    assert_int_equal(history_close(&h, &err), FL_OK);
    FILE *f = fopen(runs_path("many.ndjson"), "r");
    while (fgets(line, sizeof(line), f) != NULL) {
        n++;
        memcpy(last, line, sizeof(last));
    }
    fclose(f);
    assert_int_equal(n, HISTORY_RECORDS_MAX + 2);
    plans_contains(last, "\"dropped\":3");
    free(p);
}

static void spans_and_instants_become_trace_events(void **state)
{
    struct plan *p = plans_new("");
    struct fl_errmsg err = {""};

    (void)state;
    (void)unlink(runs_path("history.ndjson"));
    struct history *h = begin(runs_path("history.ndjson"), p);
    record(h, 1000, 0, FL_SITE_FETCH_POST);
    record(h, 3500, 0, FL_SITE_PAGE_FETCHED);
    record(h, 4000, 1, FL_SITE_LEASE);
    assert_int_equal(history_close(&h, &err), FL_OK);
    assert_int_equal(history_to_trace(runs_dir, p, runs_path("trace.json"), &err), FL_OK);
    json_t *j = json_load_file(runs_path("trace.json"), 0, NULL);
    const json_t *ev = json_object_get(j, "traceEvents");
    size_t count = json_array_size(ev);
    const json_t *begin_ev = json_array_get(ev, count - 3), *end_ev = json_array_get(ev, count - 2);
    assert_int_equal(count, 1 + 3 + 3); /* the program, a track for each node, the events */
    assert_string_equal(json_string_value(json_object_get(begin_ev, "ph")), "b");
    assert_string_equal(json_string_value(json_object_get(end_ev, "ph")), "e");
    assert_string_equal(json_string_value(json_object_get(end_ev, "name")), "fetch");
    assert_string_equal(json_string_value(json_object_get(begin_ev, "id")),
                        json_string_value(json_object_get(end_ev, "id")));
    assert_true(json_real_value(json_object_get(end_ev, "ts")) > 2.49);
    assert_true(json_real_value(json_object_get(end_ev, "ts")) < 2.51);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(ev, count - 1), "pid")), 2);
    json_decref(j);
    free(p);
}

static void a_full_disk_is_an_error(void **state)
{
    struct plan *p = plans_new("");
    struct fl_errmsg err = {""};
    struct history *h = begin("/dev/full", p);

    (void)state;
    record(h, 1, 0, FL_SITE_MISS);
    history_flush(h);
    assert_int_equal(history_close(&h, &err), FL_EIO);
    plans_contains(err.text, "free space");
    assert_int_equal(history_to_trace(runs_dir, p, "/dev/full", &err), FL_EIO);
    assert_int_equal(history_open(runs_path("no/such/dir"), p, &h, &err) < 0, 1);
    plans_contains(err.text, "--out");
    assert_int_equal(history_merge(runs_path("nowhere"), p, &err), FL_EIO);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_record_is_one_line),
        cmocka_unit_test(files_of_nodes_are_merged_by_time),
        cmocka_unit_test(records_past_the_limit_are_counted),
        cmocka_unit_test(spans_and_instants_become_trace_events),
        cmocka_unit_test(a_full_disk_is_an_error),
    };

    return cmocka_run_group_tests(tests, runs_make_dir, runs_remove_dir);
}
