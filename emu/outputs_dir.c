/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory: nobody ever sees half of one. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu/outputs.h"

enum { PROBE_BYTES = 64 * 1024, OPEN_FDS_MAX = 16 };

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, OPEN_FDS_MAX, FTW_DEPTH | FTW_PHYS);
}

/** mkdir -p of the part of @path before its last '/'. */
static int make_parents(const char *path)
{
    char part[PATH_MAX];

    snprintf(part, sizeof(part), "%s", path);
    for (char *c = strchr(part + 1, '/'); c != NULL; c = strchr(c + 1, '/')) {
        *c = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return -1;
        *c = '/';
    }
    return 0;
}

static int cannot(const char *what, const char *path, int e, struct fl_errmsg *err)
{
    const char *remedy = e == ENOSPC || e == EDQUOT || e == EFBIG
                             ? "free space there, or choose another place "
                               "with --out"
                             : "choose a place that can be written with "
                               "--out";

    return fl_fail(err, FL_EINVAL, "cannot %s %.300s: %s; %s", what, path, strerror(e), remedy);
}

int out_parents(const char *path, struct fl_errmsg *err)
{
    return make_parents(path) == 0 ? FL_OK : cannot("create", path, errno, err);
}

static int write_fd(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return -1;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/** A full disk shows now, not after the run. */
static int probe(const char *dir, struct fl_errmsg *err)
{
    char path[PATH_MAX + 16];
    char *bytes = calloc(1, PROBE_BYTES);
    int rc = FL_OK;

    snprintf(path, sizeof(path), "%.*s/.probe", PATH_MAX - 1, dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        rc = cannot("write in", dir, errno, err);
    else if (bytes == NULL)
        rc = fl_fail(err, FL_ENOMEM, "out of memory");
    else if (write_fd(fd, bytes, PROBE_BYTES) != 0)
        rc = cannot("write in", dir, errno, err);
    if (fd >= 0) {
        close(fd);
        (void)unlink(path);
    }
    free(bytes);
    return rc;
}

/** What is there may be replaced only when it is empty or a run of ours. */
static int check_old(const char *path, struct fl_errmsg *err)
{
    char verdict[PATH_MAX + 16];
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? FL_OK : cannot("use", path, errno, err);
    if (!S_ISDIR(st.st_mode))
        return fl_fail(err, FL_EINVAL,
                       "%.300s exists and is not a directory; choose another place "
                       "with --out",
                       path);
    snprintf(verdict, sizeof(verdict), "%.*s/verdict.json", PATH_MAX - 1, path);
    if (access(verdict, F_OK) == 0)
        return FL_OK;
    if (rmdir(path) == 0) /* it was empty */
        return FL_OK;
    return fl_fail(err, FL_EINVAL,
                   "%.300s exists and holds no earlier run; remove it, or choose "
                   "another place with --out",
                   path);
}

int out_dir_begin(struct out_dir *d, const char *path, struct fl_errmsg *err)
{
    size_t len = strlen(path);

    memset(d, 0, sizeof(*d));
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0 || len > PATH_MAX - 300)
        return fl_fail(err, FL_EINVAL, "--out: the path is empty or too long");
    memcpy(d->path, path, len);
    const char *base = strrchr(d->path, '/');
    base = base != NULL ? base + 1 : d->path;
    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return fl_fail(err, FL_EINVAL, "--out %.200s: name a directory that can be replaced", path);
    snprintf(d->tmp, sizeof(d->tmp), "%.*s.%.200s.tmp%d", (int)(base - d->path), d->path, base,
             (int)getpid());
    if (make_parents(d->path) != 0)
        return cannot("create", d->path, errno, err);
    int rc = check_old(d->path, err);
    if (rc != FL_OK)
        return rc;
    remove_tree(d->tmp); /* of a process that had our number */
    if (mkdir(d->tmp, 0755) != 0)
        return cannot("create", d->tmp, errno, err);
    d->open = true;
    rc = probe(d->tmp, err);
    if (rc != FL_OK)
        out_dir_abandon(d);
    return rc;
}

int out_dir_commit(struct out_dir *d, struct fl_errmsg *err)
{
    char old[PATH_MAX + 8];

    snprintf(old, sizeof(old), "%s.old", d->tmp);
    bool had = rename(d->path, old) == 0;
    if (rename(d->tmp, d->path) != 0) {
        int e = errno;

        if (had)
            (void)rename(old, d->path);
        return cannot("create", d->path, e, err);
    }
    d->open = false;
    if (had)
        remove_tree(old);
    return FL_OK;
}

static _Thread_local struct {
    char to[PATH_MAX + 16];
    int kept;
} logs;

/** Moves one log that says something to where logs are kept. */
static int keep_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const char *name = path + ftw->base;
    size_t len = strlen(name);
    char to[2 * PATH_MAX];

    if (type != FTW_F || st->st_size == 0 || len < 5 || strcmp(name + len - 4, ".log") != 0)
        return 0;
    if (logs.kept == 0) {
        remove_tree(logs.to);
        if (mkdir(logs.to, 0755) != 0)
            return 1;
    }
    snprintf(to, sizeof(to), "%s/%.255s", logs.to, name);
    logs.kept += rename(path, to) == 0;
    return 0;
}

void out_dir_keep_logs(struct out_dir *d, struct fl_errmsg *err)
{
    logs.kept = 0;
    snprintf(logs.to, sizeof(logs.to), "%s.failed", d->path);
    if (!d->open || nftw(d->tmp, keep_one, OPEN_FDS_MAX, FTW_PHYS) != 0 || logs.kept == 0)
        return;
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, "; node logs are in %s", logs.to);
}

void out_dir_abandon(struct out_dir *d)
{
    if (d->open)
        remove_tree(d->tmp);
    d->open = false;
}

int out_file(const char *path, const char *text, size_t len, struct fl_errmsg *err)
{
    char tmp[PATH_MAX + 32];
    struct stat st;
    /* Never rename over a device or a pipe. */
    bool direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode);

    snprintf(tmp, sizeof(tmp), direct ? "%.*s" : "%.*s.tmp%d", PATH_MAX - 1, path, (int)getpid());
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return cannot("write", path, errno, err);
    int bad = write_fd(fd, text, len), e = errno;
    if (close(fd) != 0 && bad == 0) {
        bad = -1;
        e = errno;
    }
    if (bad == 0 && !direct && rename(tmp, path) != 0) {
        bad = -1;
        e = errno;
    }
    if (bad != 0 && !direct)
        (void)unlink(tmp);
    return bad != 0 ? cannot("write", path, e, err) : FL_OK;
}
