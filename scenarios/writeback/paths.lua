-- SPDX-License-Identifier: Apache-2.0
-- Two ways to write back the same lines. Direct: one one-sided write for each run of dirty lines,
-- the memory node's processor does nothing. Log: dirty lines of many pages are gathered into one
-- message with a commit record, which the memory node unpacks. The paths share no code below the
-- mask, so equal images (W9) are a strong check. Compare batches, headers and latency.
title "write-back: direct against log, the same image"

node "c0" { role = "compute", device_memory = "256K", log_batch = 16 }
node "m0" { role = "memory", memory = "512K" }
node "m1" { role = "memory", memory = "512K" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "1M", backed_by = { "m0", "m1" }, period = "4ms", sample = "1ms" }
workload "scattered" { region = "heap", kind = "random", threads = 2, ops = 3000, len = 96 }

variant "direct" { ["region.heap.path"] = "direct" }
variant "log" { ["region.heap.path"] = "log" }
same_image ()

expect "lines_sent" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W7", "W9" }
