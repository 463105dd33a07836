/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Close-on-exec for libfabric's descriptors. It sets it on none, and a child that inherits a socket
 * keeps the connection of a killed node open: its death would be seen when the child ends. Sockets
 * and poll descriptors that appeared after the port was made are taken for libfabric's.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/ofi.h"

/** Calls @fn for every open descriptor of this process. */
static void each_fd(struct tpo_port *p, void (*fn)(struct tpo_port *p, unsigned fd))
{
    DIR *dir = opendir("/proc/self/fd");

    if (dir == NULL)
        return; /* without /proc there is nothing to go by; the run still works */
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        if (*end == 0 && end != e->d_name && fd != dirfd(dir))
            fn(p, (unsigned)fd);
    }
    closedir(dir);
}

static void remember(struct tpo_port *p, unsigned fd)
{
    unsigned need = fd / 8 + 1;

    if (need > p->fd_before_count) {
        unsigned char *bigger = realloc(p->fd_before, need);
        if (bigger == NULL)
            return;
        memset(bigger + p->fd_before_count, 0, need - p->fd_before_count);
        p->fd_before = bigger;
        p->fd_before_count = need;
    }
    p->fd_before[fd / 8] |= (unsigned char)(1 << fd % 8);
}

static bool is_fabric_kind(unsigned fd)
{
    char path[32], what[64] = {0};
    struct stat st;

    if (fstat((int)fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return true;
    snprintf(path, sizeof(path), "/proc/self/fd/%u", fd);
    return readlink(path, what, sizeof(what) - 1) > 0 &&
           (strncmp(what, "anon_inode:", 11) == 0 || strncmp(what, "pipe:", 5) == 0);
}

static void set_cloexec(struct tpo_port *p, unsigned fd)
{
    bool before = fd / 8 < p->fd_before_count && (p->fd_before[fd / 8] >> fd % 8 & 1);
    if (before)
        return;
    int flags = fcntl((int)fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0 && is_fabric_kind(fd))
        (void)fcntl((int)fd, F_SETFD, flags | FD_CLOEXEC);
}

void tpo_cloexec_before(struct tpo_port *p)
{
    each_fd(p, remember);
}

void tpo_cloexec(struct tpo_port *p)
{
    each_fd(p, set_cloexec);
}
