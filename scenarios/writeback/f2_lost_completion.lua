-- SPDX-License-Identifier: Apache-2.0
-- W-f2: writes arrive, their acknowledgements do not. Nobody can tell a lost write from a lost
-- answer: at the deadline the device fences the node, so that the old connection is dead, and sends
-- again. The image is the same, close succeeds. Look at fences and op_timeouts. With --plant
-- W-never-retry the run does not come to its end, although the fault is over: exit status 3.
title "W-f2: acknowledgements are lost, writes are sent again after a fence"
heartbeat "50ms"
heartbeat_miss "3s"
deadline "20s"

node "c0" { role = "compute", device_memory = "256K", retries = 20 }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "60ms",
    close_deadline = "1m"
}
workload "mix" { region = "heap", kind = "random", ops = 4000, len = 128, think = "2us" }

at (event ("c0.flush_post", 50)) : lose_completion ("c0", "m0", { class = "bulk", count = 3 })

expect "fences" : above (0)
expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W7", "W8" }
