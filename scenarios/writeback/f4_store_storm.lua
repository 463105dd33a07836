-- SPDX-License-Identifier: Apache-2.0
-- W-f4: four threads keep storing to the very pages that are being cleaned, while the link to the
-- memory node takes half a millisecond longer for everything, so that write-backs overlap many
-- stores. Nothing is lost between protection, snapshot and acknowledgement, and close still ends.
-- With --plant W-clear-after-snap W3 sees what is lost.
title "W-f4: a storm of stores during write-backs"
heartbeat "50ms"
heartbeat_miss "3s"

node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "256K" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "128K", backed_by = { "m0" }, period = "1ms", sample = "500us",
    op_deadline = "2s", close_deadline = "10s"
}
workload "storm" { region = "heap", kind = "hammer", threads = 4, ops = 20000, think = "1us" }

at (event ("c0.flush_post", 5)) : delay ("c0", "m0", { by = "500us", for_ = "100ms" })

expect "access_errors" : equals (0)
expect "acks" : above (5)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W7" }
