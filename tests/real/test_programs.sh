#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs that really touch memory, in the simulator, as other programs call it.
# shellcheck source=tests/real/lib.sh
. "$(dirname "$0")/lib.sh"
ln -s "$top/scenarios" scenarios

# --- one seed, one trace -------------------------------------------------------------------------
for s in sqlite lua; do
    gives 0 'tracker coroutine, seed 3' "$s.lua holds in the simulator" \
        "$farline" run scenarios/writeback/$s.lua --fabric sim --seed 3 --out $s
    gives 0 "$s.match = 1, seen 1" "and once more" \
        "$farline" run scenarios/writeback/$s.lua --fabric sim --seed 3 --out $s.2
    hash=$(sed -n 's/.*"trace_hash": "\([0-9a-f]*\)".*/\1/p' $s/verdict.json)
    [ -n "$hash" ] && grep -q "$hash" $s.2/verdict.json && cmp -s $s/history.ndjson $s.2/history.ndjson
    check $? "with the same trace, record by record"
    gives 0 'the same trace' "which replay repeats" "$farline" replay $s/run.json --out $s.again
done

# --- faults --------------------------------------------------------------------------------------
cat >killed.lua <<'LUA'
title "a program whose memory node dies"
heartbeat "5ms"
heartbeat_miss "50ms"
node "c0" { role = "compute", device_memory = "256K", retries = 2 }
node "m0" { role = "memory", memory = "16M" }
node "m1" { role = "memory", memory = "16M" }
region "heap" { on = "c0", size = "32M", backed_by = { "m0", "m1" }, period = "1ms",
                op_deadline = "100ms", close_deadline = "2s" }
workload "db" { region = "heap", kind = "sqlite", ops = 400,
                source = "/usr/share/common-licenses/GPL-3" }
at (event ("c0.flush_ack", 60)) : kill ("m0")
expect "close.heap" : is ("FL_EPEERDEAD")
expect "error.db" : is ("FL_EPEERDEAD")
expect "access_errors" : equals (1)
check { "W2", "W3", "W4", "W8" }
LUA
gives 0 'kill m0 .*fired' "a lost node ends a program with its cause" \
    "$farline" run killed.lua --fabric sim --out killed
gives 0 'the same trace' "again at the same point" "$farline" replay killed/run.json --out killed.2

sed -e '/^at /d' -e '/^expect/d' killed.lua >small.lua
gives 0 'verdict   HELD' "faults at each passing of a site" \
    "$farline" sweep small.lua --site c0.period
grep -Eq '^c0 +period +kill +once +([0-9]+) +\1 +\1 +0$' out
check $? "each of them fired"
gives 0 'verdict   HELD' "faults drawn from seeds" "$farline" swarm small.lua --seeds 1..40 --jobs 2
grep -q '2 done twice' out && grep -Eq '^kill +[0-9]+ +[1-9]' out
check $? "some twice, and some kill"

# --- planted mistakes ----------------------------------------------------------------------------
gives 1 'W2 *VIOLATED' "a planted mistake is seen" \
    "$farline" run small.lua --fabric sim --plant W-drop-unacked --out planted
grep -o 'W[0-9] *VIOLATED' out | grep -v W2 >others
gives 1 'VIOLATED' "beside others" \
    "$farline" run small.lua --fabric sim --plant W-drop-unacked --plant blind-W2 --out blind
grep -o 'W[0-9] *VIOLATED' out | cmp -s - others && [ -s others ]
check $? "which stay as they were when its oracle is blinded"
gives 1 'still fails' "and is made small" "$farline" shrink planted/run.json --out little
gives 1 'the same trace' "and repeated" "$farline" replay little/run.json --out little.2

# --- what cannot be ------------------------------------------------------------------------------
gives 64 'use coroutine' "a tracker that cannot see programs" \
    "$farline" run small.lua --fabric sim --tracker actor-sampled --out none
gives 64 'does not go' "a tracker of the simulator elsewhere" \
    "$farline" run small.lua --fabric tcp --tracker coroutine --out none
gives 0 'tracker coroutine' "any workload takes its traps" \
    "$farline" run scenarios/writeback/basic.lua --fabric sim --tracker coroutine --out basic
done_testing
