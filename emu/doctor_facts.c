/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <rdma/fabric.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include "coherence/arch.h"
#include "emu/doctor.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { PATH_BYTES = 512, LINE_BYTES = 512, DIR_ENTRIES_MAX = 4096, STATUS_LINES_MAX = 4000000 };

const char *const *doctor_packages(void)
{
    static const char *const names[] = {"make",
                                        "gcc",
                                        "libc6-dev",
                                        "pkg-config",
                                        "libfabric-dev",
                                        "libevent-dev",
                                        "libjansson-dev",
                                        "liblua5.4-dev",
                                        "libxxhash-dev",
                                        "zlib1g-dev",
                                        "libsqlite3-dev",
                                        "libssl-dev",
                                        "libmimalloc-dev",
                                        "wamerican",
                                        NULL};

    return names;
}

static bool exists(const char *root, const char *path)
{
    char p[PATH_BYTES];

    snprintf(p, sizeof p, "%s%s", root, path);
    return access(p, F_OK) == 0;
}

static FILE *open_below(const char *root, const char *path)
{
    char p[PATH_BYTES];

    snprintf(p, sizeof p, "%s%s", root, path);
    return fopen(p, "re");
}

/* First line of a file without its end; empty when it cannot be read. */
static void read_line(const char *root, const char *path, char *ret, size_t size)
{
    FILE *f = open_below(root, path);

    ret[0] = '\0';
    if (f != NULL) {
        if (fgets(ret, (int)size, f) == NULL) {
            ret[0] = '\0';
        }
        ret[strcspn(ret, "\n")] = '\0';
        fclose(f);
    }
}

static DIR *open_dir(const char *root, const char *path)
{
    char p[PATH_BYTES];

    snprintf(p, sizeof p, "%s%s", root, path);
    return opendir(p);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names in a directory, sorted, so that the answer does not depend on the file system. */
static unsigned list_dir(const char *root, const char *path, char names[][32], unsigned max)
{
    DIR *d = open_dir(root, path);
    const struct dirent *e;
    unsigned n = 0;

    for (int i = 0; d != NULL && i < DIR_ENTRIES_MAX && (e = readdir(d)) != NULL; i++) {
        if (e->d_name[0] != '.' && n < max && strlen(e->d_name) < sizeof names[0]) {
            memcpy(names[n++], e->d_name, strlen(e->d_name) + 1);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    qsort(names, n, sizeof names[0], by_name);
    return n;
}

static void gather_rdma_devices(struct doctor_facts *f, const char *root)
{
    char names[16][32];
    unsigned n = list_dir(root, "/sys/class/infiniband", names, 16);

    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(f->rdma_devices);

        snprintf(f->rdma_devices + len, sizeof f->rdma_devices - len, "%s%s", i > 0 ? " " : "",
                 names[i]);
    }
}

/* rxe needs a network device that is up; on lo the connection manager finds no route. */
static void gather_netdev(struct doctor_facts *f, const char *root)
{
    char names[64][32];
    unsigned n = list_dir(root, "/sys/class/net", names, 64);

    for (unsigned i = 0; i < n; i++) {
        char path[96], state[32];

        snprintf(path, sizeof path, "/sys/class/net/%.31s/operstate", names[i]);
        read_line(root, path, state, sizeof state);
        if (strcmp(names[i], "lo") != 0 &&
            (strcmp(state, "up") == 0 ||
             (strcmp(state, "unknown") == 0 && strncmp(names[i], "ifb", 3) != 0))) {
            memcpy(f->netdev, names[i], sizeof names[i]);
            return;
        }
    }
}

/* True when a kernel configuration, plain or gzip, says that RXE cannot be there. */
static bool config_without_rxe(const char *root, const char *path, bool *ret_known)
{
    char p[PATH_BYTES], line[LINE_BYTES];
    bool found = false;
    gzFile g;

    snprintf(p, sizeof p, "%s%s", root, path);
    g = gzopen(p, "rbe");
    if (g == NULL) {
        return false;
    }
    *ret_known = true;
    while (!found && gzgets(g, line, (int)sizeof line) != NULL) {
        found = strncmp(line, "CONFIG_RDMA_RXE=", 16) == 0;
    }
    gzclose(g);
    return !found;
}

static void gather_rxe(struct doctor_facts *f, const char *root)
{
    static const char *const ends[] = {"", ".xz", ".zst", ".gz"};
    char path[PATH_BYTES];
    bool known = false, without;

    if (exists(root, "/sys/module/rdma_rxe")) {
        f->rxe = DOCTOR_RXE_LOADED;
        return;
    }
    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(path, sizeof path,
                 "/lib/modules/%s/kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko%s", f->kernel,
                 ends[i]);
        if (exists(root, path)) {
            f->rxe = DOCTOR_RXE_MODULE;
            return;
        }
    }
    without = config_without_rxe(root, "/proc/config.gz", &known);
    if (!known) {
        snprintf(path, sizeof path, "/boot/config-%s", f->kernel);
        without = config_without_rxe(root, path, &known);
    }
    f->rxe = known && without ? DOCTOR_RXE_NO_KERNEL : DOCTOR_RXE_NO_MODULE;
}

static void gather_status(struct doctor_facts *f, const char *root)
{
    FILE *in = open_below(root, "/proc/self/status");
    char line[LINE_BYTES];

    f->seccomp = -1;
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, "Seccomp:", 8) == 0) {
            f->seccomp = (int)strtol(line + 8, NULL, 10);
        } else if (strncmp(line, "CapEff:", 7) == 0) {
            f->caps = strtoull(line + 7, NULL, 16);
        }
    }
    if (in != NULL) {
        fclose(in);
    }
}

