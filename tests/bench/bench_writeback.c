/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write-back of fully dirty pages over tcp, from the request to close a region to its answer: gate,
 * snapshot with diff, one-sided writes, last acknowledgement, lease. Against raw delivery-complete
 * fi_writemsg of as many bytes to a process of its own, in operations of the size that the port
 * posts and with as many bytes in flight as the device has buffers. Both take turns, round by
 * round; the region is opened and dirtied again for every round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/fig.h"
#include "tests/bench/live.h"
#include "tests/bench/rawfi.h"

enum { ROUNDS = 25, WARM = 2, REGION_BYTES = 8 << 20, BUFFERS = 128 };

static const char scenario[] =
    "title \"write-back\"\n"
    "heartbeat \"60s\"\nheartbeat_miss \"600s\"\n"
    "node \"c0\" { role = \"compute\", device_memory = \"16M\", buffers = %d, merge = %d }\n"
    "node \"m0\" { role = \"memory\", memory = \"16M\" }\n"
    "region \"heap\" { on = \"c0\", size = %d, backed_by = { \"m0\" }, period = \"never\", "
    "sample = \"never\" }\n"
    "workload \"w\" { region = \"heap\", kind = \"random\" }\n"
    "check { \"W1\" }\n";

/** Seconds to close a region all of whose bytes are dirty. */
static double close_s(struct live *l, int round)
{
    uint8_t *mem = live_open(l, 0);

    memset(mem, round + 1, REGION_BYTES);
    return (double)live_close(l, 0) / 1e9;
}

static void check_sizes(struct live *l, uint32_t op_bytes)
{
    double bytes = live_metric(l, "write_bytes"), ops = live_metric(l, "write_ops");

    if (bytes != (double)(ROUNDS + WARM) * REGION_BYTES) {
        fprintf(stderr, "bench_writeback: %.0f bytes were written, not all of them\n", bytes);
        exit(1);
    }
    fprintf(stderr, "bench_writeback: %.0f bytes a write, raw %u\n", bytes / ops, op_bytes);
}

static void measure(const char *id, uint32_t merge_bytes)
{
    char text[1024];
    double value[ROUNDS], base[ROUNDS], ratio[ROUNDS];
    uint8_t addr[RAW_ADDR_BYTES];
    struct raw raw;
    uint32_t len = merge_bytes ? merge_bytes : FL_PAGE_BYTES, ops = REGION_BYTES / len;
    uint32_t depth = BUFFERS * FL_PAGE_BYTES / len;
    pid_t server = raw_server_start(addr, REGION_BYTES, false);

    snprintf(text, sizeof(text), scenario, BUFFERS, (int)merge_bytes, REGION_BYTES);
    struct live *l = live_new(text, COH_WAIT_BLOCK);
    raw_connect(&raw, addr, NULL, REGION_BYTES, false);
    for (int i = 0; i < WARM; i++) {
        (void)close_s(l, ROUNDS + i);
        (void)raw_run(&raw, true, len, depth, ops);
    }
    for (int i = 0; i < ROUNDS; i++) {
        double r = 0, c = 0;
        if (i % 2)
            r = raw_run(&raw, true, len, depth, ops);
        c = close_s(l, i);
        if (i % 2 == 0)
            r = raw_run(&raw, true, len, depth, ops);
        value[i] = REGION_BYTES / c / 1e6;
        base[i] = REGION_BYTES / r / 1e6;
        ratio[i] = value[i] / base[i];
    }
    check_sizes(l, len);
    fig_print(&(struct fig){.id = id,
                            .unit = "MB/s",
                            .value = fig_median(value, ROUNDS),
                            .baseline = fig_median(base, ROUNDS),
                            .ratio = fig_median(ratio, ROUNDS),
                            .target = 0.85,
                            .at_least = true,
                            .n = ROUNDS});
    live_free(l);
    raw_server_end(server);
}

int main(int argc, char **argv)
{
    int child = raw_server_main(argc, argv);

    if (child < 0)
        child = live_memory_main(argc, argv);
    if (child >= 0)
        return child;
    measure("writeback-4k", 0);
    measure("writeback-64k-merged", 64 << 10);
    return 0;
}
