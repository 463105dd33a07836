/* SPDX-License-Identifier: Apache-2.0 */
/* emu/scenario_load.c: the child process: limits, errors, nothing left behind. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/plans.h"

static char dir[256];

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof(dir), "%.200s/farline-load-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[320];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return system(cmd); /* NOLINT: our own path */
}

static void path_of(char ret[512], const char *name)
{
    snprintf(ret, 512, "%s/%s", dir, name);
}

static void write_file(const char *name, const char *text)
{
    char path[512];

    path_of(path, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/** Loads the file NAME of our directory. Afterwards we have no child left. */
static int load(const char *name, const char *const *sets, int count, struct plan *p,
                struct fl_errmsg *err)
{
    char path[512];

    path_of(path, name);
    int rc = plan_load(path, sets, count, p, err);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return rc;
}

static void refused(const char *text, int code, const char *want)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    write_file("bad.lua", text);
    assert_int_equal(load("bad.lua", NULL, 0, p, &err), code);
    plans_contains(err.text, want);
    plans_contains(err.text, "bad.lua");
    for (size_t i = 0; i < sizeof(*p); i++) /* untouched on failure */
        assert_int_equal(((const unsigned char *)p)[i], 0);
    free(p);
}

static void a_file_becomes_a_validated_plan(void **state)
{
    static const char *const sets[] = {"region.heap.threshold=7"};
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    (void)state;
    write_file("good.lua", plans_basic);
    if (load("good.lua", sets, 1, p, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(p->regions[0].threshold_lines, 7);
    assert_int_equal(p->node_count, 3);
    static const char *const zero[] = {"node.c0.device_memory=16K"}; /* two threads need 32K */
    assert_int_equal(load("good.lua", zero, 1, p, &err), FL_EINVAL);
    plans_contains(err.text, "good.lua:2: ");
    plans_contains(err.text, "raise device_memory to 32K");
    free(p);
}

static void files_that_are_none(void **state)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};
    char path[512], *big = malloc((1 << 20) + 10);

    (void)state;
    assert_int_equal(load("missing.lua", NULL, 0, p, &err), FL_EINVAL);
    plans_contains(err.text, "No such file");
    assert_int_equal(plan_load(dir, NULL, 0, p, &err), FL_EINVAL);
    plans_contains(err.text, "not a regular file");
    assert_int_equal(plan_load("/dev/zero", NULL, 0, p, &err), FL_EINVAL);
    plans_contains(err.text, "not a regular file");
    path_of(path, "fifo.lua");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(load("fifo.lua", NULL, 0, p, &err), FL_EINVAL); /* and does not wait */
    assert_non_null(big);
    memset(big, '-', 1 << 20);
    strcpy(big + (1 << 20), "-\n");
    write_file("big.lua", big);
    assert_int_equal(load("big.lua", NULL, 0, p, &err), FL_EINVAL);
    plans_contains(err.text, "larger than");
    free(big);
    free(p);
}

static void endless_scripts_end(void **state)
{
    (void)state;
    refused("while true do end", FL_EINVAL, "runs too long");
    /* Inside one library call, where no instruction is counted. By processor time, or by the clock
     * where a busy host gives the script none. */
    refused("local s = (\"a\"):rep (5000) s:find ((\"a*\"):rep (50) .. \"b\")", FL_ETIMEDOUT,
            "was stopped; ");
    refused("local s = (\"\"):rep (1 << 60)", FL_ETIMEDOUT, "was stopped; ");
}

static void greedy_scripts_end(void **state)
{
    (void)state;
    refused("local s = \"x\" while true do s = s .. s end", FL_EINVAL, "MiB");
    refused("local t = {} while true do t[#t + 1] = {} end", FL_EINVAL, "MiB");
    refused("local function f () return 1 + f () end f ()", FL_EINVAL, "bad.lua");
    refused("error ((\"x\"):rep (1 << 20))", FL_EINVAL, "xxxx");
}

static void the_script_has_only_its_pipe(void **state)
{
    (void)state;
    refused("io.write (\"x\")", FL_EINVAL, "\"io\" is not available");
    refused("\033LuaT", FL_EINVAL, "bad.lua");
}

static void sources_are_found(void **state)
{
    static const char with[] =
        "node \"c0\" { role = \"compute\" } node \"m0\" { role = \"memory\" } region \"r\" { on = "
        "\"c0\", size = \"32M\", backed_by = { \"m0\" } } workload \"p\" { region = \"r\", kind = "
        "\"%s\", source = \"%s\" } check { \"W1\" }";
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};
    char path[512], text[1024];

    (void)state;
    path_of(path, "writeback");
    assert_int_equal(mkdir(path, 0755), 0);
    path_of(path, "workloads");
    assert_int_equal(mkdir(path, 0755), 0);
    write_file("workloads/prog.lua", "return 1");
    snprintf(text, sizeof(text), with, "lua", "prog.lua");
    write_file("writeback/l.lua", text);
    if (load("writeback/l.lua", NULL, 0, p, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(access(p->workloads[0].source, R_OK), 0);
    static const char *const other[] = {"workload.p.source=none.lua"};
    assert_int_equal(load("writeback/l.lua", other, 1, p, &err), FL_EINVAL);
    plans_contains(err.text, "--set workload.p.source=FILE");
    static const char *const above[] = {"workload.p.source=../../x.lua"};
    assert_int_equal(load("writeback/l.lua", above, 1, p, &err), FL_EINVAL);
    plans_contains(err.text, "leaves scenarios/workloads");
    path_of(path, "workloads/prog.lua");
    snprintf(text, sizeof(text), with, "sqlite", path);
    write_file("writeback/s.lua", text);
    assert_int_equal(load("writeback/s.lua", NULL, 0, p, &err), FL_OK);
    assert_string_equal(p->workloads[0].source, path);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_becomes_a_validated_plan),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(endless_scripts_end),
        cmocka_unit_test(greedy_scripts_end),
        cmocka_unit_test(the_script_has_only_its_pipe),
        cmocka_unit_test(sources_are_found),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
