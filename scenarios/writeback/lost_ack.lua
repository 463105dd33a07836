-- SPDX-License-Identifier: Apache-2.0
-- A memory node stops for 150 ms: longer than the deadline of an operation, shorter than the
-- heartbeat bound. Operations on it time out, and nobody knows whether their bytes will still land.
-- So the device fences the node (old connections and keys die) before it sends anything again, tries
-- until the node answers, and close succeeds with no write lost. Look at fences, at op_timeouts, and
-- at W7: no write-back was posted between an error and the fence.
title "write-back: acknowledgements stay away past the deadline, writes are sent again"
heartbeat "50ms"
heartbeat_miss "3s"

node "c0" { role = "compute", device_memory = "256K", retries = 100 }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "50ms"
}
workload "mix" { region = "heap", kind = "random", ops = 4000, len = 128, think = "2us" }

at (event ("c0.flush_post", 50)) : pause ("m0", { for_ = "150ms" })

expect "fences" : above (0)
expect "op_timeouts" : above (0)
expect "access_errors" : equals (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W7", "W8" }
