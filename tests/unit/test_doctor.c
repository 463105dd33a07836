/* SPDX-License-Identifier: Apache-2.0 */
/* emu/doctor*.c: facts from a made-up root, judgements on made-up machines, both printed forms. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "emu/doctor.h"

/* ---- a made-up root ---------------------------------------------------------------------------- */

struct fake {
    char root[64];
};

static void fake_path(const struct fake *k, const char *path, char ret[512])
{
    snprintf(ret, 512, "%s%s", k->root, path);
}

/* Makes all directories above the last name. */
static void fake_dirs(const char *full)
{
    char p[512];

    snprintf(p, sizeof p, "%s", full);
    for (char *s = strchr(p + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
        *s = '\0';
        mkdir(p, 0755);
        *s = '/';
    }
}

static void put(const struct fake *k, const char *path, const char *text)
{
    char p[512];
    FILE *f;

    fake_path(k, path, p);
    fake_dirs(p);
    f = fopen(p, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void put_gz(const struct fake *k, const char *path, const char *text)
{
    char p[512];
    gzFile g;

    fake_path(k, path, p);
    fake_dirs(p);
    g = gzopen(p, "wb");
    assert_non_null(g);
    assert_true(gzputs(g, text) > 0);
    assert_int_equal(gzclose(g), Z_OK);
}

static int setup(void **state)
{
    struct fake *k = calloc(1, sizeof *k);

    assert_non_null(k);
    strcpy(k->root, "/tmp/farline-doctor-XXXXXX");
    assert_non_null(mkdtemp(k->root));
    put(k, "/proc/sys/kernel/osrelease", "6.1.0-test\n");
    *state = k;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct fake *k = *state;

    assert_int_equal(nftw(k->root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(k);
    return 0;
}

static struct doctor_facts gathered(const struct fake *k)
{
    struct doctor_facts f = {0};

    doctor_gather_files(&f, k->root);
    return f;
}

/* ---- gathering --------------------------------------------------------------------------------- */

static void an_empty_root_gives_nothing(void **state)
{
    struct doctor_facts f = gathered(*state);

    assert_string_equal(f.kernel, "6.1.0-test");
    assert_string_equal(f.rdma_devices, "");
    assert_string_equal(f.netdev, "");
    assert_string_equal(f.container, "");
    assert_int_equal(f.rxe, DOCTOR_RXE_NO_MODULE);
    assert_int_equal(f.seccomp, -1);
    assert_int_equal(f.max_map_count, 0);
    assert_int_equal(f.kvm_errno, ENOENT);
    assert_int_equal(f.uffd_dev_errno, ENOENT);
    assert_false(f.rdma_tool);
    assert_false(f.shm);
    assert_false(f.dpkg);
}

static void rdma_devices_are_listed_in_order(void **state)
{
    put(*state, "/sys/class/infiniband/rxe0/node_type", "1");
    put(*state, "/sys/class/infiniband/mlx5_0/node_type", "1");
    assert_string_equal(gathered(*state).rdma_devices, "mlx5_0 rxe0");
}

static void a_network_device_that_is_up_is_chosen(void **state)
{
    put(*state, "/sys/class/net/lo/operstate", "unknown\n");
    put(*state, "/sys/class/net/eth0/operstate", "down\n");
    put(*state, "/sys/class/net/ifb0/operstate", "unknown\n");
    assert_string_equal(gathered(*state).netdev, "");
    put(*state, "/sys/class/net/eth1/operstate", "up\n");
    assert_string_equal(gathered(*state).netdev, "eth1");
}

static void rxe_is_found_wherever_it_is(void **state)
{
    put(*state, "/boot/config-6.1.0-test", "CONFIG_X=y\nCONFIG_RDMA_RXE=m\n");
    assert_int_equal(gathered(*state).rxe, DOCTOR_RXE_NO_MODULE);
    put(*state, "/lib/modules/6.1.0-test/kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko.xz", "");
    assert_int_equal(gathered(*state).rxe, DOCTOR_RXE_MODULE);
    put(*state, "/sys/module/rdma_rxe/refcnt", "0");
    assert_int_equal(gathered(*state).rxe, DOCTOR_RXE_LOADED);
}

static void a_kernel_without_rxe_is_recognised(void **state)
{
    put(*state, "/boot/config-6.1.0-test", "CONFIG_RDMA_RXE=m\n");
    put_gz(*state, "/proc/config.gz", "# CONFIG_INFINIBAND is not set\n");
    assert_int_equal(gathered(*state).rxe, DOCTOR_RXE_NO_KERNEL);
}

static void status_gives_seccomp_and_capabilities(void **state)
{
    put(*state, "/proc/self/status", "Name:\tx\nCapEff:\t0000000000001000\nSeccomp:\t2\n");
    assert_int_equal(gathered(*state).seccomp, 2);
    assert_int_equal(gathered(*state).caps, 0x1000);
}

static void containers_are_recognised(void **state)
{
    put(*state, "/proc/1/cgroup", "1:name=systemd:/\n0::/kubepods/burstable/docker-1\n");
    assert_string_equal(gathered(*state).container, "kubernetes");
    put(*state, "/run/host/container-manager", "systemd-nspawn\n");
    assert_string_equal(gathered(*state).container, "systemd-nspawn");
    put(*state, "/.dockerenv", "");
    assert_string_equal(gathered(*state).container, "docker");
    put(*state, "/run/.containerenv", "");
    assert_string_equal(gathered(*state).container, "podman");
}

static void packages_that_are_not_installed_are_named(void **state)
{
    const char *const *names = doctor_packages();
    char text[4096] = "";
    struct doctor_facts f;

    for (int i = 0; names[i] != NULL; i++) {
        size_t len = strlen(text);

        snprintf(text + len, sizeof text - len, "Package: %s\nStatus: %s\nVersion: 1\n\n", names[i],
                 strcmp(names[i], "gcc") == 0 ? "deinstall ok config-files"
                                              : "install ok installed");
    }
    put(*state, "/var/lib/dpkg/status", text);
    f = gathered(*state);
    assert_true(f.dpkg);
    assert_int_equal(f.missing_count, 1);
    assert_string_equal(f.missing_packages[0], "gcc");
}

static void devices_and_numbers_are_read(void **state)
{
    struct doctor_facts f;

    put(*state, "/dev/kvm", "");
    put(*state, "/dev/userfaultfd", "");
    put(*state, "/dev/shm/x", "");
    put(*state, "/usr/bin/rdma", "");
    put(*state, "/proc/sys/vm/max_map_count", "262144\n");
    f = gathered(*state);
    assert_int_equal(f.kvm_errno, 0);
    assert_int_equal(f.uffd_dev_errno, 0);
    assert_true(f.shm && f.shm_bytes > 0);
    assert_true(f.rdma_tool);
    assert_int_equal(f.max_map_count, 262144);
}

/* What ci/deps installs and what doctor looks for are one list. */
static void packages_are_those_of_ci_deps(void **state)
{
    const char *const *names = doctor_packages();
    FILE *in = popen("ci/deps list demo", "r"); /* NOLINT(cert-env33-c): a fixed command */
    char line[64];
    int i = 0;

    (void)state;
    assert_non_null(in);
    while (fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        assert_non_null(names[i]);
        assert_string_equal(line, names[i]);
        i++;
    }
    assert_int_equal(pclose(in), 0);
    assert_true(i > 0);
    assert_null(names[i]);
}

/* ---- judging ----------------------------------------------------------------------------------- */

/* A machine on which everything is there. */
static struct doctor_facts good(void)
{
    struct doctor_facts f = {
        .arch = "x86_64",
        .kernel = "6.8",
        .rdma_devices = "mlx5_0",
        .rxe = DOCTOR_RXE_LOADED,
        .netdev = "eth0",
        .rdma_tool = true,
        .caps = UINT64_MAX,
        .providers = DOCTOR_FI_TCP | DOCTOR_FI_SOCKETS | DOCTOR_FI_VERBS,
        .uffd_features = 1 << 15,
        .max_map_count = 1 << 20,
        .memlock_bytes = UINT64_MAX,
        .nofile = 1 << 16,
        .nofile_hard = 1 << 20,
        .shm = true,
        .shm_bytes = 1 << 30,
        .cores = 8,
        .page_bytes = 4096,
        .tracker = true,
        .dpkg = true,
    };

    return f;
}

static struct doctor_check judged(const struct doctor_facts *f, const char *id)
{
    static struct doctor_report r;

    doctor_judge(f, &r);
    for (unsigned i = 0; i < r.count; i++) {
        if (strcmp(r.checks[i].id, id) == 0) {
            return r.checks[i];
        }
    }
    fail_msg("no check %s", id);
    return (struct doctor_check){0};
}

static void expect(const struct doctor_facts *f, const char *id, enum doctor_state s,
                   const char *in_value, const char *in_consequence, const char *in_remedy)
{
    struct doctor_check c = judged(f, id);

    if (c.state != s || strstr(c.value, in_value) == NULL ||
        strstr(c.consequence, in_consequence) == NULL || strstr(c.remedy, in_remedy) == NULL) {
        fail_msg("%s: %d|%s|%s|%s", id, (int)c.state, c.value, c.consequence, c.remedy);
    }
}

static void a_good_machine_is_ok_throughout(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;

    (void)state;
    doctor_judge(&f, &r);
    assert_true(r.count >= 16);
    for (unsigned i = 0; i < r.count; i++) {
        assert_int_equal(r.checks[i].state, DOCTOR_OK);
        assert_true(strlen(r.checks[i].consequence) > 0);
        assert_string_equal(r.checks[i].remedy, "");
    }
}

static void what_is_not_ok_has_a_remedy(void **state)
{
    struct doctor_facts f = {.kvm_errno = ENOENT,
                             .uffd_user_errno = ENOSYS,
                             .uffd_kernel_errno = ENOSYS,
                             .uffd_dev_errno = ENOENT,
                             .rxe = DOCTOR_RXE_NO_KERNEL,
                             .seccomp = 2};
    struct doctor_report r;
    unsigned lacking = 0;

    (void)state;
    doctor_judge(&f, &r);
    for (unsigned i = 0; i < r.count; i++) {
        if (r.checks[i].state != DOCTOR_OK) {
            lacking++;
            assert_true(strlen(r.checks[i].remedy) > 0);
        }
    }
    assert_int_equal(lacking, r.count - 1); /* not being in a container is fine */
}

static void processor_cores_and_pages(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.tracker = false;
    expect(&f, "processor", DOCTOR_MISSING, "x86_64", "--fabric sim works", "arm64");
    f.cores = 1;
    expect(&f, "cores", DOCTOR_LIMITED, "1 usable", "spinning", "--wait block");
    f.page_bytes = 65536;
    expect(&f, "page-size", DOCTOR_MISSING, "65536", "refuses", "4096");
}

static void mapping_limit_is_told_in_pages(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.max_map_count = 65530;
    expect(&f, "max-map-count", DOCTOR_OK, "65530", "30717 pages (119 MiB)", "sysctl");
    f.max_map_count = 5096;
    expect(&f, "max-map-count", DOCTOR_LIMITED, "5096", "at most 500 pages", "sysctl");
    f.max_map_count = 100;
    expect(&f, "max-map-count", DOCTOR_LIMITED, "100", "at most 0 pages", "sysctl");
    f.max_map_count = 0;
    expect(&f, "max-map-count", DOCTOR_LIMITED, "could not", "65530", "/proc");
}

static void limits_of_the_process(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.memlock_bytes = 8 << 20;
    expect(&f, "memlock", DOCTOR_OK, "8192 KiB, not enforced", "registered", "");
    f.caps = 0;
    expect(&f, "memlock", DOCTOR_LIMITED, "8192 KiB", "2048 pages", "ulimit -l");
    f.nofile = 1024;
    expect(&f, "open-files", DOCTOR_LIMITED, "1024 of at most", "160 peers", "ulimit -n 4096");
    f.nofile = 16;
    expect(&f, "open-files", DOCTOR_LIMITED, "16", "about 0 peers", "ulimit -n 4096");
}

static void fabrics(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.providers = 0;
    expect(&f, "fabric-tcp", DOCTOR_MISSING, "nothing", "sim works", "libfabric1");
    expect(&f, "fabric-sockets", DOCTOR_MISSING, "nothing", "sim works", "libfabric1");
    expect(&f, "fabric-verbs", DOCTOR_LIMITED, "nothing", "refused", "fi_info");
    f.rdma_devices[0] = '\0';
    expect(&f, "fabric-verbs", DOCTOR_LIMITED, "nothing", "refused", "rxe-link");
}

static void rxe_gives_the_exact_command(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.rdma_devices[0] = '\0';
    assert_string_equal(judged(&f, "rxe-link").remedy, "rdma link add rxe0 type rxe netdev eth0");
    f.rxe = DOCTOR_RXE_MODULE;
    expect(&f, "rxe-module", DOCTOR_LIMITED, "not loaded", "once it is", "modprobe rdma_rxe");
    assert_string_equal(judged(&f, "rxe-link").remedy,
                        "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0");
    f.rdma_tool = false;
    f.netdev[0] = '\0';
    expect(&f, "rxe-link", DOCTOR_LIMITED, "no RDMA device", "no route on lo",
           "apt-get install iproute2 && modprobe rdma_rxe && ip link add farline0 type dummy");
    expect(&f, "rxe-link", DOCTOR_LIMITED, "", "", "type rxe netdev farline0");
}

static void rxe_says_what_stands_in_the_way(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.rdma_devices[0] = '\0';
    f.rxe = DOCTOR_RXE_MODULE;
    f.caps = 1 << 12; /* CAP_NET_ADMIN alone */
    expect(&f, "rxe-link", DOCTOR_MISSING, "", "CAP_SYS_MODULE", "root");
    f.caps = 0;
    expect(&f, "rxe-link", DOCTOR_MISSING, "", "CAP_NET_ADMIN", "root");
    f.rxe = DOCTOR_RXE_NO_MODULE;
    expect(&f, "rxe-module", DOCTOR_MISSING, "6.8", "no software RDMA", "linux-image-amd64");
    expect(&f, "rxe-link", DOCTOR_MISSING, "", "no rdma_rxe", "rxe-module");
    f.rxe = DOCTOR_RXE_NO_KERNEL;
    expect(&f, "rxe-module", DOCTOR_MISSING, "CONFIG_RDMA_RXE", "no software RDMA", "guest");
}

static void userfaultfd_modes(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    expect(&f, "userfaultfd", DOCTOR_OK, "kernel: yes; asynchronous", "system calls", "");
    f.uffd_kernel_errno = EPERM;
    expect(&f, "userfaultfd", DOCTOR_OK, "by /dev/userfaultfd", "system calls", "");
    f.uffd_dev_errno = EACCES;
    f.uffd_features = 0;
    expect(&f, "userfaultfd", DOCTOR_LIMITED, "kernel: no", "would miss", "sysctl");
    f.uffd_user_errno = ENOSYS;
    expect(&f, "userfaultfd", DOCTOR_MISSING, "user faults: no", "", "CONFIG_USERFAULTFD");
    f.seccomp = 2;
    expect(&f, "userfaultfd", DOCTOR_MISSING, "user faults: no", "", "seccomp=unconfined");
}

static void confinement(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.kvm_errno = EACCES;
    expect(&f, "kvm", DOCTOR_LIMITED, "cannot be opened", "tcg", "group kvm");
    f.kvm_errno = ENOENT;
    expect(&f, "kvm", DOCTOR_LIMITED, "cannot be opened", "tcg", "modprobe kvm");
    f.seccomp = 1;
    expect(&f, "seccomp", DOCTOR_LIMITED, "strict", "refused", "unconfined");
    f.seccomp = -1;
    expect(&f, "seccomp", DOCTOR_OK, "unknown", "", "");
    strcpy(f.container, "podman");
    expect(&f, "container", DOCTOR_OK, "podman", "host", "");
    f.shm = false;
    expect(&f, "dev-shm", DOCTOR_LIMITED, "not there", "memfds", "mount");
}

static void packages(void **state)
{
    struct doctor_facts f = good();

    (void)state;
    f.missing_count = 2;
    f.missing_packages[0] = "gcc";
    f.missing_packages[1] = "make";
    assert_string_equal(judged(&f, "packages").remedy, "apt-get install gcc make");
    f.dpkg = false;
    expect(&f, "packages", DOCTOR_LIMITED, "no list", "Debian 12", "ci/deps list demo");
}

/* ---- printing ---------------------------------------------------------------------------------- */

static char *printed(const struct doctor_report *r, bool json)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    assert_int_equal(doctor_print(r, out, json), FL_OK);
    fclose(out);
    return text;
}

static void json_has_the_documented_form(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;
    json_t *top, *c;
    char *text;

    (void)state;
    f.cores = 1;
    doctor_judge(&f, &r);
    text = printed(&r, true);
    top = json_loads(text, 0, NULL);
    assert_non_null(top);
    assert_int_equal(json_integer_value(json_object_get(top, "version")), DOCTOR_VERSION);
    assert_int_equal(json_array_size(json_object_get(top, "checks")), r.count);
    c = json_array_get(json_object_get(top, "checks"), 1);
    assert_string_equal(json_string_value(json_object_get(c, "id")), "cores");
    assert_string_equal(json_string_value(json_object_get(c, "state")), "limited");
    assert_string_equal(json_string_value(json_object_get(c, "value")), r.checks[1].value);
    assert_string_equal(json_string_value(json_object_get(c, "consequence")),
                        r.checks[1].consequence);
    assert_string_equal(json_string_value(json_object_get(c, "remedy")), r.checks[1].remedy);
    json_decref(top);
    free(text);
}

static void the_table_fits_a_terminal_and_counts(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;
    char *text, *save = NULL, last[64] = "";

    (void)state;
    f.cores = 1;
    f.page_bytes = 16384;
    doctor_judge(&f, &r);
    text = printed(&r, false);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        assert_true(strlen(line) <= 100);
        snprintf(last, sizeof last, "%s", line);
    }
    assert_string_equal(last, "15 ok, 1 limited, 1 missing");
    free(text);
}

static void a_full_disk_is_an_error(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;
    FILE *out = fopen("/dev/full", "w");

    (void)state;
    assert_non_null(out);
    doctor_judge(&f, &r);
    assert_int_equal(doctor_print(&r, out, false), FL_EIO);
    fclose(out);
    out = fopen("/dev/full", "w");
    assert_non_null(out);
    assert_int_equal(doctor_print(&r, out, true), FL_EIO);
    fclose(out);
}

/* On the machine at hand: whatever it is, it is judged, and the basics are right. */
static void this_machine_is_judged(void **state)
{
    struct doctor_facts f = {0};

    (void)state;
    doctor_gather_files(&f, "");
    doctor_gather_calls(&f);
    assert_int_equal(f.page_bytes, sysconf(_SC_PAGESIZE));
    assert_true(f.cores >= 1);
    assert_true(strlen(f.kernel) > 0);
    assert_true(f.providers & DOCTOR_FI_TCP);
    assert_true(f.nofile > 0 && f.nofile <= f.nofile_hard);
}

#define IN_ROOT(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ROOT(an_empty_root_gives_nothing),
        IN_ROOT(rdma_devices_are_listed_in_order),
        IN_ROOT(a_network_device_that_is_up_is_chosen),
        IN_ROOT(rxe_is_found_wherever_it_is),
        IN_ROOT(a_kernel_without_rxe_is_recognised),
        IN_ROOT(status_gives_seccomp_and_capabilities),
        IN_ROOT(containers_are_recognised),
        IN_ROOT(packages_that_are_not_installed_are_named),
        IN_ROOT(devices_and_numbers_are_read),
        cmocka_unit_test(packages_are_those_of_ci_deps),
        cmocka_unit_test(a_good_machine_is_ok_throughout),
        cmocka_unit_test(what_is_not_ok_has_a_remedy),
        cmocka_unit_test(processor_cores_and_pages),
        cmocka_unit_test(mapping_limit_is_told_in_pages),
        cmocka_unit_test(limits_of_the_process),
        cmocka_unit_test(fabrics),
        cmocka_unit_test(rxe_gives_the_exact_command),
        cmocka_unit_test(rxe_says_what_stands_in_the_way),
        cmocka_unit_test(userfaultfd_modes),
        cmocka_unit_test(confinement),
        cmocka_unit_test(packages),
        cmocka_unit_test(json_has_the_documented_form),
        cmocka_unit_test(the_table_fits_a_terminal_and_counts),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(this_machine_is_judged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
