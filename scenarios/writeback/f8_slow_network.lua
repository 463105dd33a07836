-- SPDX-License-Identifier: Apache-2.0
-- W-f8: the link becomes so slow that operations pass their deadline, for good. A stalled link shows
-- no error by itself: every operation has a deadline, is fenced and tried again, and when that does
-- not help the node counts as lost. Accesses get a typed error, close says what could not be
-- written; nothing hangs. Look at op_timeouts and at how long close took.
title "W-f8: a network slower than every deadline"
heartbeat "200ms"
heartbeat_miss "10s"

node "c0" { role = "compute", device_memory = "256K", retries = 2 }
node "m0" { role = "memory", memory = "1M" }
link ("c0", "m0") { delay = "5us", rate = "10G" }

region "heap" {
    on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", op_deadline = "100ms",
    close_deadline = "5s"
}
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 20000, len = 128, think = "2us" }

at (event ("c0.flush_post", 50)) : delay ("c0", "m0", { by = "3s", one_way = true })

expect "error.mix" : is ("FL_EPEERDEAD")
expect "close.heap" : is ("FL_EPEERDEAD")
expect "op_timeouts" : above (0)
expect "lost_lines" : above (0)
check { "W2", "W3", "W7", "W8" }
