-- SPDX-License-Identifier: Apache-2.0
-- A memory node stops for 50 ms and goes on: its connections stay up, it just says nothing. That
-- is shorter than the heartbeat bound, so it must not be declared dead. Misses wait, write-backs
-- wait, and then everything goes on; close succeeds and no write is lost. Look at the slowest
-- misses: the pause is in them.
title "write-back: a memory node stops for a while and goes on"
heartbeat "50ms"
heartbeat_miss "2s"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "1s"
}
workload "mix" { region = "heap", kind = "random", ops = 4000, len = 128, think = "2us" }

at (event ("c0.page_fetched", 100)) : pause ("m0", { for_ = "50ms" })

expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4" }
