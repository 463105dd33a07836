-- SPDX-License-Identifier: Apache-2.0
-- A memory node's container is taken off the network while lines are on their way. No connection
-- says so: only silence past the heartbeat bound does. Then it is as if the node had died.
title "a memory node loses its network"
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

at (event ("c0.flush_ack", 40)) : cut ("c0", "m0")

expect "close.heap" : is ("FL_EPEERDEAD")
expect "access_errors" : above (0)
check { "W2", "W3", "W4", "W8" }