static void gather_container(struct doctor_facts *f, const char *root)
{
    static const struct {
        const char *word, *name;
    } cgroups[] = {{"kubepods", "kubernetes"},
                   {"docker", "docker"},
                   {"libpod", "podman"},
                   {"lxc", "lxc"},
                   {"machine.slice", "systemd-nspawn"}};
    FILE *in;
    char line[LINE_BYTES];

    if (exists(root, "/run/.containerenv")) {
        snprintf(f->container, sizeof f->container, "podman");
    } else if (exists(root, "/.dockerenv")) {
        snprintf(f->container, sizeof f->container, "docker");
    } else {
        read_line(root, "/run/host/container-manager", f->container, sizeof f->container);
    }
    in = f->container[0] == '\0' ? open_below(root, "/proc/1/cgroup") : NULL;
    while (in != NULL && f->container[0] == '\0' && fgets(line, sizeof line, in) != NULL) {
        for (unsigned i = 0; i < sizeof cgroups / sizeof cgroups[0]; i++) {
            if (f->container[0] == '\0' && strstr(line, cgroups[i].word) != NULL) {
                snprintf(f->container, sizeof f->container, "%s", cgroups[i].name);
            }
        }
    }
    if (in != NULL) {
        fclose(in);
    }
}

/* Marks the packages that dpkg's list says are installed. */
static void scan_dpkg(FILE *in, bool *installed)
{
    const char *const *names = doctor_packages();
    char line[LINE_BYTES];
    int current = -1;

    for (long n = 0; n < STATUS_LINES_MAX && fgets(line, sizeof line, in) != NULL; n++) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "Package: ", 9) == 0) {
            current = -1;
            for (int i = 0; names[i] != NULL; i++) {
                if (strcmp(line + 9, names[i]) == 0) {
                    current = i;
                }
            }
        } else if (current >= 0 && strcmp(line, "Status: install ok installed") == 0) {
            installed[current] = true;
        }
    }
}

static void gather_packages(struct doctor_facts *f, const char *root)
{
    const char *const *names = doctor_packages();
    bool installed[DOCTOR_PACKAGES_MAX] = {false};
    FILE *in = open_below(root, "/var/lib/dpkg/status");

    f->dpkg = in != NULL;
    if (in == NULL) {
        return;
    }
    scan_dpkg(in, installed);
    fclose(in);
    for (int i = 0; names[i] != NULL; i++) {
        if (!installed[i]) {
            f->missing_packages[f->missing_count++] = names[i];
        }
    }
}

