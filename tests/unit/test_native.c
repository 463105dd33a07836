/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/native.h"

enum { MIB = 1024 * 1024, LEN = 64 * MIB };
#define BASE ((void *)0x200000000000)

static char text_path[256];
static struct plan *plan;

static int temp_file(char *path, size_t cap)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, cap, "%s/test_native.XXXXXX", dir ? dir : "/tmp");
    return mkstemp(path);
}

static int setup(void **state)
{
    (void)state;
    int fd = temp_file(text_path, sizeof(text_path));
    FILE *f = fdopen(fd, "w");
    for (int i = 0; f && i < 300; i++)
        fprintf(f, "line %d of a text that is long enough to fill some pages, number %d\n\n", i,
                i * 7919);
    plan = calloc(1, sizeof(*plan));
    plan->seed = 42;
    return !f || fclose(f) || !plan;
}

static int teardown(void **state)
{
    (void)state;
    unlink(text_path);
    free(plan);
    return 0;
}

/** A file mapped at the regions' address, of which only @backed bytes exist: beyond is SIGBUS. */
static struct native_mem map_region(size_t len, size_t backed)
{
    int fd = memfd_create("region", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)backed), 0);
    void *p = mmap(BASE, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    assert_ptr_equal(p, BASE);
    close(fd);
    return (struct native_mem){p, len};
}

static struct plan_workload workload(enum plan_work_kind kind, const char *source, uint64_t ops)
{
    struct plan_workload w = {.kind = kind, .ops = ops, .threads = 1};
    snprintf(w.source, sizeof(w.source), "%s", source);
    return w;
}

/** Runs @test in a child: an arena cannot be given back to the allocator. */
static void in_child(void (*test)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* The test library has handlers of its own in each test. */
        _exit(native_guard_init() ? 2 : (test(), 0));
    }
    int st = -1;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    assert_int_equal(WEXITSTATUS(st), 0);
}

#define CHILD_ASSERT(cond)                                                                         \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static size_t bytes_used(const struct native_mem *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->len_bytes; i += 4096)
        for (size_t k = 0; k < 4096; k += 64)
            if (((const uint64_t *)((char *)m->base + i))[k / 8]) {
                n += 4096;
                break;
            }
    return n;
}

static void sqlite_child(void)
{
    struct native_mem m = map_region(LEN, LEN);
    struct plan_workload w = workload(PLAN_SQLITE, text_path, 2000);
    struct native_result r = {0};
    struct fl_errmsg err = {{0}};
    CHILD_ASSERT(native_sqlite(plan, &w, &m, &r, &err) == FL_OK);
    CHILD_ASSERT(r.match && r.checksum == r.plain && r.checksum != 0);
    CHILD_ASSERT(r.rows > 1500 && r.rows < 3000);
    CHILD_ASSERT(r.heap_bytes > 2000 * 60);          /* the rows alone */
    CHILD_ASSERT(bytes_used(&m) > r.heap_bytes / 2); /* and they were really in the region */
}

static void sqlite_gives_the_same_rows_in_a_region(void **state)
{
    (void)state;
    in_child(sqlite_child);
}

static void sqlite_seed_child(void)
{
    struct native_mem m = map_region(LEN, LEN);
    struct plan_workload w = workload(PLAN_SQLITE, text_path, 500);
    struct native_result a = {0}, b = {0};
    struct fl_errmsg err;
    CHILD_ASSERT(native_sqlite(plan, &w, &m, &a, &err) == FL_OK);
    plan->seed++;
    struct native_mem half = {(char *)m.base + LEN / 2, LEN / 2};
    CHILD_ASSERT(native_sqlite(plan, &w, &half, &b, &err) == FL_OK);
    CHILD_ASSERT(a.checksum != b.checksum);
}

static void sqlite_checksum_depends_on_the_rows(void **state)
{
    (void)state;
    in_child(sqlite_seed_child);
}

static void sqlite_full_child(void)
{
    struct native_mem m = map_region(LEN / 2, LEN / 2);
    struct plan_workload w = workload(PLAN_SQLITE, text_path, 400000);
    struct native_result r = {0};
    struct fl_errmsg err = {{0}};
    CHILD_ASSERT(native_sqlite(plan, &w, &m, &r, &err) == FL_ENOMEM);
    CHILD_ASSERT(strstr(err.text, "region is full"));
}

static void sqlite_says_that_the_region_is_full(void **state)
{
    (void)state;
    in_child(sqlite_full_child);
}

