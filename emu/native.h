/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Real programs whose heap lies inside a region: SQLite and a Lua interpreter. Each runs twice,
 * first on plain memory, then on a mimalloc heap confined to the region, and both runs have to come
 * to the same checksum. Files are read into plain buffers: the kernel returns EFAULT for protected
 * pages instead of waiting for them.
 */
#ifndef EMU_NATIVE_H
#define EMU_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/base/err.h"
#include "emu/plan.h"

enum { NATIVE_ALIGN = 32 * 1024 * 1024 }; /* of a region's address, and its least size */

struct native_result {
    uint64_t rows;       /* sqlite: rows at the end; lua: rounds */
    uint64_t checksum;   /* over the program's data, in the region */
    uint64_t plain;      /* the same on plain memory */
    uint64_t heap_bytes; /* most bytes allocated in the region at a time */
    bool match;
};

/** What a native program runs on. */
struct native_mem {
    void *base; /* NATIVE_ALIGN-aligned */
    size_t len_bytes;
};

/**
 * Runs the program of workload @w. To be called on a thread that may touch the region
 * (coh_thread_enter) and that ends soon after, or never.
 *
 * What it allocates, and in which order it reads and writes, depends on plan and workload alone,
 * provided that the region lies at the same address; see native_repeatable.
 *
 * Errors: FL_EINVAL (file, alignment, program error), FL_ENOMEM (region full), FL_ECORRUPT (it
 * found its own data damaged, or crashed on them), FL_EPOISONED: an access to the region failed.
 * After the last two the thread must not end, because the allocator would touch the heap, but park
 * until the process exits.
 */
int native_sqlite(const struct plan *p, const struct plan_workload *w, const struct native_mem *mem,
                  struct native_result *ret, struct fl_errmsg *err);
int native_lua(const struct plan *p, const struct plan_workload *w, const struct native_mem *mem,
               struct native_result *ret, struct fl_errmsg *err);

/** True when ret->plain says that the program ran to its end on plain memory, and what it gave in
 * the region (@rv, @ret of native_*) can only mean that the region did not keep its bytes. */
bool native_deceived(int rv, const struct native_result *ret);

/** Whether a program of this kind can be made to do the same in each run here. FL_EUNSUPPORTED:
 * this build of Lua hides the seed of its hashes. */
int native_repeatable(enum plan_work_kind kind, struct fl_errmsg *err);

/** Whether malloc is apart from the programs' allocator, as the order of libraries has it; not when
 * somebody preloads mimalloc. Where one thread is both program and simulator it has to be. */
bool native_heap_apart(void);

/** Runs @fn(@arg); a SIGBUS in it ends it (nothing is unwound) and gives its address in @ret_addr.
 * FL_OK, FL_EPOISONED, or FL_ECORRUPT after another signal (native_guard_crashes). Nests. */
int native_guard(void (*fn)(void *arg), void *arg, uintptr_t *ret_addr);

/** Installs the SIGBUS handler of native_guard; a SIGBUS outside keeps its default action. */
int native_guard_init(void);

/** A program's own crashes (SIGSEGV, SIGFPE, SIGILL) end the guarded function, too. Before a
 * tracker is made: it passes on what is not its own. */
int native_guard_crashes(void);

/**
 * What belongs to a running program beside its stack: its guards and its heap. Each thread has one;
 * where programs are coroutines each has its own, and who switches to it puts it in place.
 */
struct native_ctx;
struct native_ctx *native_ctx_new(void); /* NULL: no memory */
void native_ctx_free(struct native_ctx **c);
/** NULL: the thread's own. Returns the one before. */
struct native_ctx *native_ctx_set(struct native_ctx *c);

/** @fn(@arg) is called before each allocation from the region of this context's program: a point
 * where a coroutine can let others run. */
void native_ctx_on_alloc(struct native_ctx *c, void (*fn)(void *arg), void *arg);

/**
 * Allocator of both programs. The calling thread's heap is the region's after native_heap_enter and
 * plain memory otherwise; it belongs to that thread alone.
 */
int native_heap_enter(const struct native_mem *mem, struct fl_errmsg *err);
/** Back to plain memory; the region's heap is given up as a whole. @broken: the region failed, its
 * heap is not touched any more. Returns the most bytes that were allocated at a time. */
uint64_t native_heap_leave(bool broken);
void *native_realloc(void *ptr, size_t len); /* NULL: malloc */
void native_free(void *ptr);

/** Runs @fn(@arg) inside the region's heap and under the guard. FL_EPOISONED as above, or the error
 * of native_heap_enter; what @fn itself finds goes through @arg. */
int native_in_region(const struct native_mem *mem, void (*fn)(void *arg), void *arg,
                     uint64_t *ret_heap_bytes, struct fl_errmsg *err);

/** Reads a whole file into plain memory; free() it. */
int native_read_file(const char *path, char **ret, size_t *ret_len, struct fl_errmsg *err);

#endif
