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

enum { FILE_MAX_BYTES = 256 * 1024 * 1024, ALIGN_BYTES = 4096 };

/* --- failed accesses ------------------------------------------------------------------------ */

struct guard {
    sigjmp_buf env;
    volatile uintptr_t addr;
    volatile int sig;
    struct guard *outer;
};

struct native_ctx {
    struct guard *volatile top;
    mi_heap_t *heap; /* NULL: plain memory */
    uint64_t used_bytes, used_max;
    void (*on_alloc)(void *arg);
    void *on_alloc_arg;
};

static __thread struct native_ctx own;
static __thread struct native_ctx *other; /* NULL: own */

static struct native_ctx *ctx(void)
{
    return other ? other : &own;
}

struct native_ctx *native_ctx_new(void)
{
    return calloc(1, sizeof(struct native_ctx));
}

void native_ctx_free(struct native_ctx **c)
{
    free(*c);
    *c = NULL;
}

struct native_ctx *native_ctx_set(struct native_ctx *c)
{
    struct native_ctx *before = other;
    other = c;
    return before;
}

void native_ctx_on_alloc(struct native_ctx *c, void (*fn)(void *arg), void *arg)
{
    c->on_alloc = fn;
    c->on_alloc_arg = arg;
}

static void on_signal(int sig, siginfo_t *si, void *uc)
{
    struct guard *g = ctx()->top;
    (void)uc;
    if (!g) {
        signal(sig, SIG_DFL); /* the access is repeated and ends the process as it should */
        return;
    }
    g->addr = (uintptr_t)si->si_addr;
    g->sig = sig;
    siglongjmp(g->env, 1);
}

static int catch (int sig)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    return sigaction(sig, &sa, NULL) ? fl_err_from_errno(errno) : FL_OK;
}

int native_guard_init(void)
{
    return catch (SIGBUS);
}

int native_guard_crashes(void)
{
    static const int sigs[] = {SIGSEGV, SIGFPE, SIGILL};
    int rv = FL_OK;
    for (size_t i = 0; !rv && i < sizeof(sigs) / sizeof(sigs[0]); i++)
        rv = catch (sigs[i]);
    return rv;
}

int native_guard(void (*fn)(void *arg), void *arg, uintptr_t *ret_addr)
{
    struct guard g = {.outer = ctx()->top};
    if (sigsetjmp(g.env, 1) == 0) {
        ctx()->top = &g;
        fn(arg);
        ctx()->top = g.outer;
        return FL_OK;
    }
    ctx()->top = g.outer;
    if (ret_addr)
        *ret_addr = g.addr;
    return g.sig == SIGBUS ? FL_EPOISONED : FL_ECORRUPT;
}

/* --- the heap ------------------------------------------------------------------------------- */

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
    ctx()->heap = mi_heap_new_in_arena(id);
    if (!ctx()->heap)
        return fl_fail(err, FL_ENOMEM, "the allocator cannot make a heap in the region");
    ctx()->used_bytes = ctx()->used_max = 0;
    return FL_OK;
}

static void destroy(void *arg)
{
    mi_heap_destroy(arg); /* its bookkeeping lies in the region: this may fail like any access */
}

uint64_t native_heap_leave(bool broken)
{
    mi_heap_t *h = ctx()->heap;
    ctx()->heap = NULL;
    if (h && !broken)
        destroy(h);
    return ctx()->used_max;
}

void *native_realloc(void *ptr, size_t len)
{
    struct native_ctx *c = ctx();
    if (c->heap && c->on_alloc)
        c->on_alloc(c->on_alloc_arg);
    size_t old = ptr ? mi_usable_size(ptr) : 0;
    void *p = c->heap ? mi_heap_realloc(c->heap, ptr, len) : mi_realloc(ptr, len);
    if (p) {
        c->used_bytes += mi_usable_size(p) - old;
        c->used_max = c->used_bytes > c->used_max ? c->used_bytes : c->used_max;
    }
    return p;
}

void native_free(void *ptr)
{
    ctx()->used_bytes -= ptr ? mi_usable_size(ptr) : 0;
    mi_free(ptr);
}

bool native_heap_apart(void)
{
    char *p = calloc(1, 64);
    bool apart = !mi_is_in_heap_region(p);
    free(p);
    return apart;
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
    int rv = native_guard(in_region, &r, &addr);
    if (rv) {
        *ret_heap_bytes = native_heap_leave(true);
        if (rv == FL_ECORRUPT)
            return fl_fail(err, rv, "the program crashed at address 0x%llx",
                           (unsigned long long)addr);
        return fl_fail(err, rv, "an access at offset 0x%llx of the region failed",
                       (unsigned long long)(addr - (uintptr_t)mem->base));
    }
    *ret_heap_bytes = r.heap_bytes;
    return r.rv;
}

bool native_deceived(int rv, const struct native_result *ret)
{
    if (!ret->plain)
        return false;
    return rv ? rv == FL_ECORRUPT || rv == FL_EINVAL : !ret->match;
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
    /* Page-aligned: in which order memcpy goes through its source depends on the low bits of its
     * address, and no two runs are to differ in that. */
    char *buf =
        S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES
            ? aligned_alloc(ALIGN_BYTES, ((size_t)st.st_size / ALIGN_BYTES + 1) * ALIGN_BYTES)
            : NULL;
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
