-- SPDX-License-Identifier: Apache-2.0
-- W-f7: the compute node is killed. What it costs is bounded by what was dirty since the last
-- acknowledgement: at most what device memory holds. What was acknowledged, what was under way and
-- what the application stored is known beyond the crash (memory that outlives the process), so the
-- loss is counted in lines, and W3 demands that each line is as acknowledged last or as sent since.
title "W-f7: the compute node crashes with dirty lines"
heartbeat "50ms"
heartbeat_miss "1s"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }
link ("c0", "m1") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "2M", backed_by = { "m0", "m1" }, period = "5ms", op_deadline = "500ms"
}
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 50000, len = 128, think = "2us" }

at (event ("c0.flush_post", 300)) : kill ("c0")

expect "lost_lines" : above (0)
expect "lost_lines" : at_most (4096) -- 256 KiB of device memory
check { "W3" }
