-- SPDX-License-Identifier: Apache-2.0
-- Device memory of 10, 25, 50 and 100 percent of the working set, with accesses that have some
-- locality. With 100 percent each page is fetched once and nothing is evicted before close; below,
-- refetches rise faster than the cache shrinks. Look at the miss column, and at evictions of dirty
-- pages: those make the application wait for a write as well as for a read.
title "write-back: device memory of 10, 25, 50, 100 percent of the working set"

local working_set_kb = 2048

node "c0" { role = "compute", device_memory = "2M" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }

region "heap" { on = "c0", size = "2M", backed_by = { "m0", "m1" }, period = "5ms", sample = "1ms" }
workload "skewed" {
    region = "heap", kind = "zipf", theta = 0.8, threads = 2, ops = 3000, len = 256,
    write_percent = 40
}

for _, percent in ipairs { 10, 25, 50, 100 } do
    local kb = working_set_kb * percent // 100 // 4 * 4 -- whole pages
    variant ("C" .. percent) { ["node.c0.device_memory"] = kb .. "K" }
end

expect "cached_max" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W8" }
