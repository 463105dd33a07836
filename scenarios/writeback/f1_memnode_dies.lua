-- SPDX-License-Identifier: Apache-2.0
-- W-f1: a memory node dies in the middle of a log batch, between two of its pages, and comes back
-- with its image. The device learns of it by the connection. What was not acknowledged is lost to
-- this opening: accesses that need the node fail with a cause, close fails in bounded time. The
-- image that came back holds every acknowledged line, and the batch as a whole: its commit record
-- was there before its first line (W3 compares after the crash). Look at batches_completed.
title "W-f1: a memory node dies between two pages of a batch and comes back"
heartbeat "50ms"
heartbeat_miss "1s"

node "c0" { role = "compute", device_memory = "1M", retries = 2 }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "2M", backed_by = { "m0", "m1" }, period = "2ms", sample = "1ms",
    op_deadline = "500ms", close_deadline = "3s", path = "log"
}
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 20000, len = 128, think = "2us" }

at (event ("m0.log_apply", 100)) : kill ("m0")
at (event ("c0.peer_lost", 1)) : restart ("m0", { after = "10ms", image = "kept" })

expect "close.heap" : is ("FL_EPEERDEAD")
expect "access_errors" : above (0)
expect "lost_lines" : above (0)
expect "m0.batches_completed" : equals (1)
check { "W2", "W3", "W4", "W7", "W8" }
