-- SPDX-License-Identifier: Apache-2.0
-- How often to write back? The same accesses with three periods. A short period bounds staleness
-- (W6: a store waits at most one period for the write-back that takes it along) and costs traffic,
-- because a line that is stored to again is sent again. Compare lines sent and write-backs between
-- the variants. There are enough accesses for a fast machine to meet the longest period too.
title "write-back: sweep of the period"

node "c0" { role = "compute", device_memory = "1M" }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" { on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", sample = "1ms" }
workload "hot" {
    region = "heap", kind = "zipf", theta = 0.9, ops = 240000, len = 48, write_percent = 60,
    think = "1us"
}

for _, ms in ipairs { 5, 15, 40 } do
    variant ("P" .. ms .. "ms") { ["region.heap.period"] = ms .. "ms" }
end

expect "periods" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W3", "W4", "W5", "W6" }
