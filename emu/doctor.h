/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What this machine offers, each fact with what follows for Farline and what would help.
 * Gathering (reads files, opens devices), judging (pure) and printing are apart, so that every
 * judgement can be tested on a machine that is not like it. Single-threaded.
 */
#ifndef EMU_DOCTOR_H
#define EMU_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "emu/base/err.h"

enum { DOCTOR_VERSION = 1, DOCTOR_CHECKS_MAX = 32, DOCTOR_PACKAGES_MAX = 32 };

enum doctor_state { DOCTOR_OK, DOCTOR_LIMITED, DOCTOR_MISSING };

/** Is rdma_rxe there? */
enum doctor_rxe {
    DOCTOR_RXE_LOADED,
    DOCTOR_RXE_MODULE,
    DOCTOR_RXE_NO_MODULE,
    DOCTOR_RXE_NO_KERNEL
};

/** Providers of libfabric with FI_EP_MSG and one-sided operations: bits of doctor_facts. */
enum { DOCTOR_FI_TCP = 1, DOCTOR_FI_SOCKETS = 2, DOCTOR_FI_VERBS = 4 };

/** Plain facts. An errno of 0 says that it worked. */
struct doctor_facts {
    char arch[32], kernel[96];
    char rdma_devices[128]; /* names, separated by spaces; empty: none */
    enum doctor_rxe rxe;
    char netdev[32];    /* network device for rxe that is up, never lo; empty: none */
    bool rdma_tool;     /* rdma(8) is installed */
    uint64_t caps;      /* effective capabilities of this process */
    unsigned providers; /* DOCTOR_FI_* */
    int uffd_user_errno, uffd_kernel_errno, uffd_dev_errno;
    uint64_t uffd_features; /* UFFD_FEATURE_*, when any way to open worked */
    int kvm_errno;
    uint64_t max_map_count;         /* 0: could not be read */
    uint64_t memlock_bytes, nofile; /* soft limits; UINT64_MAX: none */
    uint64_t nofile_hard;
    bool shm; /* /dev/shm is there */
    uint64_t shm_bytes;
    int seccomp;        /* mode of this process, -1: unknown */
    char container[32]; /* "docker", "podman", ...; empty: none noticed */
    unsigned cores;     /* that this process may run on */
    uint64_t page_bytes;
    bool tracker; /* this build has trap code for this processor */
    bool dpkg;    /* the list of Debian packages could be read */
    unsigned missing_count;
    const char *missing_packages[DOCTOR_PACKAGES_MAX];
};

struct doctor_check {
    const char *id; /* "max-map-count" */
    enum doctor_state state;
    char value[160];
    char consequence[256]; /* for Farline */
    char remedy[320];      /* empty: nothing to do */
};

struct doctor_report {
    unsigned count;
    struct doctor_check checks[DOCTOR_CHECKS_MAX];
};

/** Facts that are files below @root ("" for this machine; a test gives a directory). */
void doctor_gather_files(struct doctor_facts *f, const char *root);

/** Facts that only the kernel and libfabric can tell. Takes up to half a second. */
void doctor_gather_calls(struct doctor_facts *f);

/** Pure: the same facts give the same report. */
void doctor_judge(const struct doctor_facts *f, struct doctor_report *ret);

/** Packages that ci/deps installs for building and running, in its order; NULL at the end. */
const char *const *doctor_packages(void);

/** Table for people, or {version, checks: [{id, state, value, consequence, remedy}]}.
 * Errors: FL_EIO, FL_ENOMEM. */
int doctor_print(const struct doctor_report *r, FILE *out, bool json);

/** All of the above for this machine. */
int emu_doctor(FILE *out, bool json);

#endif
