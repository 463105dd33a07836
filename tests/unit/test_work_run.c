/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu/native.h"
#include "emu/work_run.h"
#include "tests/sim/plans.h"

enum { PAGES = 16, LEN = PAGES * FL_PAGE_BYTES };

struct fixture {
    struct plan *p;
    struct oracle *o;
    uint8_t *mem;
    struct work_run *r;
    struct result *res;
};

/** A region of plain memory of which @backed bytes exist: beyond is SIGBUS. */
static void begin(struct fixture *f, uint64_t ops, size_t backed)
{
    int fd = memfd_create("region", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)backed), 0);
    f->mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(f->mem, MAP_FAILED);
    close(fd);
    assert_int_equal(native_guard_init(), FL_OK);
    f->p = sim_plan(3, 1, PAGES, PLAN_RANDOM, 1, ops);
    f->p->workloads[0].len_bytes = 100;
    f->o = oracle_new(f->p, 0, NULL);
    f->r = calloc(1, sizeof(*f->r));
    f->res = result_new();
    assert_non_null(f->o);
    assert_non_null(f->r);
    work_run_init(f->r, f->p, &f->p->workloads[0], 0, f->mem, f->o);
}

static const struct result_check *w3(struct fixture *f)
{
    oracle_report(f->o, f->res);
    return result_check(f->res, "W3", "bytes");
}

static void end(struct fixture *f)
{
    oracle_free(&f->o);
    result_free(&f->res);
    munmap(f->mem, LEN);
    free(f->p);
    free(f->r);
}

static void what_is_stored_is_in_memory_and_in_the_shadow(void **state)
{
    struct fixture f;
    uint64_t off = 1;
    (void)state;
    begin(&f, 2000, LEN);
    assert_int_equal(work_run(f.r, &off), FL_OK);
    assert_int_equal(f.r->accesses, 2000);
    assert_memory_equal(f.mem, oracle_shadow(f.o, 0), LEN);
    size_t stored = 0;
    for (size_t i = 0; i < LEN; i++)
        stored += f.mem[i] != 0;
    assert_true(stored > LEN / 4);
    assert_true(w3(&f)->checked > 2000); /* bytes of loads */
    assert_int_equal(w3(&f)->violated, 0);
    end(&f);
}

static void spoil(void *arg)
{
    struct work_run *r = arg;
    if (r->accesses == 1000)
        memset(r->base, 0x5a, LEN);
}

static void a_load_of_other_bytes_is_told(void **state)
{
    struct fixture f;
    uint64_t off = 1;
    (void)state;
    begin(&f, 2000, LEN);
    f.r->between = spoil;
    f.r->arg = f.r;
    assert_int_equal(work_run(f.r, &off), FL_OK);
    assert_true(w3(&f)->violated > 0);
    assert_non_null(strstr(w3(&f)->first, "load at offset"));
    end(&f);
}

static void a_failed_access_ends_it(void **state)
{
    struct fixture f;
    uint64_t off = 0;
    (void)state;
    begin(&f, 2000, LEN / 2);
    assert_int_equal(work_run(f.r, &off), FL_EPOISONED);
    assert_in_range(off, LEN / 2, LEN - 1);
    assert_true(f.r->accesses < 2000);
    assert_true(f.r->op.off + f.r->op.len_bytes > off && f.r->op.off <= off);
    end(&f);
}

static void it_does_without_an_oracle(void **state)
{
    struct fixture f;
    uint64_t off = 0;
    (void)state;
    begin(&f, 500, LEN);
    work_run_init(f.r, f.p, &f.p->workloads[0], 0, f.mem, NULL);
    assert_int_equal(work_run(f.r, &off), FL_OK);
    assert_int_equal(f.r->accesses, 500);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_in_memory_and_in_the_shadow),
        cmocka_unit_test(a_load_of_other_bytes_is_told),
        cmocka_unit_test(a_failed_access_ends_it),
        cmocka_unit_test(it_does_without_an_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
