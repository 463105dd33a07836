/* SPDX-License-Identifier: Apache-2.0 */
/* What the native programs share: the guard against failed accesses, the heap in a region. */
#include <errno.h>
#include <fcntl.h>
#include <mimalloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu/native.h"

enum { FILE_MAX_BYTES = 256 * 1024 * 1024 };

/* --- failed accesses ------------------------------------------------------------------------ */

struct guard {
    sigjmp_buf env;
    volatile uintptr_t addr;
    struct guard *outer;
};

static __thread struct guard *volatile top_guard;

static void on_sigbus(int sig, siginfo_t *si, void *uc)
{
    struct guard *g = top_guard;
    (void)uc;
    if (!g) {
        signal(sig, SIG_DFL); /* the access is repeated and ends the process as it should */
        return;
    }
    g->addr = (uintptr_t)si->si_addr;
    siglongjmp(g->env, 1);
}

int native_guard_init(void)
{
    struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGBUS, &sa, NULL) ? fl_err_from_errno(errno) : FL_OK;
}

int native_guard(void (*fn)(void *arg), void *arg, uintptr_t *ret_addr)
{
    struct guard g = {.outer = top_guard};
    int rv = FL_OK;
    if (sigsetjmp(g.env, 1) == 0) {
        top_guard = &g;
        fn(arg);
    } else {
        if (ret_addr)
            *ret_addr = g.addr;
        rv = FL_EPOISONED;
    }
    top_guard = g.outer;
    return rv;
}

/* --- the heap ------------------------------------------------------------------------------- */

static __thread mi_heap_t *heap;
static __thread uint64_t used_bytes, used_max;

int native_heap_enter(const struct native_mem *mem, struct fl_errmsg *err)
{
    mi_arena_id_t id;
    /* mimalloc takes a misaligned arena without complaint and then goes outside of it. */
    if ((uintptr_t)mem->base % NATIVE_ALIGN || mem->len_bytes < NATIVE_ALIGN)
        return fl_fail(err, FL_EINVAL,
                       "a region for a program needs at least 32 MiB at an address aligned to as "
                       "much; make it 32M or larger");
    /* Large means pinned: the allocator must not decommit or reset memory that we protect. */
    if (!mi_manage_os_memory_ex(mem->base, mem->len_bytes / NATIVE_ALIGN * NATIVE_ALIGN, true, true,
                                true, -1, true, &id))
        return fl_fail(err, FL_ENOMEM, "the allocator cannot take the region as an arena");
    heap = mi_heap_new_in_arena(id);
    if (!heap)
        return fl_fail(err, FL_ENOMEM, "the allocator cannot make a heap in the region");
    used_bytes = used_max = 0;
    return FL_OK;
}

static void destroy(void *arg)
{
    mi_heap_destroy(arg); /* its bookkeeping lies in the region: this may fail like any access */
}

uint64_t native_heap_leave(bool broken)
{
    mi_heap_t *h = heap;
    heap = NULL;
    if (h && !broken)
        destroy(h);
    return used_max;
}

void *native_realloc(void *ptr, size_t len)
{
    size_t old = ptr ? mi_usable_size(ptr) : 0;
    void *p = heap ? mi_heap_realloc(heap, ptr, len) : mi_realloc(ptr, len);
    if (p) {
        used_bytes += mi_usable_size(p) - old;
        used_max = used_bytes > used_max ? used_bytes : used_max;
    }
    return p;
}

void native_free(void *ptr)
{
    used_bytes -= ptr ? mi_usable_size(ptr) : 0;
    mi_free(ptr);
}

struct in_region {
    void (*fn)(void *arg);
    void *arg;
    const struct native_mem *mem;
    struct fl_errmsg *err;
    volatile uint64_t heap_bytes;
    volatile int rv;
};

static void in_region(void *arg)
{
    struct in_region *r = arg;
    r->rv = native_heap_enter(r->mem, r->err);
    if (r->rv)
        return;
    r->fn(r->arg);
    r->heap_bytes = native_heap_leave(false);
}

int native_in_region(const struct native_mem *mem, void (*fn)(void *arg), void *arg,
                     uint64_t *ret_heap_bytes, struct fl_errmsg *err)
{
    struct in_region r = {.fn = fn, .arg = arg, .mem = mem, .err = err};
    uintptr_t addr = 0;
    if (native_guard(in_region, &r, &addr)) {
        *ret_heap_bytes = native_heap_leave(true);
        return fl_fail(err, FL_EPOISONED, "an access at offset 0x%llx of the region failed",
                       (unsigned long long)(addr - (uintptr_t)mem->base));
    }
    *ret_heap_bytes = r.heap_bytes;
    return r.rv;
}

/* --- files ---------------------------------------------------------------------------------- */

static int read_all(int fd, char *buf, size_t len)
{
    size_t n = 0;
    while (n < len) {
        ssize_t got = read(fd, buf + n, len - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? fl_err_from_errno(errno) : FL_EIO;
        n += (size_t)got;
    }
    return FL_OK;
}

int native_read_file(const char *path, char **ret, size_t *ret_len, struct fl_errmsg *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        int err_no = errno;
        if (fd >= 0)
            close(fd);
        return fl_fail(err, fl_err_from_errno(err_no), "cannot read %s: %s; name another source",
                       path, strerror(err_no));
    }
    char *buf =
        S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES ? malloc((size_t)st.st_size + 1) : NULL;
    int rv = buf ? read_all(fd, buf, (size_t)st.st_size) : FL_EINVAL;
    close(fd);
    if (rv) {
        free(buf);
        return fl_fail(err, rv, "cannot read %s: %s; name a regular file below 256 MiB", path,
                       fl_strerror(rv));
    }
    buf[st.st_size] = 0;
    *ret = buf;
    *ret_len = (size_t)st.st_size;
    return FL_OK;
}
