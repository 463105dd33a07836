#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# swarm, sweep, replay and shrink as other programs call them.
# shellcheck disable=SC2012,SC2016 # names without blanks; what stands in single quotes is for sed
# shellcheck source=tests/real/lib.sh
. "$(dirname "$0")/lib.sh"

cat >small.lua <<'LUA'
title "small"
node "c0" { role = "compute", device_memory = "64K" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "256K", backed_by = { "m0", "m1" }, period = "1ms" }
workload "w" { region = "heap", kind = "random", ops = 300, len = 100 }
expect "close.heap" : is ("FL_OK")
check { "W1", "W3", "W5" }
LUA

# --- swarm ---------------------------------------------------------------------------------------
gives 0 'verdict   HELD' "a swarm holds" "$farline" swarm small.lua --seeds 1..40 --jobs 2
grep -q '40 runs.*2 done twice' out && grep -Eq '^cut +[0-9]+ +[1-9]' out
check $? "its table counts runs and faults that fired"
[ ! -e runs ]
check $? "and it leaves no files when all held"
gives 1 'W1 violated' "a planted bug is caught" \
    "$farline" swarm small.lua --seeds 1..20 --plant W-drop-unacked --out caught
[ -s caught/swarm.json ] && [ "$(ls -d caught/seed-* | wc -l)" = 3 ]
check $? "the first three failures are kept"
gives 1 'the same trace' "what was kept is repeated exactly" \
    "$farline" replay "$(ls caught/seed-*/run.json | head -n 1)" --out again
[ -s caught/report.html ] && grep -q 'href="seed-[0-9]*/report.html"' caught/report.html
check $? "with a page that leads to theirs"
gives 1 'verdict   VIOLATED' "a swarm stops at the first failure" \
    "$farline" swarm small.lua --seeds 1..100000 --until-violated --plant W-drop-unacked --out first
gives 0 'verdict   HELD' "a swarm for a CI server" \
    "$farline" swarm small.lua --seeds 11..15 --junit cases.xml
cases='<testcase classname="\(W1\|W3\|W5\|verdict\)" name="small seed 1[1-5]">'
[ "$(grep -c "$cases" cases.xml)" = 20 ] && [ "$(grep -c '<testcase' cases.xml)" = 20 ] &&
    grep -q '<testsuite name="small" tests="20" failures="0" errors="0"' cases.xml &&
    [ "$(tail -n 1 cases.xml)" = '</testsuites>' ]
check $? "has a case for each seed and check"
gives 1 'not ok .* small seed 5 W[13] # violated' "as TAP" \
    "$farline" swarm small.lua --seeds 5..5 --plant W-drop-unacked --tap --out one
[ "$(sed -n 2p out)" = 1..4 ] && [ "$(grep -Ec '^(not )?ok ' out)" = 4 ]
check $? "with as many lines as it says"
gives 1 '"exit":1' "as JSON" \
    "$farline" swarm small.lua --seeds 5..5 --plant W-drop-unacked --json --out one
gives 64 'two whole numbers' "seeds that are none" "$farline" swarm small.lua --seeds x
gives 64 'larger than the last' "seeds in the wrong order" "$farline" swarm small.lua --seeds 9..3
gives 64 '1 to 64' "no jobs" "$farline" swarm small.lua --jobs 0
gives 64 'name a scenario' "no scenario" "$farline" swarm
gives 64 'did you mean' "a plant with a typo" "$farline" swarm small.lua --plant W-miscont

"$farline" swarm small.lua --seeds 1..100000000 --jobs 2 --out stopped \
    --junit stopped.xml >out 2>&1 </dev/null &
pid=$!
for _ in $(seq 400); do # it has begun when it has both workers: one child alone may be the loader
    [ "$(wc -w <"/proc/$pid/task/$pid/children")" = 2 ] && break
    sleep 0.05
done
children=$(cat "/proc/$pid/task/$pid/children")
kill -INT $pid
wait $pid
[ $? = 2 ] && grep -q 'interrupted' out && grep -q '"why": "interrupted"' stopped/swarm.json
check $? "an interrupted swarm tells what it has"
[ "$(tail -n 1 stopped.xml)" = '</testsuites>' ] && [ "$(tail -n 1 stopped/swarm.json)" = '}' ] &&
    [ "$(tail -n 1 stopped/report.html)" = '</html>' ] && [ "$(ls -A stopped)" = "$(ls stopped)" ]
check $? "and its files are whole"
left=0
for c in $children; do
    [ -e "/proc/$c" ] && left=1
done
[ -n "$children" ] && [ $left = 0 ]
check $? "and leaves no process"

