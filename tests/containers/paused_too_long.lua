-- SPDX-License-Identifier: Apache-2.0
-- A memory node's container is paused and does not come back within the heartbeat bound: it is
-- declared dead, although its connections are up and its kernel answers.
title "a memory node is paused for too long"
heartbeat "50ms"
heartbeat_miss "1s"

node "c0" { role = "compute", device_memory = "256K", retries = 1 }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }

region "heap" {
    on = "c0", size = "2M", backed_by = { "m0", "m1" }, period = "3ms", op_deadline = "500ms",
    close_deadline = "4s"
}
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 20000, len = 128 }

at (event ("c0.flush_ack", 40)) : pause ("m0")

expect "close.heap" : is ("FL_EPEERDEAD")
expect "access_errors" : above (0)
check { "W2", "W3", "W4", "W8" }
