/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/ids.h"

/* Mechanism W. The oracles are in emu/oracle.c, the planted bugs in emu/base/plants.h. */
const struct fl_id_info fl_ids_writeback[] = {
    {.id = "W1",
     .mech = "W",
     .title = "close means everything is there",
     .text = "Closing a region succeeds only when the dirty cache-line buffer is empty, no write "
             "is in flight, and the memory node holds exactly what the application last saw.",
     .why = "After close nobody keeps a second copy: what has not arrived by then is gone, and "
            "the application was told that all is well.",
     .violation = "close returns success while one write waits for its acknowledgement; reading "
                  "the pool afterwards gives a page as it was before the last store.",
     .oracle = "At a successful close: writes still in flight (must be none), pages still cached "
               "(none), each touched page's acknowledged bytes against the application's view; "
               "after the run every touched page against the memory node's own bytes.",
     .scenario = "scenarios/writeback/basic.lua",
     .plant = "W-close-before-last-ack",
     .kind = FL_ID_INVARIANT},
    {.id = "W2",
     .mech = "W",
     .title = "no page is dropped with an unacknowledged dirty line",
     .text = "A page leaves device memory only when every line it changed was acknowledged by the "
             "memory node, and only when no thread can still reach it.",
     .why = "Eviction is the moment at which the local copy, often the only good one, is "
            "destroyed.",
     .violation = "A page is evicted while its flush is in flight, the flush fails, and the next "
                  "miss fetches the old page: a store has disappeared.",
     .oracle = "At each drop: protection of the page (must be none), and its live bytes against "
               "the bytes acknowledged so far, all 4096.",
     .scenario = "scenarios/writeback/capacity.lua",
     .plant = "W-drop-unacked",
     .kind = FL_ID_INVARIANT},
    {.id = "W3",
     .mech = "W",
     .title = "no lost write",
     .text = "When everything has come to rest, the bytes at the memory node are the last bytes "
             "written.",
     .why = "This is what the whole mechanism is for. Most mistakes in the order of a clean "
            "(protect, snapshot, clear, send, retire) end here.",
     .violation = "A store lands between the snapshot and the clearing of its dirty bit: the bit "
                  "is gone, the line is never sent again, and the pool keeps the older value.",
     .oracle = "Loads against a shadow that the workload writes before each store; pages that "
               "come back against what was acknowledged; at the end the memory node's own bytes "
               "against the shadow or, for real programs, against the last view of each page.",
     .scenario = "scenarios/writeback/hammer.lua",
     .plant = "W-clear-after-snap",
     .kind = FL_ID_INVARIANT},
    {.id = "W4",
     .mech = "W",
     .title = "clean lines are never sent",
     .text = "Outside pages marked dirty as a whole, only lines that changed travel, and no byte "
             "beside them changes at the memory node.",
     .why = "Line grain is the gain over paging; and a clean line that is sent can overwrite what "
            "another path put there.",
     .violation = "A run of dirty lines is rounded up by one line: correct bytes today, a lost "
                  "update tomorrow, and more traffic always.",
     .oracle = "Each line posted against what the memory node already holds (equal means clean), "
               "and each span handed to the fabric against the mask of dirty lines.",
     .scenario = "scenarios/writeback/random300.lua",
     .plant = "W-send-clean",
     .kind = FL_ID_INVARIANT},
    {.id = "W5",
     .mech = "W",
     .title = "bytes sent are accounted for",
     .text = "Payload bytes sent are 64 for every dirty line plus 4096 for every page marked "
             "dirty as a whole; headers are counted apart.",
     .why = "Write amplification is the figure people compare; a count that the device makes of "
            "itself proves nothing.",
     .violation = "The device reports 64 bytes less per flush than crossed the wire.",
     .oracle = "Three ledgers that share no code: masks posted, bytes counted in the transport at "
               "post, bytes counted at the memory node; the device's own count is only compared.",
     .scenario = "scenarios/writeback/dclb_overflow.lua",
     .plant = "W-miscount",
     .kind = FL_ID_INVARIANT},
    {.id = "W6",
     .mech = "W",
     .title = "staleness is bounded",
     .text = "The memory node is never older than one period plus the time a flush takes.",
     .why = "The bound says how much a crash of the compute node can cost.",
     .violation = "Every other period is skipped: all bytes arrive in the end, but the loss at a "
                  "crash doubles.",
     .oracle = "For each flush: from the first store that waited for it to the tick that took it "
               "along, against the period plus the longest flush; a flush between ticks against "
               "twice the period. A timer that the host fired late is allowed for.",
     .scenario = "scenarios/writeback/period.lua",
     .plant = "W-skip-period",
     .kind = FL_ID_INVARIANT},
    {.id = "W7",
     .mech = "W",
     .title = "writes to a line apply in order, and twice is as good as once",
     .text = "Write-backs of one line take effect in the order of their sequence numbers; a "
             "repeated one changes nothing.",
     .why = "Retries and old connections deliver the past after the present.",
     .violation = "A write gets stuck in a broken connection, is sent again over a new one, the "
                  "line is written anew, and then the stuck bytes land on top.",
     .oracle = "Sequence numbers at post, at each unpacking of a log entry and at each landing "
               "(simulator): never backwards; and no write to a node between an error and the "
               "fence that must follow it.",
     .scenario = "scenarios/writeback/paths.lua",
     .plant = "W-stale-seq",
     .kind = FL_ID_INVARIANT},
    {.id = "W8",
     .mech = "W",
     .title = "cached pages never exceed device memory",
     .text = "The number of pages held at the compute node is at most what device memory holds.",
     .why = "An emulator that may cheat on capacity never exercises eviction, and its figures "
            "mean nothing.",
     .violation = "A fetch starts before the victim's page is free.",
     .oracle = "After each install: pages cached against the capacity in the plan.",
     .scenario = "scenarios/writeback/capacity.lua",
     .plant = "W-over-capacity",
     .kind = FL_ID_INVARIANT},
    {.id = "W9",
     .mech = "W",
     .title = "the threshold does not change the result",
     .text = "T = 0, 1, 63 and 64 leave the same remote image: T only trades bookkeeping for "
             "bytes.",
     .why = "Marking a page dirty as a whole is an optimisation; if it shows in the image it is a "
            "bug.",
     .violation = "Past T only the first T lines are sent: small tests pass, the image differs "
                  "for T = 1.",
     .oracle = "The digest of all chunks of all memory nodes, over runs that differ in T alone.",
     .scenario = "scenarios/writeback/threshold.lua",
     .plant = "W-threshold-lines",
     .kind = FL_ID_INVARIANT},
    {.id = "W-f1",
     .mech = "W",
     .title = "memory node dies in the middle of a batch",
     .text = "The memory node is killed while write-backs are in flight. Lines without "
             "acknowledgement stay dirty, an access that needs the node gets SIGBUS with the "
             "cause, close fails in bounded time and says how many lines are lost.",
     .why = "A node's death must be an error that the application can handle, never a hang, and "
            "never zeros.",
     .violation = "close waits for ever, or reports success; a load returns zeros.",
     .oracle = "W1 and W2 for what was acknowledged, the outcome of close, and the run's deadline.",
     .scenario = "scenarios/writeback/f1_memnode_dies.lua",
     .kind = FL_ID_FAULT},
    {.id = "W-f2",
     .mech = "W",
     .title = "acknowledgement lost",
     .text = "A write arrived but its acknowledgement did not. The device fences the node and "
             "sends again; the image is the same.",
     .why = "The sender cannot tell a lost write from a lost answer, so repeating must be "
            "harmless.",
     .violation = "Lines are written twice with something newer between, or never retired.",
     .oracle = "W3 and W7.",
     .scenario = "scenarios/writeback/f2_lost_completion.lua",
     .plant = "W-skip-fence",
     .kind = FL_ID_FAULT},
    {.id = "W-f3",
     .mech = "W",
     .title = "batches reordered or duplicated, or a write stuck in an old connection",
     .text = "An old sequence number never overwrites a newer one: the log's unpacker ignores it, "
             "and direct writes are fenced before they are repeated.",
     .why = "One-sided writes carry no sequence number that the target could check: only the "
            "fence stands between the past and the present.",
     .violation = "Bytes of an earlier flush appear after a later one.",
     .oracle = "W7 at each landing and unpacking, W3 at the end.",
     .scenario = "scenarios/writeback/f3_stuck_write.lua",
     .plant = "W-skip-fence",
     .kind = FL_ID_FAULT},
    {.id = "W-f4",
     .mech = "W",
     .title = "store storm during a flush",
     .text = "Threads keep storing to the very pages that are being cleaned. Nothing is lost and "
             "close still ends.",
     .why = "The page gate and the order of a clean exist for this moment.",
     .violation = "A store falls between two steps and is lost (W3), or close chases dirty pages "
                  "for ever.",
     .oracle = "W3 over the hammer workload, and the deadline of close.",
     .scenario = "scenarios/writeback/f4_store_storm.lua",
     .plant = "W-clear-after-snap",
     .kind = FL_ID_FAULT},
    {.id = "W-f5",
     .mech = "W",
     .title = "device memory is full of dirty pages",
     .text = "Every cached page is dirty when a miss needs room: the device evicts synchronously "
             "and the application waits.",
     .why = "Backpressure is the only right answer; dropping a page or growing is not.",
     .violation = "Capacity is exceeded for a moment (W8) or a dirty page is dropped (W2).",
     .oracle = "W2 and W8, with backpressure_waits above zero.",
     .scenario = "scenarios/writeback/f5_all_dirty.lua",
     .plant = "W-drop-unacked",
     .kind = FL_ID_FAULT},
    {.id = "W-f6",
     .mech = "W",
     .title = "dirty cache-line buffer overflows",
     .text = "More lines are dirty than the buffer has entries: a page is marked dirty as a whole "
             "instead.",
     .why = "Overflow may cost bytes, never data.",
     .violation = "The entry that did not fit is lost, and so is its line.",
     .oracle = "W3, with dclb_overflows above zero.",
     .scenario = "scenarios/writeback/dclb_overflow.lua",
     .plant = "W-dclb-drop",
     .kind = FL_ID_FAULT},
    {.id = "W-f7",
     .mech = "W",
     .title = "compute node crashes",
     .text = "The compute node is killed. What is lost is at most what was dirty since the last "
             "acknowledgement; when the node is started again, it opens with a higher lease epoch "
             "and finds what was acknowledged.",
     .why = "The loss must have a bound that can be told in advance, and be reported.",
     .violation = "Acknowledged lines are missing, or lines of a half-applied batch are mixed "
                  "with old ones.",
     .oracle = "The memory node's bytes against what was acknowledged before the kill.",
     .scenario = "scenarios/writeback/f7_compute_crash.lua",
     .kind = FL_ID_FAULT},
    {.id = "W-f8",
     .mech = "W",
     .title = "slow network",
     .text = "Operations take longer than their deadline: each ends with a typed error, is fenced "
             "and retried, and close reports what could not be written.",
     .why = "A stalled link shows no error by itself; without deadlines everything above it hangs.",
     .violation = "A blocked access that never returns.",
     .oracle = "The run's deadline and the error that close or the access reports; W7 for the "
               "retries.",
     .scenario = "scenarios/writeback/f8_slow_network.lua",
     .kind = FL_ID_FAULT},
    {.id = NULL},
};