static void broken_child(void)
{
    struct native_mem m = map_region(LEN, 2 * MIB);
    struct plan_workload w = workload(PLAN_SQLITE, text_path, 20000);
    struct native_result r = {0};
    struct fl_errmsg err = {{0}};
    CHILD_ASSERT(native_sqlite(plan, &w, &m, &r, &err) == FL_EPOISONED);
    CHILD_ASSERT(strstr(err.text, "offset 0x"));
    CHILD_ASSERT(!r.match);
    /* The library was left in the middle of something and refuses to be used again. */
    CHILD_ASSERT(native_sqlite(plan, &w, &m, &r, &err) == FL_EINVAL);
}

static void a_failed_access_is_an_error_and_not_a_crash(void **state)
{
    (void)state;
    in_child(broken_child);
}

static void lua_child(void)
{
    struct native_mem m = map_region(LEN, LEN);
    struct plan_workload w = workload(PLAN_LUA, "tables", 40);
    struct native_result r = {0};
    struct fl_errmsg err = {{0}};
    CHILD_ASSERT(native_lua(plan, &w, &m, &r, &err) == FL_OK);
    CHILD_ASSERT(r.match && r.checksum == r.plain && r.checksum != 0);
    CHILD_ASSERT(r.heap_bytes > MIB);
    CHILD_ASSERT(bytes_used(&m) > MIB);
}

static void lua_gives_the_same_result_in_a_region(void **state)
{
    (void)state;
    in_child(lua_child);
}

static void lua_broken_child(void)
{
    struct native_mem m = map_region(LEN, MIB);
    struct plan_workload w = workload(PLAN_LUA, "tables.lua", 200);
    struct native_result r = {0};
    struct fl_errmsg err = {{0}};
    CHILD_ASSERT(native_lua(plan, &w, &m, &r, &err) == FL_EPOISONED);
}

static void lua_survives_a_failed_access(void **state)
{
    (void)state;
    in_child(lua_broken_child);
}

static int lua_text(const char *code, struct fl_errmsg *err)
{
    char path[256];
    int fd = temp_file(path, sizeof(path));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, code, strlen(code)), strlen(code));
    close(fd);
    struct native_mem none = {0};
    struct native_result r;
    struct plan_workload w = workload(PLAN_LUA, path, 1);
    int rv = native_lua(plan, &w, &none, &r, err);
    unlink(path);
    return rv;
}

static void lua_errors_are_told(void **state)
{
    (void)state;
    struct fl_errmsg err;
    assert_int_equal(lua_text("local x = nil + 1", &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "arithmetic on a nil value"));
    assert_int_equal(lua_text("return {}", &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "must return"));
    assert_int_equal(lua_text("return io.read()", &err), FL_EINVAL);
    assert_int_equal(lua_text("\033Lua", &err), FL_EINVAL); /* no binary chunks */
}

static void bad_sources_and_regions_are_told(void **state)
{
    (void)state;
    struct native_result r;
    struct fl_errmsg err;
    static char mem[1];
    struct native_mem odd = {mem, 128 * MIB};
    struct plan_workload w = workload(PLAN_SQLITE, "/nonexistent/text", 1);
    assert_int_not_equal(native_sqlite(plan, &w, &odd, &r, &err), FL_OK);
    assert_non_null(strstr(err.text, "/nonexistent/text"));
    w = workload(PLAN_SQLITE, text_path, 10);
    assert_int_equal(native_sqlite(plan, &w, &odd, &r, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "32 MiB"));
    w = workload(PLAN_LUA, "no-such-program", 1);
    assert_int_equal(native_lua(plan, &w, &odd, &r, &err), FL_EINVAL);
    w = workload(PLAN_SQLITE, "/dev/null", 1);
    assert_int_equal(native_sqlite(plan, &w, &odd, &r, &err), FL_EINVAL);
}

struct touch {
    volatile char *p;
    int after;
};

static void touch(void *arg)
{
    struct touch *t = arg;
    *t->p = 1;
    t->after = 1;
}

static void guard_tells_the_address_and_nests(void **state)
{
    (void)state;
    struct native_mem m = map_region(LEN, 4096);
    struct touch good = {.p = m.base}, bad = {.p = (char *)m.base + 8192};
    uintptr_t addr = 0;
    assert_int_equal(native_guard_init(), FL_OK);
    assert_int_equal(native_guard(touch, &good, &addr), FL_OK);
    assert_int_equal(good.after, 1);
    assert_int_equal(native_guard(touch, &bad, &addr), FL_EPOISONED);
    assert_int_equal(bad.after, 0);
    assert_true(addr == (uintptr_t)bad.p);
    munmap(m.base, m.len_bytes);
}

static void crash(void *arg)
{
    *(volatile int *)arg = 1;
}

static void crash_child(void)
{
    uintptr_t addr = 0;
    void *closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD_ASSERT(native_guard_crashes() == FL_OK);
    CHILD_ASSERT(native_guard(crash, closed, &addr) == FL_ECORRUPT);
    CHILD_ASSERT(addr == (uintptr_t)closed);
    CHILD_ASSERT(native_guard(crash, closed, &addr) == FL_ECORRUPT); /* and again */
}

