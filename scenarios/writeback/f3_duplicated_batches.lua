-- SPDX-License-Identifier: Apache-2.0
-- W-f3 on the log path: batches arrive twice, and after the next one. Every entry carries the number
-- of its page's write-back; the memory node ignores what is not newer than what it has. Look at
-- stale_entries. With --plant W-stale-seq it applies old numbers, and W7 sees it.
title "W-f3: log batches arrive twice and out of order"
heartbeat "50ms"
heartbeat_miss "3s"

node "c0" { role = "compute", device_memory = "256K", retries = 20, log_batch = 4 }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "1s", path = "log"
}
workload "mix" { region = "heap", kind = "random", ops = 8000, len = 128, think = "2us" }

at (event ("c0.flush_post", 40)) : duplicate ("c0", "m0", { class = "bulk", every = 2, count = 8 })
at (event ("c0.flush_post", 40)) : reorder ("c0", "m0", { class = "bulk", every = 7, count = 4 })

expect "stale_entries" : above (0)
expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W7", "W8" }
