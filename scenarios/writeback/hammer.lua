-- SPDX-License-Identifier: Apache-2.0
-- Threads store 8-byte words that lie next to each other, so that every cache line is written by
-- all of them, while a short period keeps cleaning the same pages under their hands. A store that
-- lands between write-protecting a page and clearing its dirty bits is lost if the order of a clean
-- is wrong (protect, snapshot, clear, send, retire). Nothing here may be lost: W3 counts each byte.
title "write-back: four threads hammer the same lines while they are cleaned"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "128K" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "128K", backed_by = { "m0" }, period = "1ms", sample = "never" }
workload "hammer" {
    region = "heap", kind = "hammer", threads = 4, ops = 200000, len = 8, write_percent = 100,
    think = "50ns"
}

expect "periods" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W7" }
