-- SPDX-License-Identifier: Apache-2.0
-- A Lua interpreter whose state lies in the region: every table, string and closure of the program
-- in scenarios/workloads/tables.lua is remote memory. A garbage collector walks the whole heap
-- again and again, which is hard on a small cache. Look at fetched pages against dirtied lines:
-- marking objects dirties one line of many pages, where page-grain write-back would send them all.
title "write-back: a Lua program with its heap in remote memory"
deadline "60s"

node "c0" { role = "compute", device_memory = "1M" }
node "m0" { role = "memory", memory = "16M" }
node "m1" { role = "memory", memory = "16M" }

region "heap" { on = "c0", size = "32M", backed_by = { "m0", "m1" }, period = "10ms" }
workload "program" { region = "heap", kind = "lua", ops = 40, source = "tables.lua" }

expect "lua.match" : equals (1)
expect "lines_sent" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W4", "W5", "W8" }
