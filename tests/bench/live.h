/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Two real nodes for the benchmarks: compute node 0 with its device on a thread of this process,
 * memory node 1 in a process of its own, as in a run but without coordinator and oracles. The loop
 * is the one of world_real.c. Every failure ends the program with the cause on stderr.
 */
#ifndef TESTS_BENCH_LIVE_H
#define TESTS_BENCH_LIVE_H

#include <stdatomic.h>
#include <stdint.h>

#include "coherence/tracker.h"
#include "emu/node.h"

struct live;

/** Call first in main: the exit status when this process was started as memory node, else -1. */
int live_memory_main(int argc, char **argv);

/** Builds both nodes of the scenario text, connects them and starts the device thread. @wait: enum
 * coh_wait, of this process; the memory node sleeps. The caller becomes the application thread. One
 * at a time. */
struct live *live_new(const char *scenario, int wait);

/** Opens a region and returns its address. */
uint8_t *live_open(struct live *l, uint16_t region);

/** Closes a region; nanoseconds from the request to its answer, seen by the device thread. */
uint64_t live_close(struct live *l, uint16_t region);

/** Stops the device thread, so that it takes no processor from others, and lets it go on. */
void live_pause(struct live *l);
void live_resume(struct live *l);

/** A figure of the compute node, by its name in the metrics. The device must be at rest. */
double live_metric(struct live *l, const char *name);

void live_free(struct live *l);

#endif
