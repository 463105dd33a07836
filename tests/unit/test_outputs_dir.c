/* SPDX-License-Identifier: Apache-2.0 */
/* emu/outputs_dir.c: a run's directory appears whole or not at all. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/runs.h"

static void put(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX + 64];
    struct fl_errmsg err = {""};

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (out_file(path, text, strlen(text), &err) != FL_OK)
        fail_msg("%s", err.text);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void nothing_is_there_before_the_commit(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(out_dir_begin(&d, runs_path("a/b/7"), &err), FL_OK);
    put(d.tmp, "verdict.json", "{}");
    assert_false(exists(runs_path("a/b/7")));
    assert_int_equal(out_dir_commit(&d, &err), FL_OK);
    assert_true(exists(runs_path("a/b/7/verdict.json")));
    assert_false(exists(d.tmp));
    out_dir_abandon(&d); /* does nothing any more */
    assert_true(exists(runs_path("a/b/7/verdict.json")));
}

static void an_abandoned_directory_leaves_nothing(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {""};
    char sub[PATH_MAX + 16];

    (void)state;
    assert_int_equal(out_dir_begin(&d, runs_path("gone"), &err), FL_OK);
    put(d.tmp, "x", "1");
    snprintf(sub, sizeof(sub), "%s/sub", d.tmp);
    assert_int_equal(mkdir(sub, 0755), 0);
    put(sub, "y", "2");
    out_dir_abandon(&d);
    assert_false(exists(d.tmp));
    assert_false(exists(runs_path("gone")));
}

static void an_earlier_run_is_replaced(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {""};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(out_dir_begin(&d, runs_path("again/"), &err), FL_OK);
        put(d.tmp, "verdict.json", i == 0 ? "old" : "new");
        put(d.tmp, i == 0 ? "only_old" : "only_new", "");
        assert_int_equal(out_dir_commit(&d, &err), FL_OK);
    }
    char *text = runs_read(runs_path("again/verdict.json"));
    assert_string_equal(text, "new");
    assert_false(exists(runs_path("again/only_old")));
    free(text);
}

static void other_peoples_directories_are_left_alone(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(mkdir(runs_path("mine"), 0755), 0);
    put(runs_path("mine"), "thesis.txt", "precious");
    assert_int_equal(out_dir_begin(&d, runs_path("mine"), &err), FL_EINVAL);
    plans_contains(err.text, "no earlier run");
    assert_true(exists(runs_path("mine/thesis.txt")));
    assert_int_equal(out_dir_begin(&d, runs_path("mine/thesis.txt"), &err), FL_EINVAL);
    plans_contains(err.text, "not a directory");
    assert_int_equal(out_dir_begin(&d, runs_path("mine/thesis.txt/x"), &err), FL_EINVAL);
    plans_contains(err.text, "--out");
    assert_int_equal(mkdir(runs_path("empty"), 0755), 0);
    assert_int_equal(out_dir_begin(&d, runs_path("empty"), &err), FL_OK);
    out_dir_abandon(&d);
}

static void places_that_cannot_be_written(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(out_dir_begin(&d, "/proc/farline/x", &err), FL_EINVAL);
    plans_contains(err.text, "--out");
    assert_int_equal(out_dir_begin(&d, "", &err), FL_EINVAL);
    assert_int_equal(out_dir_begin(&d, "/", &err), FL_EINVAL);
    assert_int_equal(out_dir_begin(&d, "..", &err), FL_EINVAL);
}

static void logs_of_a_failed_start_are_kept(void **state)
{
    struct out_dir d;
    struct fl_errmsg err = {"node m0 failed"};

    (void)state;
    assert_int_equal(out_dir_begin(&d, runs_path("f"), &err), FL_OK);
    put(d.tmp, "m0.log", "out of memory\n");
    put(d.tmp, "c0.log", "");
    put(d.tmp, "history.ndjson", "{}");
    snprintf(err.text, sizeof(err.text), "node m0 failed");
    out_dir_keep_logs(&d, &err);
    out_dir_abandon(&d);
    plans_contains(err.text, "node m0 failed; node logs are in ");
    assert_true(exists(runs_path("f.failed/m0.log")));
    assert_false(exists(runs_path("f.failed/c0.log")));
    assert_false(exists(runs_path("f.failed/history.ndjson")));
    assert_false(exists(runs_path("f")));
}

static void a_full_disk_leaves_no_half_file(void **state)
{
    struct fl_errmsg err = {""};

    (void)state;
    assert_int_equal(out_file("/dev/full", "text", 4, &err), FL_EINVAL);
    plans_contains(err.text, "free space");
    assert_int_equal(out_file("/dev/null", "text", 4, &err), FL_OK); /* and it stays a device */
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(out_file(runs_path("none/file"), "text", 4, &err), FL_EINVAL);
    assert_int_equal(out_file(runs_path("file"), "text", 4, &err), FL_OK);
    assert_int_equal(out_file(runs_path("file"), "other", 5, &err), FL_OK);
    char *text = runs_read(runs_path("file"));
    assert_string_equal(text, "other");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_there_before_the_commit),
        cmocka_unit_test(an_abandoned_directory_leaves_nothing),
        cmocka_unit_test(an_earlier_run_is_replaced),
        cmocka_unit_test(other_peoples_directories_are_left_alone),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(logs_of_a_failed_start_are_kept),
        cmocka_unit_test(a_full_disk_leaves_no_half_file),
    };

    return cmocka_run_group_tests(tests, runs_make_dir, runs_remove_dir);
}
