/* SPDX-License-Identifier: Apache-2.0 */
/* The libfabric port between real processes: what it promises, over tcp and over sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/real/fab.h"

static const char *provider = "tcp";

struct pair {
    struct fab *f;
    struct fab_child *c;
};

static struct pair pair_up(const struct tp_cfg *base)
{
    struct pair p;
    struct tp_cfg child = *base;

    child.self = 1;
    child.incarnation = 11;
    p.c = fab_child_new(&child);
    p.f = fab_new(base);
    fab_join(p.f, p.c, 1);
    return p;
}

static void pair_free(struct pair *p)
{
    fab_free(p->f);
    fab_child_free(p->c);
}

static void reads_see_the_peers_memory(void **state)
{
    (void)state;
    struct tp_cfg cfg = fab_cfg(provider);
    struct pair p = pair_up(&cfg);

    fab_ask(p.c, "fill 4096 4096 77");
    fab_read(p.f, 1, 4096, 4096, 5 * FL_NS_PER_S);
    assert_int_equal(p.f->done_count, 0); /* never inside the call */
    assert_true(fab_until(p.f, fab_has_done, 1, 5000));
    assert_int_equal(fab_status(p.f, 1), FL_OK);
    assert_int_equal(p.f->mem[4096], 77);
    assert_int_equal(p.f->mem[8191], 77);
    assert_int_equal(p.f->up_incarnation[1], 11);
    pair_free(&p);
}

int main(int argc, char **argv)
{
    int child = fab_child_main(argc, argv);
    if (child >= 0)
        return child;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_see_the_peers_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