static void a_crash_of_the_program_can_be_survived(void **state)
{
    (void)state;
    in_child(crash_child);
}

static void deceived_is_who_gave_something_else_than_on_plain_memory(void **state)
{
    (void)state;
    struct native_result good = {.plain = 7, .checksum = 7, .match = true};
    struct native_result bad = {.plain = 7, .checksum = 8};
    struct native_result none = {0};
    assert_false(native_deceived(FL_OK, &good));
    assert_true(native_deceived(FL_OK, &bad));
    assert_true(native_deceived(FL_ECORRUPT, &bad));
    assert_true(native_deceived(FL_EINVAL, &bad));
    assert_false(native_deceived(FL_EPOISONED, &bad)); /* it was told */
    assert_false(native_deceived(FL_ENOMEM, &bad));
    assert_false(native_deceived(FL_EINVAL, &none)); /* nor did it run on plain memory */
}

static void the_heap_is_apart_from_malloc(void **state)
{
    (void)state;
    assert_true(native_heap_apart());
    void *p = native_realloc(NULL, 64);
    assert_non_null(p);
    native_free(p);
}

static void each_context_has_its_own_guards(void **state)
{
    (void)state;
    struct native_ctx *a = native_ctx_new();
    assert_non_null(a);
    assert_null(native_ctx_set(a));
    assert_ptr_equal(native_ctx_set(NULL), a);
    native_ctx_free(&a);
    assert_null(a);
}

/* --- the same in each run ----------------------------------------------------------------------- */

struct steps {
    uint64_t allocs, sum;
    const struct native_mem *m;
};

/** What the heap looks like at each allocation, but for the pointers in it. */
static void look(void *arg)
{
    struct steps *s = arg;
    s->allocs++;
    if (s->allocs % 1024 == 0)
        s->sum = s->sum * 1000003 + bytes_used(s->m);
}

static uint64_t shared_sum(enum plan_work_kind kind, const char *source, uint64_t *ret_allocs)
{
    static uint64_t *both;
    if (!both)
        both = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(both, MAP_FAILED);
    both[0] = both[1] = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct native_mem m = map_region(LEN / 2, LEN / 2);
        struct steps s = {.m = &m};
        struct native_ctx *c = native_ctx_new();
        struct plan_workload w = workload(kind, source, kind == PLAN_LUA ? 3 : 100);
        struct native_result r = {0};
        native_ctx_set(c);
        native_ctx_on_alloc(c, look, &s);
        int rv = kind == PLAN_LUA ? native_lua(plan, &w, &m, &r, NULL)
                                  : native_sqlite(plan, &w, &m, &r, NULL);
        both[0] = s.sum;
        both[1] = s.allocs;
        _exit(rv != FL_OK || !r.match);
    }
    int st = -1;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    assert_int_equal(WEXITSTATUS(st), 0);
    *ret_allocs = both[1];
    return both[0];
}

static void programs_do_the_same_in_each_run(void **state)
{
    (void)state;
    struct fl_errmsg err;
    uint64_t n1, n2;
    assert_int_equal(native_repeatable(PLAN_SQLITE, &err), FL_OK);
    assert_int_equal(native_repeatable(PLAN_LUA, &err), FL_OK);
    uint64_t lua = shared_sum(PLAN_LUA, "tables", &n1);
    assert_true(n1 > 1000);
    for (int i = 0; i < 3; i++) {
        assert_true(shared_sum(PLAN_LUA, "tables", &n2) == lua);
        assert_true(n2 == n1);
    }
    uint64_t sql = shared_sum(PLAN_SQLITE, text_path, &n1);
    assert_true(n1 > 100);
    assert_true(shared_sum(PLAN_SQLITE, text_path, &n2) == sql);
    assert_true(n2 == n1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite_gives_the_same_rows_in_a_region),
        cmocka_unit_test(sqlite_checksum_depends_on_the_rows),
        cmocka_unit_test(sqlite_says_that_the_region_is_full),
        cmocka_unit_test(a_failed_access_is_an_error_and_not_a_crash),
        cmocka_unit_test(lua_gives_the_same_result_in_a_region),
        cmocka_unit_test(lua_survives_a_failed_access),
        cmocka_unit_test(lua_errors_are_told),
        cmocka_unit_test(bad_sources_and_regions_are_told),
        cmocka_unit_test(guard_tells_the_address_and_nests),
        cmocka_unit_test(a_crash_of_the_program_can_be_survived),
        cmocka_unit_test(deceived_is_who_gave_something_else_than_on_plain_memory),
        cmocka_unit_test(the_heap_is_apart_from_malloc),
        cmocka_unit_test(each_context_has_its_own_guards),
        cmocka_unit_test(programs_do_the_same_in_each_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
