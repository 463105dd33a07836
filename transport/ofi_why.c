/* SPDX-License-Identifier: Apache-2.0 */
/* Why there is no verbs endpoint on an address: the library says "No data available" to all of it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "transport/ofi.h"

enum { DEVICES_MAX = 8, NAME_BYTES = 64 };

static bool read_word(const char *path, char word[NAME_BYTES])
{
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return false;
    bool ok = fgets(word, NAME_BYTES, f) != NULL;
    fclose(f);
    word[ok ? strcspn(word, "\n") : 0] = 0;
    return ok;
}

/** Names of the entries of a directory that begin with @prefix; how many. */
static unsigned entries(const char *root, const char *dir, const char *prefix,
                        char ret[DEVICES_MAX][NAME_BYTES])
{
    char path[256];
    unsigned n = 0;

    snprintf(path, sizeof(path), "%.99s%.99s", root, dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && n < DEVICES_MAX && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0 &&
            strlen(e->d_name) < NAME_BYTES)
            snprintf(ret[n++], NAME_BYTES, "%s", e->d_name);
    if (d != NULL)
        closedir(d);
    return n;
}

/** The first of the files that cannot be used; false: all can. */
static bool closed_file(const char *root, char ret[NAME_BYTES], int *ret_errno)
{
    char files[DEVICES_MAX + 1][NAME_BYTES], path[256];
    unsigned n = entries(root, "/dev/infiniband", "uverbs", files);

    snprintf(files[n++], NAME_BYTES, "rdma_cm");
    for (unsigned i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%.99s/dev/infiniband/%.63s", root, files[i]);
        if (access(path, R_OK | W_OK) == 0)
            continue;
        *ret_errno = errno;
        snprintf(ret, NAME_BYTES, "%.63s", files[i]);
        return true;
    }
    return false;
}

/** Whether a port of the device carries traffic; else the interface it is on, if that is known. */
static bool is_active(const char *root, const char *device, char netdev[NAME_BYTES])
{
    char path[256], state[NAME_BYTES] = "";

    snprintf(path, sizeof(path), "%.99s/sys/class/infiniband/%.63s/ports/1/state", root, device);
    if (!read_word(path, state) || strstr(state, "ACTIVE") != NULL)
        return true;
    snprintf(path, sizeof(path), "%.99s/sys/class/infiniband/%.63s/parent", root, device);
    if (!read_word(path, netdev))
        snprintf(netdev, NAME_BYTES, "INTERFACE");
    return false;
}

void tpo_verbs_why(const char *root, const char *bind, char *ret, size_t len)
{
    char dev[DEVICES_MAX][NAME_BYTES], name[NAME_BYTES];
    int e = 0;

    unsigned n = entries(root, "/sys/class/infiniband", "", dev);
    if (n == 0) {
        snprintf(
            ret, len,
            "this machine has no RDMA device; add one with `rdma link add rxe0 type rxe netdev "
            "INTERFACE` (as root, module rdma_rxe) or use --fabric tcp");
        return;
    }
    if (closed_file(root, name, &e)) {
        if (e == EACCES || e == EPERM)
            snprintf(ret, len,
                     "no permission for /dev/infiniband/%s; run as root or `chmod a+rw "
                     "/dev/infiniband/%s`",
                     name, name);
        else
            snprintf(
                ret, len,
                "no /dev/infiniband/%s: %s; `modprobe ib_uverbs rdma_ucm`, and give a container "
                "--device /dev/infiniband",
                name, strerror(e));
        return;
    }
    for (unsigned i = 0; i < n; i++)
        if (!is_active(root, dev[i], name)) {
            snprintf(ret, len, "RDMA device %s is down; `ip link set %s up`", dev[i], name);
            return;
        }
    snprintf(ret, len,
             "no RDMA device has the address %s (there is %s%s); give the address of its interface "
             "with --bind",
             bind, dev[0], n > 1 ? " and more" : "");
}
