#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The commands as other programs call them: exit statuses, files, JSON, in the simulator.
# shellcheck source=tests/real/lib.sh
. "$(dirname "$0")/lib.sh"

cat >small.lua <<'LUA'
title "small"
node "c0" { role = "compute", device_memory = "64K" }
node "m0" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "1M", backed_by = { "m0" }, period = "1ms" }
workload "w" { region = "heap", kind = "random", ops = 400, len = 100 }
expect "evictions" : above (0)
check { "W1", "W3", "W5" }
LUA
{
    cat small.lua
    echo 'variant "A" { ["region.heap.threshold"] = 0 } variant "B" { ["region.heap.path"] = "log" }'
    echo 'same_image () check { "W9" }'
} >pair.lua
{
    cat small.lua
    echo 'at (event ("c0.flush_ack", 100000000)) : kill ("m0")'
} >never.lua
sed 's/above (0)/above (1e12)/' small.lua >greedy.lua

# --- verdicts and exit statuses ------------------------------------------------------------------
gives 0 'verdict   HELD' "all held" "$farline" run small.lua --fabric sim --seed 3
for f in verdict.json run.json metrics.json history.ndjson trace.json junit.xml; do
    [ -s "runs/small/3/$f" ]
    check $? "default directory holds $f"
done
has '"exit": 0' runs/small/3/verdict.json "verdict.json holds the exit status"
has '"seed": 3' runs/small/3/run.json "run.json holds the seed"
grep -o '"trace_hash": "[0-9a-f]*"' runs/small/3/verdict.json >hash1
gives 0 'HELD' "once more" "$farline" run small.lua --fabric sim --seed 3
grep -o '"trace_hash": "[0-9a-f]*"' runs/small/3/verdict.json >hash2
[ -s hash1 ] && cmp -s hash1 hash2
check $? "the same seed gives the same trace hash"
gives 1 'W5 violated' "a planted bug is caught" \
    "$farline" run small.lua --fabric sim --plant W-miscount --out p
has '"exit": 1' p/verdict.json "a planted bug is in verdict.json"
gives 2 'W5 was asked for, but nothing was compared' "a blind oracle is undecided" \
    "$farline" run small.lua --fabric sim --plant blind-W5 --out b
gives 1 'NOT MET.*evictions > 1e' "an expectation that is not met" \
    "$farline" run greedy.lua --fabric sim --out g
gives 2 'never fired' "a fault that never fires" "$farline" run never.lua --fabric sim --out n
cat >two.lua <<LUA
title "two programs, of which a simulated run takes one"
node "c0" { role = "compute", device_memory = "1M" }
node "m0" { role = "memory", memory = "64M" }
region "a" { on = "c0", size = "32M", backed_by = { "m0" } }
region "b" { on = "c0", size = "32M", backed_by = { "m0" } }
workload "p" { region = "a", kind = "lua", ops = 2, source = "$top/scenarios/workloads/tables.lua" }
workload "q" { region = "b", kind = "lua", ops = 2, source = "$top/scenarios/workloads/tables.lua" }
check { "W1" }
LUA
gives 77 '1 of 1 scenarios skipped' "what this world cannot run" \
    "$farline" run two.lua --fabric sim --out s
gives 1 'verdict' "the worst of several counts" \
    "$farline" run small.lua greedy.lua never.lua --fabric sim --out many
[ -s many/small/verdict.json ] && [ -s many/greedy/verdict.json ] && [ -s many/never/verdict.json ]
check $? "several scenarios have a directory each"

# --- variants -------------------------------------------------------------------------------------
gives 0 'all 2 variants held' "variants" "$farline" run pair.lua --fabric sim --out pair
[ -s pair/A/history.ndjson ] && [ -s pair/B/verdict.json ] && [ -s pair/verdict.json ]
check $? "variants have directories below the scenario's"
grep -A5 '"checked": 1048576' pair/verdict.json | grep -q '"id": "W9"'
check $? "W9 says how many bytes it compared"
gives 2 'W9 was asked for' "a blind W9 is undecided" \
    "$farline" run pair.lua --fabric sim --plant blind-W9 --out pairb

