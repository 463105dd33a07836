-- SPDX-License-Identifier: Apache-2.0
-- The smallest whole run: one compute node, two memory nodes, random 200-byte accesses to a heap
-- four times the size of device memory. Look at how many bytes were sent against how many whole
-- pages would have been, and at what each invariant compared: a check that compared nothing would
-- make the run undecided.
title "write-back: random accesses, two memory nodes"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "1M", backed_by = { "m0", "m1" }, period = "5ms", sample = "1ms" }
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 4000, len = 200 }

expect "evictions" : above (0)
expect "refetched" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W7", "W8" }
