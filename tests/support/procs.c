/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/procs.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"

static bool read_proc(pid_t pid, const char *what, char *buf, size_t cap, size_t *ret_len)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, cap - 1) : -1;
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = 0;
    *ret_len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

pid_t procs_parent(pid_t pid)
{
    char buf[512], state;
    size_t len;
    int ppid = 0;
    const char *close_paren;
    if (!read_proc(pid, "stat", buf, sizeof(buf), &len) || !(close_paren = strrchr(buf, ')')) ||
        sscanf(close_paren + 1, " %c %d", &state, &ppid) != 2 || state == 'Z' || state == 'X')
        return 0;
    return ppid;
}

int procs_nodes(pid_t parent, const char *name, pid_t *ret, int *ret_port)
{
    DIR *d = opendir("/proc");
    int n = 0;
    for (struct dirent *e; d && n < PROCS_MAX && (e = readdir(d));) {
        char cmd[512];
        size_t len;
        pid_t pid = (pid_t)atoi(e->d_name);
        if (pid <= 0 || procs_parent(pid) != parent ||
            !read_proc(pid, "cmdline", cmd, sizeof(cmd), &len))
            continue;
        for (size_t i = 0; i < len; i++)
            cmd[i] = cmd[i] ? cmd[i] : ' ';
        const char *join = strstr(cmd, "--join 127.0.0.1:"), *as = strstr(cmd, "--name ");
        if (!join || !as || (name && strncmp(as + 7, name, strlen(name)) != 0))
            continue;
        if (ret_port)
            *ret_port = atoi(join + strlen("--join 127.0.0.1:"));
        ret[n++] = pid;
    }
    if (d)
        closedir(d);
    return n;
}

bool procs_wait_nodes(pid_t parent, const char *name, int want, pid_t *ret, int *ret_port)
{
    uint64_t end = fl_clock_ns() + PROCS_WAIT_S * FL_NS_PER_S;
    while (fl_clock_ns() < end) {
        int n = procs_nodes(parent, name, ret, ret_port);
        if (n == want || (want && n > want))
            return true;
        usleep(1000);
    }
    return false;
}

int procs_connect(int port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sin, sizeof(sin))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int procs_listening(pid_t pid, int *ports, int max)
{
    char path[64], line[512];
    int n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    unsigned long inodes[256];
    int inode_count = 0;
    for (struct dirent *e; d && inode_count < 256 && (e = readdir(d));) {
        char link[128];
        ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
        link[len > 0 ? len : 0] = 0;
        if (sscanf(link, "socket:[%lu]", &inodes[inode_count]) == 1)
            inode_count++;
    }
    if (d)
        closedir(d);
    FILE *f = fopen("/proc/net/tcp", "r");
    while (f && fgets(line, sizeof(line), f)) {
        unsigned port, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu", &port, &state,
                   &inode) != 3 ||
            state != 10)
            continue;
        for (int i = 0; i < inode_count && n < max; i++)
            if (inodes[i] == inode)
                ports[n++] = (int)port;
    }
    if (f)
        fclose(f);
    return n;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int procs_remove_dir(const char *dir)
{
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
