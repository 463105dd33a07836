-- SPDX-License-Identifier: Apache-2.0
-- Which page leaves a full device? Least recently used needs to see every access, which page
-- protection does not show: a page that is present is read without anybody noticing. Clock asks
-- for less. Compare misses of the two policies on skewed accesses.
title "write-back: eviction by LRU and by clock on skewed accesses"

node "c0" { role = "compute", device_memory = "512K" }
node "m0" { role = "memory", memory = "2M" }

region "heap" { on = "c0", size = "2M", backed_by = { "m0" }, period = "10ms" }
workload "skewed" {
    region = "heap", kind = "zipf", theta = 0.95, ops = 4000, len = 128, write_percent = 30
}

variant "lru" { ["node.c0.evict"] = "lru" }
variant "clock" { ["node.c0.evict"] = "clock" }
same_image ()

expect "evictions" : above (0)
expect "close.heap" : is ("FL_OK")
check { "W1", "W2", "W3", "W8", "W9" }
