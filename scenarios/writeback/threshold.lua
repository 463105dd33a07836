-- SPDX-License-Identifier: Apache-2.0
-- The threshold T trades bookkeeping for bytes: with more than T dirty lines a page counts as dirty
-- as a whole, its entries leave the dirty cache-line buffer and 4096 bytes are sent. T = 0 is
-- page-grain write-back, T = 64 never gives a page up. Whatever T is, the memory node must end with
-- the same bytes (W9). Look at pages marked whole and at bytes sent.
title "write-back: threshold T = 0, 1, 63, 64 leave the same image"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "1M", backed_by = { "m0" }, period = "4ms", sample = "500us" }
workload "mix" {
    region = "heap", kind = "random", ops = 1500, len = 600, write_percent = 70, think = "1us"
}

for _, T in ipairs { 0, 1, 63, 64 } do
    variant ("T" .. T) { ["region.heap.threshold"] = T }
end
same_image ()

expect "close.heap" : is ("FL_OK")
check { "W1", "W3", "W4", "W5", "W9" }
