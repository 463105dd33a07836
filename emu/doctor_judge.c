/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/base/units.h"
#include "emu/doctor.h"

enum {
    CAP_BIT_NET_ADMIN = 12,
    CAP_BIT_IPC_LOCK = 14,
    CAP_BIT_SYS_MODULE = 16,
    MAPS_DEFAULT = 65530, /* Source: the kernel's DEFAULT_MAX_MAP_COUNT */
    MAPS_RESERVE = 4096,  /* mappings that are not pages of a region: libraries, stacks, heaps */
    NOFILE_WANTED = 4096, /* Source: 64 nodes x 3 classes on each side, and what else is open */
    MEMLOCK_WANTED_MIB = 64,
};

#define MIB (UINT64_C(1) << 20)

/* Starts the next check. Consequence and remedy are filled by say() and advise(). */
static struct doctor_check *check(struct doctor_report *r, const char *id, enum doctor_state state)
{
    struct doctor_check *c = &r->checks[r->count];

    FL_ASSERT(r->count < DOCTOR_CHECKS_MAX);
    r->count++;
    memset(c, 0, sizeof *c);
    c->id = id;
    c->state = state;
    return c;
}

__attribute__((format(printf, 2, 3))) static void value(struct doctor_check *c, const char *fmt,
                                                        ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->value, sizeof c->value, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void say(struct doctor_check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->consequence, sizeof c->consequence, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void advise(struct doctor_check *c, const char *fmt,
                                                         ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->remedy, sizeof c->remedy, fmt, ap);
    va_end(ap);
}

static bool cap(const struct doctor_facts *f, int bit)
{
    return (f->caps >> bit) & 1;
}

static void judge_processor(const struct doctor_facts *f, struct doctor_report *r)
{
    struct doctor_check *c = check(r, "processor", f->tracker ? DOCTOR_OK : DOCTOR_MISSING);

    value(c, "%s, kernel %s", f->arch, f->kernel[0] != '\0' ? f->kernel : "unknown");
    if (f->tracker) {
        say(c, "the mprotect tracker can tell loads from stores here");
    } else {
        say(c, "no trap code for this processor: real runs are refused, --fabric sim works");
        advise(c, "use x86-64 or arm64 for real runs");
    }
    c = check(r, "cores", f->cores > 1 ? DOCTOR_OK : DOCTOR_LIMITED);
    value(c, "%u usable", f->cores);
    if (f->cores > 1) {
        say(c, "waiting may spin for a moment (--wait adaptive or spin) while a core is free");
    } else {
        say(c, "spinning would keep the peer from running: latencies are those of wake-ups");
        advise(c, "use --wait block, or allow more cores (taskset, cpuset, podman --cpus)");
    }
}

static void judge_page_size(const struct doctor_facts *f, struct doctor_report *r)
{
    bool same = f->page_bytes == FL_PAGE_BYTES;
    struct doctor_check *c = check(r, "page-size", same ? DOCTOR_OK : DOCTOR_MISSING);

    value(c, "%" PRIu64 " bytes", f->page_bytes);
    if (same) {
        say(c, "host and emulated pages are the same size");
    } else {
        say(c,
            "an emulated page of %d bytes cannot be protected by itself: the mprotect tracker "
            "refuses, --fabric sim works",
            FL_PAGE_BYTES);
        advise(c, "boot a kernel with pages of %d bytes", FL_PAGE_BYTES);
    }
}

static void judge_maps(const struct doctor_facts *f, struct doctor_report *r)
{
    uint64_t limit = f->max_map_count;
    bool low = limit < MAPS_DEFAULT;
    uint64_t pages = limit > MAPS_RESERVE ? (limit - MAPS_RESERVE) / 2 : 0;
    struct doctor_check *c = check(r, "max-map-count", low ? DOCTOR_LIMITED : DOCTOR_OK);

    if (limit == 0) {
        value(c, "vm.max_map_count could not be read");
        say(c, "the tracker assumes the kernel's default of %d", MAPS_DEFAULT);
        advise(c, "mount /proc");
        return;
    }
    value(c, "vm.max_map_count = %" PRIu64, limit);
    say(c,
        "in the worst pattern (every other page open) at most %" PRIu64 " pages (%" PRIu64
        " MiB) of device memory; past that the tracker holds threads back, it does not fail",
        pages, pages * FL_PAGE_BYTES / MIB);
    if (limit < MIB) {
        advise(c, "for more: sysctl -w vm.max_map_count=1048576");
    }
}

static void judge_limits(const struct doctor_facts *f, struct doctor_report *r)
{
    bool lock = cap(f, CAP_BIT_IPC_LOCK) || f->memlock_bytes >= MEMLOCK_WANTED_MIB * MIB;
    bool files = f->nofile >= NOFILE_WANTED;
    struct doctor_check *c = check(r, "memlock", lock ? DOCTOR_OK : DOCTOR_LIMITED);

    if (f->memlock_bytes == UINT64_MAX) {
        value(c, "unlimited");
    } else {
        value(c, "%" PRIu64 " KiB%s", f->memlock_bytes / 1024,
              cap(f, CAP_BIT_IPC_LOCK) ? ", not enforced (CAP_IPC_LOCK)" : "");
    }
    if (lock) {
        say(c, "page buffers and pools can be registered with any fabric");
    } else {
        say(c, "--fabric verbs can register %" PRIu64 " pages at most; tcp and sockets pin nothing",
            f->memlock_bytes / FL_PAGE_BYTES);
        advise(c,
               "ulimit -l unlimited (docker, podman: --cap-add IPC_LOCK, or --ulimit memlock=-1)");
    }
    c = check(r, "open-files", files ? DOCTOR_OK : DOCTOR_LIMITED);
    value(c, "%" PRIu64 " of at most %" PRIu64, f->nofile, f->nofile_hard);
    say(c, "each peer of a node takes 3 connections, so about %" PRIu64 " peers",
        f->nofile > 64 ? (f->nofile - 64) / 6 : 0);
    if (!files) {
        advise(c, "ulimit -n %d", NOFILE_WANTED);
    }
}

static void judge_provider(const struct doctor_facts *f, struct doctor_report *r, unsigned bit,
                           const char *name)
{
    bool there = (f->providers & bit) != 0;
    struct doctor_check *c;

    c = check(r,
              bit == DOCTOR_FI_TCP       ? "fabric-tcp"
              : bit == DOCTOR_FI_SOCKETS ? "fabric-sockets"
                                         : "fabric-verbs",
              there                    ? DOCTOR_OK
              : bit == DOCTOR_FI_VERBS ? DOCTOR_LIMITED
                                       : DOCTOR_MISSING);
    value(c, "libfabric's %s provider %s", name, there ? "answers" : "offers nothing");
    if (there) {
        say(c, "--fabric %s works", name);
    } else if (bit == DOCTOR_FI_VERBS) {
        say(c, "--fabric verbs is refused; all mechanisms run on tcp as well");
        advise(c, f->rdma_devices[0] != '\0'
                      ? "a device is there: look at `fi_info -p verbs -v`, memlock, and whether a "
                        "network device with an address belongs to it"
                      : "needs an RDMA device, see rxe-link");
    } else {
        say(c, "--fabric %s is refused; --fabric sim works", name);
        advise(c, "apt-get install libfabric1; unset FI_PROVIDER; is the loopback device up?");
    }
}

static void judge_rxe_module(const struct doctor_facts *f, struct doctor_report *r)
{
    static const enum doctor_state states[] = {
        [DOCTOR_RXE_LOADED] = DOCTOR_OK,
        [DOCTOR_RXE_MODULE] = DOCTOR_LIMITED,
        [DOCTOR_RXE_NO_MODULE] = DOCTOR_MISSING,
        [DOCTOR_RXE_NO_KERNEL] = DOCTOR_MISSING,
    };
    struct doctor_check *c = check(r, "rxe-module", states[f->rxe]);

    switch (f->rxe) {
    case DOCTOR_RXE_LOADED:
        value(c, "rdma_rxe is loaded");
        say(c, "an RDMA device can be made from any network device");
        break;
    case DOCTOR_RXE_MODULE:
        value(c, "rdma_rxe is there, not loaded");
        say(c, "an RDMA device can be made once it is loaded");
        advise(c, "modprobe rdma_rxe");
        break;
    case DOCTOR_RXE_NO_MODULE:
        value(c, "no rdma_rxe below /lib/modules/%s", f->kernel);
        say(c, "no software RDMA on this kernel as it is installed");
        advise(c, "install the kernel's modules (Debian: linux-image-amd64; the cloud kernel has "
                  "no rdma_rxe); in a container they belong to the host");
        break;
    case DOCTOR_RXE_NO_KERNEL:
        value(c, "this kernel is built without CONFIG_RDMA_RXE");
        say(c, "no software RDMA on this kernel");
        advise(c, "run a guest (QEMU, 1 GiB) with Debian's linux-image-amd64, not its cloud "
                  "kernel: it has rdma_rxe");
        break;
    }
}

/* The exact command, or what stands in its way. */
static void judge_rxe_link(const struct doctor_facts *f, struct doctor_report *r)
{
    bool device = f->rdma_devices[0] != '\0';
    const char *why = f->rxe >= DOCTOR_RXE_NO_MODULE ? "there is no rdma_rxe (see rxe-module)"
                      : !cap(f, CAP_BIT_NET_ADMIN)   ? "this process lacks CAP_NET_ADMIN"
                      : f->rxe == DOCTOR_RXE_MODULE && !cap(f, CAP_BIT_SYS_MODULE)
                          ? "rdma_rxe is not loaded and this process lacks CAP_SYS_MODULE"
                          : NULL;
    struct doctor_check *c = check(r, "rxe-link",
                                   device        ? DOCTOR_OK
                                   : why != NULL ? DOCTOR_MISSING
                                                 : DOCTOR_LIMITED);

    if (device) {
        value(c, "RDMA device %s", f->rdma_devices);
        say(c, "--fabric verbs has something to run on");
        return;
    }
    value(c, "no RDMA device in /sys/class/infiniband");
    if (why != NULL) {
        say(c, "none can be made here: %s", why);
        advise(c, f->rxe >= DOCTOR_RXE_NO_MODULE
                      ? "as for rxe-module"
                      : "run as root on the host (a container needs --privileged)");
        return;
    }
    say(c,
        "one can be made%s; give FI_UNIVERSE_SIZE=64 to programs that use it, rxe's queues are "
        "small",
        f->netdev[0] != '\0' ? "" : " on a dummy device (rdma_cm finds no route on lo)");
    advise(c, "%s%s%srdma link add rxe0 type rxe netdev %s",
           f->rdma_tool ? "" : "apt-get install iproute2 && ",
           f->rxe == DOCTOR_RXE_MODULE ? "modprobe rdma_rxe && " : "",
           f->netdev[0] != '\0'
               ? ""
               : "ip link add farline0 type dummy && ip addr add 10.213.0.1/24 dev "
                 "farline0 && ip link set farline0 up && ",
           f->netdev[0] != '\0' ? f->netdev : "farline0");
}

static void judge_uffd(const struct doctor_facts *f, struct doctor_report *r)
{
    bool kernel = f->uffd_kernel_errno == 0 || f->uffd_dev_errno == 0;
    bool user = f->uffd_user_errno == 0;
    struct doctor_check *c = check(r, "userfaultfd",
                                   kernel ? DOCTOR_OK
                                   : user ? DOCTOR_LIMITED
                                          : DOCTOR_MISSING);

    value(c, "user faults: %s; faults in the kernel: %s%s", user ? "yes" : "no",
          f->uffd_kernel_errno == 0 ? "yes"
          : f->uffd_dev_errno == 0  ? "by /dev/userfaultfd"
                                    : "no",
          f->uffd_features >> 15 & 1 ? "; asynchronous write-protect" : "");
    if (kernel) {
        say(c, "nothing yet: the mprotect tracker does without; a uffd tracker could also see "
               "system calls that touch protected memory");
    } else if (user) {
        say(c, "nothing yet: the mprotect tracker does without; a uffd tracker would miss faults "
               "from inside system calls");
        advise(c, "sysctl -w vm.unprivileged_userfaultfd=1, or CAP_SYS_PTRACE");
    } else {
        say(c, "nothing yet: the mprotect tracker does without");
        advise(c, "%s",
               f->seccomp == 2 ? "a seccomp filter may refuse it: docker, podman: --device "
                                 "/dev/userfaultfd, or --security-opt seccomp=unconfined"
                               : "needs a kernel with CONFIG_USERFAULTFD");
    }
}

static void judge_kvm(const struct doctor_facts *f, struct doctor_report *r)
{
    struct doctor_check *c = check(r, "kvm", f->kvm_errno == 0 ? DOCTOR_OK : DOCTOR_LIMITED);

    value(c, "/dev/kvm %s%s", f->kvm_errno == 0 ? "opens" : "cannot be opened: ",
          f->kvm_errno == 0 ? "" : strerror(f->kvm_errno));
    if (f->kvm_errno == 0) {
        say(c, "a guest for soft-RoCE may use it; inside another VM it may still not boot, then "
               "-accel tcg does");
    } else {
        say(c, "a guest for soft-RoCE runs by emulation (-accel tcg): slower, and its latencies "
               "mean nothing");
        advise(c, f->kvm_errno == EACCES
                      ? "join group kvm, or run as root"
                      : "on a host: modprobe kvm; in a container: --device /dev/kvm");
    }
}

static void judge_confinement(const struct doctor_facts *f, struct doctor_report *r)
{
    bool filtered = f->seccomp > 0;
    struct doctor_check *c = check(r, "seccomp", filtered ? DOCTOR_LIMITED : DOCTOR_OK);

    value(c, "%s",
          f->seccomp == 0   ? "no filter"
          : f->seccomp == 1 ? "strict mode"
          : f->seccomp == 2 ? "filtered"
                            : "unknown");
    if (filtered) {
        say(c, "some system calls may be refused, userfaultfd first; tcp runs need none of them");
        advise(c, "podman, docker: --security-opt seccomp=unconfined");
    } else {
        say(c, "no system call is refused");
    }
    c = check(r, "container", DOCTOR_OK);
    value(c, "%s", f->container[0] != '\0' ? f->container : "none noticed");
    say(c, "%s",
        f->container[0] != '\0'
            ? "kernel modules, sysctls and /dev belong to the host: remedies above that "
              "change them have to be done there"
            : "remedies above can be done here");
    c = check(r, "dev-shm", f->shm ? DOCTOR_OK : DOCTOR_LIMITED);
    if (f->shm) {
        value(c, "%" PRIu64 " MiB", f->shm_bytes / MIB);
        say(c, "regions and pools are memfds, which this size does not bound; only programs that "
               "use shm_open are");
    } else {
        value(c, "not there");
        say(c, "programs that use shm_open fail; Farline itself uses memfds");
        advise(c, "mount -t tmpfs tmpfs /dev/shm");
    }
}

static void judge_packages(const struct doctor_facts *f, struct doctor_report *r)
{
    bool ok = f->dpkg && f->missing_count == 0;
    struct doctor_check *c = check(r, "packages", ok ? DOCTOR_OK : DOCTOR_LIMITED);

    if (!f->dpkg) {
        value(c, "no list of Debian packages on this machine");
        say(c, "ci/demo and ci/check install packages on Debian 12 only");
        advise(c, "install the libraries of `ci/deps list demo` by other means");
        return;
    }
    if (ok) {
        value(c, "all that building and running takes");
        say(c, "make builds here; `ci/deps check` adds what the tests take");
        return;
    }
    value(c, "%u missing", f->missing_count);
    say(c, "what is built runs; building or the demonstration needs them");
    advise(c, "apt-get install");
    for (unsigned i = 0; i < f->missing_count; i++) {
        size_t len = strlen(c->remedy);

        snprintf(c->remedy + len, sizeof c->remedy - len, " %s", f->missing_packages[i]);
    }
}

void doctor_judge(const struct doctor_facts *f, struct doctor_report *ret)
{
    ret->count = 0;
    judge_processor(f, ret);
    judge_page_size(f, ret);
    judge_maps(f, ret);
    judge_limits(f, ret);
    judge_provider(f, ret, DOCTOR_FI_TCP, "tcp");
    judge_provider(f, ret, DOCTOR_FI_SOCKETS, "sockets");
    judge_provider(f, ret, DOCTOR_FI_VERBS, "verbs");
    judge_rxe_module(f, ret);
    judge_rxe_link(f, ret);
    judge_uffd(f, ret);
    judge_kvm(f, ret);
    judge_confinement(f, ret);
    judge_packages(f, ret);
}
