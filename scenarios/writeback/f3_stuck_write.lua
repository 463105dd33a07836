-- SPDX-License-Identifier: Apache-2.0
-- W-f3 on the direct path: writes are stuck in a connection and would land long after they were
-- given up. One-sided writes carry no number that the target could check; only the fence stands
-- between the past and the present: it kills the old connection before anything is sent again. Look
-- at fences and op_timeouts. With --plant W-skip-fence the old bytes land over newer ones: W7.
title "W-f3: writes are stuck in an old connection"
heartbeat "50ms"
heartbeat_miss "3s"

node "c0" { role = "compute", device_memory = "256K", retries = 20 }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "60ms"
}
workload "mix" { region = "heap", kind = "random", ops = 4000, len = 128, think = "2us" }

at (event ("c0.flush_post", 50)) : stick ("c0", "m0", { by = "200ms", count = 3 })

expect "fences" : above (0)
expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W7", "W8" }