static int try_open(const char *root, const char *path)
{
    char p[PATH_BYTES];
    int fd, err = 0;

    snprintf(p, sizeof p, "%s%s", root, path);
    fd = open(p, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        err = errno;
    } else {
        close(fd);
    }
    return err;
}

void doctor_gather_files(struct doctor_facts *f, const char *root)
{
    char line[LINE_BYTES], path[PATH_BYTES];
    struct statvfs fs;

    read_line(root, "/proc/sys/kernel/osrelease", f->kernel, sizeof f->kernel);
    gather_rdma_devices(f, root);
    gather_netdev(f, root);
    gather_rxe(f, root);
    f->rdma_tool = exists(root, "/usr/bin/rdma") || exists(root, "/bin/rdma") ||
                   exists(root, "/usr/sbin/rdma") || exists(root, "/sbin/rdma");
    gather_status(f, root);
    gather_container(f, root);
    gather_packages(f, root);
    f->kvm_errno = try_open(root, "/dev/kvm");
    f->uffd_dev_errno = try_open(root, "/dev/userfaultfd");
    read_line(root, "/proc/sys/vm/max_map_count", line, sizeof line);
    f->max_map_count = strtoull(line, NULL, 10);
    snprintf(path, sizeof path, "%s/dev/shm", root);
    f->shm = statvfs(path, &fs) == 0;
    f->shm_bytes = f->shm ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
}

static int uffd_probe(unsigned long flags, uint64_t *features)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, flags | O_CLOEXEC | O_NONBLOCK);
    int err = 0;

    if (fd < 0) {
        return errno;
    }
    if (ioctl(fd, UFFDIO_API, &api) != 0) {
        err = errno;
    } else {
        *features |= api.features;
    }
    close(fd);
    return err;
}

static unsigned provider_bit(const char *name, unsigned bit)
{
    struct fi_info *hints = fi_allocinfo(), *found = NULL;
    int rc = -1;

    if (hints != NULL) {
        hints->caps = FI_MSG | FI_RMA;
        hints->ep_attr->type = FI_EP_MSG;
        hints->domain_attr->mr_mode =
            FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
        hints->mode = FI_CONTEXT | FI_RX_CQ_DATA;
        hints->fabric_attr->prov_name = strdup(name);
        rc = fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &found);
        fi_freeinfo(hints);
    }
    if (found != NULL) {
        fi_freeinfo(found);
    }
    return rc == 0 ? bit : 0;
}

static uint64_t soft_limit(int which, uint64_t *ret_hard)
{
    struct rlimit r = {0};

    getrlimit((__rlimit_resource_t)which, &r);
    if (ret_hard != NULL) {
        *ret_hard = r.rlim_max == RLIM_INFINITY ? UINT64_MAX : r.rlim_max;
    }
    return r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : r.rlim_cur;
}

void doctor_gather_calls(struct doctor_facts *f)
{
    struct utsname u = {0};
    cpu_set_t set;

    uname(&u);
    snprintf(f->arch, sizeof f->arch, "%.31s", u.machine);
    f->uffd_user_errno = uffd_probe(UFFD_USER_MODE_ONLY, &f->uffd_features);
    f->uffd_kernel_errno = uffd_probe(0, &f->uffd_features);
    f->providers = provider_bit("tcp", DOCTOR_FI_TCP) | provider_bit("sockets", DOCTOR_FI_SOCKETS) |
                   provider_bit("verbs", DOCTOR_FI_VERBS);
    f->memlock_bytes = soft_limit(RLIMIT_MEMLOCK, NULL);
    f->nofile = soft_limit(RLIMIT_NOFILE, &f->nofile_hard);
    CPU_ZERO(&set);
    f->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    f->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    f->tracker = coh_arch_knows_access();
}
