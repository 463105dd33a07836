/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Everything in coherence/ that depends on the processor: one small file per architecture
 * (arch_x86_64.c, arch_aarch64.c, arch_other.c), each empty on the others.
 */
#ifndef COH_ARCH_H
#define COH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/base/env.h"

/** Name of the file in use ("x86_64"). */
const char *coh_arch_name(void);

/** Whether a fault tells a load from a store here; without it the mprotect tracker refuses. */
bool coh_arch_knows_access(void);

/** What the access that raised SIGSEGV was; @ucontext is the handler's third argument. False: the
 * frame does not say (emulators leave it out). Async-signal-safe. */
bool coh_arch_access(const void *ucontext, enum fl_access *ret);

typedef fl_mask coh_diff_fn(const uint8_t *a, const uint8_t *b);

/** A way to compare two pages line by line; see coh_diff. */
struct coh_diff_impl {
    const char *name;
    coh_diff_fn *fn;
};

/** Vector code this processor can run, best first; returns how many were written. */
size_t coh_arch_diffs(struct coh_diff_impl *ret, size_t max);

/** Writes the cache line at @p back to memory and drops it; a hint, nothing where there is none. */
void coh_arch_flush_line(const void *p);

/** Tells the processor that this is a spin loop. Async-signal-safe. */
void coh_arch_relax(void);

#endif
