-- SPDX-License-Identifier: Apache-2.0
-- One compute node with two regions on two memory hosts, which share its device memory. They have
-- periods, paths and thresholds of their own. Look at who pays for whom: the scan fills the cache
-- and evicts the pages of the other region.
title "write-back: two regions on two memory nodes share one device"

node "c0" { role = "compute", device_memory = "512K" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }

region "index" { on = "c0", size = "1M", backed_by = { "m0" }, period = "2ms", sample = "500us" }
region "log" { on = "c0", size = "1M", backed_by = { "m1" }, period = "10ms", path = "log" }

workload "lookups" { region = "index", kind = "zipf", theta = 0.9, ops = 4000, write_percent = 20 }
workload "appends" { region = "log", kind = "sequential", ops = 4000, len = 256, write_percent = 100 }

expect "evictions" : above (0)
expect "close.index" : is ("FL_OK")
expect "close.log" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W7", "W8" }
