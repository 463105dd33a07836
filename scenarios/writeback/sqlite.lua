-- SPDX-License-Identifier: Apache-2.0
-- The main job: a real program whose memory lives in a pool of other processes. An in-process
-- SQLite database, its whole heap inside the region, loads the lines of a licence text, changes
-- them in transactions and ends with an integrity check and a checksum over all rows, which must
-- equal the checksum of the same program on plain memory. Device memory is smaller than the heap,
-- so pages travel both ways. Look at how little is sent: only the cache lines that changed.
title "write-back: SQLite with its heap in remote memory"
deadline "60s"

node "c0" { role = "compute", device_memory = "1M", dclb = 65536 }
node "m0" { role = "memory", memory = "32M" }
node "m1" { role = "memory", memory = "32M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "64M", backed_by = { "m0", "m1" }, period = "10ms" }
workload "db" {
    region = "heap", kind = "sqlite", ops = 3000, source = "/usr/share/common-licenses/GPL-3"
}

expect "sqlite.match" : equals (1)
expect "sqlite.rows" : above (2000)
expect "evictions" : above (0)
expect "refetched" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W7", "W8" }
