-- SPDX-License-Identifier: Apache-2.0
-- W-f5: every page in device memory is dirty when a miss needs room, and completions of writes come
-- late. The device evicts synchronously and the application waits; nothing is dropped without its
-- acknowledgement and nothing grows beyond device memory. Look at evictions_dirty.
title "W-f5: device memory is full of dirty pages"
heartbeat "50ms"
heartbeat_miss "3s"

node "c0" { role = "compute", device_memory = "64K" }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "never", op_deadline = "2s"
}
workload "stores" {
    region = "heap", kind = "random", threads = 2, ops = 3000, len = 64, write_percent = 100
}

at (event ("c0.evict", 20)) : delay_completion ("c0", "m0", { by = "1ms", class = "bulk", count = 50 })

expect "evictions_dirty" : above (100)
expect "cached_max" : at_most (16)
expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W8" }
