-- SPDX-License-Identifier: Apache-2.0
-- W-f1: a memory node dies with dirty lines on their way to it. The device learns of it by the
-- connection, not by a time-out. Lines that were not acknowledged stay dirty, accesses to pages of
-- the dead node fail with SIGBUS and a cause, close fails in bounded time with a typed error, and
-- the half of the region on the other node stays right. Nothing hangs and nothing reads as zeros.
title "W-f1: a memory node is killed while dirty lines are on their way"
heartbeat "20ms"
heartbeat_miss "200ms"

node "c0" { role = "compute", device_memory = "256K", retries = 2 }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "2M", backed_by = { "m0", "m1" }, period = "3ms", sample = "1ms",
    op_deadline = "300ms", close_deadline = "2s"
}
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 20000, len = 128, think = "2us" }

at (event ("c0.flush_ack", 40)) : kill ("m0")

expect "close.heap" : is ("FL_EPEERDEAD")
expect "access_errors" : above (0)
check { "W2", "W3", "W4", "W8" }