# --- forms of output --------------------------------------------------------------------------------
gives 0 '^{.*"verdict":"held".*}$' "JSON for programs" "$farline" run small.lua --fabric sim --out j --json
[ "$(wc -l <out)" = 1 ]
check $? "JSON for programs is one line a run"
gives 0 '^ok 4 - small seed 1 verdict' "TAP" "$farline" run small.lua --fabric sim --out t --tap
has '^1\.\.4$' out "TAP has a plan"
gives 0 'HELD' "extra files" \
    "$farline" run small.lua --fabric sim --out e --junit all.xml --trace all.json
has 'classname="W3"' all.xml "JUnit: the class is the id"
has '"traceEvents"' all.json "Chrome trace events"

# --- looking around ------------------------------------------------------------------------------
gives 0 '"threshold_lines": 5' "plan" "$farline" plan small.lua --set region.heap.threshold=5
[ ! -e runs/small/1 ]
check $? "plan runs nothing"
gives 0 'writeback/basic.lua' "list scenarios" env FARLINE_SCENARIOS="$top/scenarios" "$farline" list scenarios
! grep -q 'does not load' out
check $? "every scenario loads"
gives 0 '^mprotect' "list trackers" "$farline" list trackers
gives 0 '^verbs' "list fabrics" "$farline" list fabrics
gives 0 '^blind-W9' "list plants" "$farline" list plants
gives 0 '^flush_ack' "list sites" "$farline" list sites
gives 0 '^stick .*fence' "list faults" "$farline" list faults
gives 0 '^region *threshold *16' "list settings" "$farline" list settings
gives 0 'no lost write' "explain an invariant" "$farline" explain W3
gives 0 'fault' "explain a fault" "$farline" explain M-f2
gives 0 'planted bug' "explain a plant" "$farline" explain W-miscount
gives 0 'site' "explain a site" "$farline" explain flush_ack
gives 0 'usage: farline' "help" "$farline" --help
gives 0 'fabric tcp' "help of run" "$farline" run --help
gives 0 '^farline [0-9]' "version" "$farline" --version
gives 0 'verdict   HELD' "explore" "$farline" explore writeback --quick
gives 1 'verdict   VIOLATED: W7' "explore with a planted bug" \
    "$farline" explore writeback --plant W-stale-seq
gives 64 'no such mechanism' "explore something else" "$farline" explore nothing
for page in farline.1 farline-scenario.5; do
    grep -q '^\.TH' "$top/emu/man/$page"
    check $? "manual page $page"
done
"$farline" list settings | awk '{ print $2 }' | while read -r key; do
    grep -q "$key" "$top/emu/man/farline-scenario.5" || echo "$key is not in the manual"
done >out
[ ! -s out ]
check $? "the manual knows every setting"

# --- an interrupt ------------------------------------------------------------------------------------
sed 's/ops = 400/ops = 4000000/' small.lua >long.lua

# interrupt FABRIC FILE: SIGINT once FILE is there
interrupt()
{
    "$farline" run long.lua --fabric "$1" --set deadline=600s --out "int-$1" >out 2>&1 &
    local pid=$! rc
    for _ in $(seq 400); do
        compgen -G ".int-$1.tmp*/$2" >/dev/null && break
        read -rt 0.05 <> <(:)
    done
    kill -INT $pid
    wait $pid
    rc=$?
    [ $rc = 2 ] && grep -q interrupted out && [ ! -e "int-$1" ] && ! compgen -G ".int-$1*" >/dev/null
    check $? "an interrupt ends a run over $1 and leaves nothing (status $rc)"
}
interrupt tcp c0.trace
interrupt sim history.ndjson

done_testing