# --- replay --------------------------------------------------------------------------------------
gives 0 'HELD' "a run" "$farline" run small.lua --fabric sim --seed 5 --out run
gives 0 'the same trace' "is repeated" "$farline" replay run/run.json --out again
cmp -s run/history.ndjson again/history.ndjson
check $? "record by record"

gives 0 'HELD' "a run of processes" "$farline" run small.lua --bind 127.0.0.2 --out live
gives 0 'HELD' "is run again on another address" "$farline" replay live/run.json --bind 127.0.0.3 --out live2
gives 77 '203.0.113.77' "an address that is not ours reaches the nodes" \
    "$farline" replay live/run.json --bind 203.0.113.77 --out live3
gives 64 'numeric IPv4' "an address that is none" "$farline" replay live/run.json --bind here
gives 64 'real fabrics' "an address for the simulator" "$farline" replay run/run.json --bind 127.0.0.2

cat small.lua - >drawn.lua <<'LUA'
at (event ("c0.miss", { from = 2, to = 60 })) : pause ("m0", { for_ = "200us" })
LUA
sed -i '/^expect/d' drawn.lua
gives 0 'pause m0' "a moment that the seed chooses" \
    "$farline" run drawn.lua --fabric sim --seed 5 --out drawn5
nth=$(sed -n 's/^ *"nth": \([0-9]*\).*/\1/p' drawn5/run.json)
[ "$nth" -ge 2 ] && [ "$nth" -le 60 ] && ! grep -q '"draw"' drawn5/run.json &&
    grep -q "\"at\": \"c0.miss#$nth\"" drawn5/verdict.json
check $? "stands in run.json as it was drawn"
"$farline" run drawn.lua --fabric sim --seed 6 --out drawn6 >out 2>&1 &&
    ! grep -q "\"at\": \"c0.miss#$nth\"" drawn6/verdict.json
check $? "and is another one for another seed"
gives 0 'the same trace' "and is repeated" "$farline" replay drawn5/run.json --out again

# refuses TEXT NAME SED: run.json edited by SED is refused, and nothing is run
refuses()
{
    sed "$3" run/run.json >edited.json
    if cmp -s run/run.json edited.json; then
        echo "nothing was edited" >out
        check 1 "$2"
        return
    fi
    gives 64 "$1" "$2" "$farline" replay edited.json --out none
    [ ! -e none ]
    check $? "$2: nothing was run"
}

refuses 'version: is 9' "another version" '/^ "version"/s/1/9/'
refuses 'plan.workloads: was changed' "more accesses" 's/"ops": 300/"ops": 301/'
refuses 'plan: .*"ops"' "accesses that are no number" 's/"ops": 300/"ops": "many"/'
refuses 'plan.nodes: was changed' "a larger device memory" 's/"device_memory_bytes": 65536/"device_memory_bytes": 131072/'
refuses 'seed: differs' "another seed" '/^ "seed"/s/5/6/'
refuses 'trace_hash: ' "another trace" '/^ "trace_hash"/s/"[0-9a-f]*"\(,*\)$/"00000000000000aa"\1/'
refuses 'fabric: there is no' "a fabric that is none" '/^ "fabric"/s/sim/ib/'
refuses 'tracker: .*does not go' "a tracker of another world" '/^ "tracker"/s/actor/mprotect/'
refuses 'seed: is missing' "no seed" '/^ "seed"/d'
refuses 'cut short' "half of the file" '20,$d'
refuses 'extra: is not a field' "a field too many" 's/^{$/{ "extra": 1,/'
refuses 'digests: is missing' "no digests" '/^ "digests"/,/^ }/d'
refuses 'version: is missing' "no version" '/^ "version"/d; /^ "variant": null,$/s/,$//'
refuses 'tracker: was changed' "another tracker of this world" '/^ "tracker"/s/actor/actor-sampled/'
refuses 'plan.regions: was changed' "a longer deadline" 's/"op_deadline_ns": [0-9]*/"op_deadline_ns": 600000000/'
refuses 'plan.seed: was changed' "another seed throughout" 's/"seed": 5/"seed": 6/'

