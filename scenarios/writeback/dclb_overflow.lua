-- SPDX-License-Identifier: Apache-2.0
-- The dirty cache-line buffer has 32 entries, the workload dirties far more lines between two
-- write-backs. An entry that does not fit must not be dropped: its page is marked dirty as a whole
-- instead (W-f6). Overflow costs bytes, never data. Look at overflows, at pages marked whole, and
-- at how W5 accounts for the whole pages.
title "write-back: the dirty cache-line buffer overflows"

node "c0" { role = "compute", device_memory = "512K", dclb = 32 }
node "m0" { role = "memory", memory = "512K" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "512K", backed_by = { "m0" }, period = "20ms", sample = "500us",
    threshold = 64
}
workload "scattered" {
    region = "heap", kind = "random", ops = 20000, len = 64, write_percent = 80, think = "2us"
}

expect "dclb_overflows" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W3", "W4", "W5" }
