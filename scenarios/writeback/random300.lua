-- SPDX-License-Identifier: Apache-2.0
-- Isolated writes of 300 bytes at unaligned places, the case that line-grain write-back was made
-- for. A write touches 5.67 lines on average, so about 1.21 bytes are sent for each byte written;
-- page grain would send 14.65. Compare "sent" with "page grain would have sent", and mind that
-- sending more than the touched lines would violate W4.
title "write-back: isolated unaligned 300-byte writes"

node "c0" { role = "compute", device_memory = "8M" }
node "m0" { role = "memory", memory = "32M" }
node "m1" { role = "memory", memory = "32M" }

region "heap" {
    on = "c0", size = "64M", backed_by = { "m0", "m1" }, period = "50ms", sample = "never",
    threshold = 32
}
workload "writes" { region = "heap", kind = "random", ops = 2000, len = 300, write_percent = 100 }

expect "lines_sent" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W3", "W4", "W5" }
