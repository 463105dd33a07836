/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine lacks for verbs, seen in made-up trees of /sys and /dev. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/ofi.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char full[256];

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *s = strchr(full + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
        *s = 0;
        (void)mkdir(full, 0755);
        *s = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/why-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int drop_root(void **state)
{
    char cmd[96];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
    return system(cmd);
}

static void expect(const char *cause, const char *remedy)
{
    char why[256];

    tpo_verbs_why(root, "10.0.0.9", why, sizeof(why));
    if (strstr(why, cause) == NULL || strstr(why, remedy) == NULL)
        fail_msg("%s", why);
}

static void no_device(void **state)
{
    (void)state;
    expect("no RDMA device", "rdma link add rxe0 type rxe netdev");
}

static void no_device_file(void **state)
{
    (void)state;
    put("/sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n");
    put("/dev/infiniband/uverbs0", "");
    expect("no /dev/infiniband/rdma_cm: No such file", "modprobe");
}

static void a_device_that_is_down(void **state)
{
    (void)state;
    put("/sys/class/infiniband/rxe0/ports/1/state", "1: DOWN\n");
    put("/sys/class/infiniband/rxe0/parent", "eth7\n");
    put("/dev/infiniband/uverbs0", "");
    put("/dev/infiniband/rdma_cm", "");
    expect("rxe0 is down", "ip link set eth7 up");
}

static void an_address_of_no_device(void **state)
{
    (void)state;
    put("/sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n");
    put("/dev/infiniband/uverbs0", "");
    put("/dev/infiniband/rdma_cm", "");
    expect("no RDMA device has the address 10.0.0.9 (there is rxe0)", "--bind");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_device, make_root, drop_root),
        cmocka_unit_test_setup_teardown(no_device_file, make_root, drop_root),
        cmocka_unit_test_setup_teardown(a_device_that_is_down, make_root, drop_root),
        cmocka_unit_test_setup_teardown(an_address_of_no_device, make_root, drop_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