cat small.lua - >faulty.lua <<'LUA'
at (event ("c0.flush_post", 3)) : lose_completion ("c0", "m0", { count = 2 })
at (event ("c0.flush_ack", 40)) : kill ("m1")
LUA
sed -i '/^expect/d; s/check.*/check { "W3" }/; s/period = "1ms"/period = "1ms", op_deadline = "50ms"/' faulty.lua
gives 0 'lose_completion' "a run with faults" "$farline" run faulty.lua --fabric sim --out run
refuses 'plan.steps: was changed' "a fault at another point" 's/"nth": 3/"nth": 4/'
refuses 'plan.steps: was changed' "a fault more often" 's/"count": 2/"count": 3/'
refuses 'plan.steps: was changed' "a fault of another kind" 's/"action": "lose_c/"action": "fail_c/'
refuses 'plan: .*action' "a fault that is none" 's/"action": "lose_c/"action": "loose_c/'
refuses 'plan: .*"target2"' "a fault at a node that is none" 's/"target2": "m0"/"target2": "m7"/'
refuses 'faults: was changed' "a fault that did not fire" 's/"fired": 1,/"fired": 0,/'
refuses 'faults\[0\]' "a count that is none" '0,/"fired": [0-9]*/s/"fired": [0-9]*/"fired": -1/'

size=$(wc -c <run/run.json)
whole=0
for i in $(seq 0 23); do # cut short anywhere
    head -c $((size * i / 24)) run/run.json >edited.json
    timeout 20 "$farline" replay edited.json --out none >out 2>&1
    [ $? = 64 ] && [ ! -e none ] || whole=1
done
check $whole "a file that is cut short anywhere is refused, and nothing is run"

# Between real processes the same faults happen again at the same logical points.
gives 0 'verdict   HELD' "faults between real processes" "$farline" run faulty.lua --out real
gives 0 '2 of 2 recorded faults fired again' "are repeated" \
    "$farline" replay real/run.json --out realagain
moments()
{
    grep -E '^ +"(at|kind)": "(c0|kill|lose)' "$1/verdict.json"
}
[ "$(moments real | wc -l)" = 4 ] && [ "$(moments real)" = "$(moments realagain)" ]
check $? "at the same points"
gives 64 'not exactly repeatable' "but are not shrunk" "$farline" shrink real/run.json

gives 64 'cannot read' "no file" "$farline" replay nothing.json
gives 64 'name one run.json' "no name" "$farline" replay

# --- shrink --------------------------------------------------------------------------------------
gives 1 'W1 violated' "a run that fails" \
    "$farline" run small.lua --fabric sim --seed 5 --plant W-drop-unacked --out broken
gives 1 'W1 still fails' "is shrunk" "$farline" shrink broken/run.json --out little
grep -q '300 accesses to ' out && grep -q '"exit": 1' little/verdict.json
check $? "to fewer accesses"
gives 64 'nothing to shrink' "a run that held" "$farline" shrink run/run.json
gives 64 'cut short' "half a file" "$farline" shrink small.lua

# --- sweep ---------------------------------------------------------------------------------------
gives 0 'verdict   HELD' "a sweep ends" "$farline" sweep small.lua --site c0.period
grep -Eq '^c0 +period +kill +once +([0-9]+) +\1 +\1 +0$' out
check $? "each passing was failed once"
gives 0 'verdict   HELD' "a sweep of cuts" "$farline" sweep small.lua --site c0.period --fault cut
grep -Eq '^c0 +period +cut +once +([0-9]+) +\1 +\1 +0$' out &&
    grep -Eq '^c0 +period +cut +on +([0-9]+) +\1 +\1 +0$' out
check $? "once, and from there on"
gives 0 'verdict   HELD' "only from there on" \
    "$farline" sweep small.lua --site c0.period --fault pause --mode on --junit sweep.xml
! grep -q ' once ' out && passed=$(awk '$2 == "period" { print $5 }' out) &&
    [ "$(grep -c '<testcase classname="verdict"' sweep.xml)" = "$passed" ] &&
    grep -q 'name="small seed 1, pause (on) at c0.period#1"' sweep.xml
check $? "with a case for each passing"
sed 's/period = "1ms"/period = "1ms", path = "log"/' small.lua >log.lua
gives 0 'verdict   HELD' "a memory node dies at each of its own points and comes back" \
    "$farline" sweep log.lua --site m0.log_commit --fault restart
grep -Eq '^m0 +log_commit +restart +once +([0-9]+) +\1 +\1 +0$' out
check $? "every time"
gives 64 'once, on or both' "a mode that is none" "$farline" sweep small.lua --site miss --mode x
gives 64 'did you mean delay' "a fault with a typo" \
    "$farline" sweep small.lua --site miss --fault dely
gives 1 'VIOLATED' "a planted bug is caught" \
    "$farline" sweep small.lua --site c0.period --plant W-drop-unacked
gives 2 'never passes' "a site that is not passed" "$farline" sweep small.lua --site coarsen
gives 64 'no such site' "a site that is none" "$farline" sweep small.lua --site c0.nowhere
gives 64 'no node' "a node that is none" "$farline" sweep small.lua --site c9.miss
gives 64 'one of kill' "a fault that is none" "$farline" sweep small.lua --site miss --fault burn
done_testing
