#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every planted bug of W is caught by `farline swarm` within 200 seeds, by the id that must catch it;
# with that id's oracle blind, the same seeds say the same of every other id.
# shellcheck source=tests/real/lib.sh
. "$(dirname "$0")/lib.sh"

# Both paths, a threshold that is never reached, and a buffer that overflows. W9 compares their images.
cat >mixed.lua <<'LUA'
title "planted bugs: any"
node "c0" { role = "compute", device_memory = "64K", retries = 20 }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "256K", backed_by = { "m0", "m1" }, period = "500us" }
workload "mix" { region = "heap", kind = "random", threads = 3, ops = 900, len = 100 }
variant "direct" { }
variant "log" { ["region.heap.path"] = "log" }
variant "lines" { ["region.heap.threshold"] = 64 }
variant "tight" { ["node.c0.dclb"] = 8 }
same_image ()
check { "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9" }
LUA
# Batches in plenty, to be doubled, reordered and cut off by a crash.
cat >log.lua <<'LUA'
title "planted bugs: the log path"
node "c0" { role = "compute", device_memory = "64K", retries = 20, log_batch = 4 }
node "m0" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "256K", backed_by = { "m0" }, period = "200us", path = "log" }
workload "mix" { region = "heap", kind = "random", threads = 3, ops = 900, len = 100 }
check { "W1", "W2", "W3", "W4", "W5", "W7", "W8" }
LUA
# Large batches: a crash of the memory node cuts some of them in two.
sed 's/log_batch = 4/log_batch = 16/; s/200us/500us/; s/"64K"/"128K"/' log.lua >batch.lua
# Long stores, many lines of a page.
cat >lines.lua <<'LUA'
title "planted bugs: thresholds"
node "c0" { role = "compute", device_memory = "64K" }
node "m0" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "256K", backed_by = { "m0" }, period = "4ms" }
workload "mix" { region = "heap", kind = "random", ops = 300, len = 600, write_percent = 70 }
variant "T1" { ["region.heap.threshold"] = 1 }
variant "T63" { ["region.heap.threshold"] = 63 }
same_image ()
check { "W1", "W3", "W9" }
LUA

# checks of the last swarm but one id, one a line
others()
{
    grep -o '{"checked":[0-9]*,"id":"W[0-9]*","violated":[0-9]*}' "$1" | grep -v "\"id\":\"$2\""
}

# figure ID NAME: "checked" or "violated" in the last swarm
figure()
{
    grep -o "{\"checked\":[0-9]*,\"id\":\"$1\",\"violated\":[0-9]*}" out |
        sed "s/.*\"$2\":\\([0-9]*\\).*/\\1/"
}

# caught SCENARIO PLANT ID
caught()
{
    local seeds rc
    timeout 100 "$farline" swarm "$1" --seeds 1..200 --jobs 1 --plant "$2" \
        --until-violated="$3" --no-keep --json >out 2>&1
    rc=$?
    seeds=$(grep -o '"runs":[0-9]*' out | cut -d : -f 2)
    [ $rc = 1 ] && [ "$(figure "$3" violated)" -gt 0 ]
    check $? "$2 is caught by $3 within ${seeds:-no} seeds"
    mv out first
    timeout 100 "$farline" swarm "$1" --seeds "1..$seeds" --jobs 1 --plant "$2" \
        --plant "blind-$3" --no-keep --json >out 2>&1
    [ "$(figure "$3" violated)" = 0 ] && [ "$(figure "$3" checked)" = 0 ] &&
        [ "$(others out "$3" | sort)" = "$(others first "$3" | sort)" ]
    check $? "$2: without its eyes $3 alone says something else"
}

for s in mixed log batch lines; do
    timeout 100 "$farline" swarm $s.lua --seeds 1..60 --no-keep >out 2>&1
    check $? "$s holds where nothing is planted"
done
while read -r plant id _; do
    case $id in W[0-9]) ;; *) continue ;; esac
    case $plant in
        W-stale-seq) caught log.lua "$plant" "$id" ;;
        W-no-commit-record) caught batch.lua "$plant" "$id" ;;
        W-threshold-lines) caught lines.lua "$plant" "$id" ;;
        W-*) caught mixed.lua "$plant" "$id" ;;
    esac
done < <("$farline" list plants)
[ $n -ge 32 ] # four without, and fourteen planted bugs at least
check $? "the list was not empty"
done_testing
