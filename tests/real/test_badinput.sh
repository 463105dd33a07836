#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bad input through the built program: each mistake gives exit status 64, a message that names cause
# and remedy, no file and no process.
# shellcheck source=tests/real/lib.sh
. "$(dirname "$0")/lib.sh"

# scenario NAME: a valid one, standard input as its last lines
scenario()
{
    {
        cat <<'LUA'
node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "2M" }
region "heap" { on = "c0", size = "1M", backed_by = { "m0" } }
workload "w" { region = "heap", kind = "random", ops = 200 }
check { "W1" }
LUA
        cat
    } >"$1.lua"
}

# script NAME TEXT WHAT: a valid scenario with the lines of standard input is refused
script()
{
    scenario "$1"
    gives 64 "$2" "scenario: $3" "$farline" run "$1.lua" --out "$work/o"
    [ ! -e "$work/o" ] && ! compgen -G "$work/.o.tmp*" >/dev/null
    check $? "scenario: $3: no file"
}

script typo 'typo.lua:6: .*did you mean "memory"' "a typo" <<'LUA'
node "m1" { role = "memory", memroy = "4K" }
LUA
script type 'type.lua:6: .*not a table' "a wrong type" <<'LUA'
node "m1" { role = "memory", memory = {} }
LUA
script unknown 'unknown.lua:6: .*no node "m7"' "an unknown node" <<'LUA'
region "r" { on = "c0", size = "4K", backed_by = { "m7" } }
LUA
script zero 'zero.lua:6: .*memory is 0; allowed is 4K' "size zero" <<'LUA'
node "m1" { role = "memory", memory = 0 }
LUA
script absurd 'absurd.lua:6: .*allowed is' "an absurd size" <<'LUA'
region "r" { on = "c0", size = "900T", backed_by = { "m0" } }
LUA
script pool 'pool.lua:2: node "m0" has 2 MiB but its chunks need 3 MiB: raise memory' \
    "a memory node with less memory than the region" <<'LUA'
region "r" { on = "c0", size = "2M", backed_by = { "m0" } }
LUA
script cramped 'cramped.lua:6: .*raise device_memory' "device memory under the minimum" <<'LUA'
node "c1" { role = "compute", device_memory = "16K" }
region "r" { on = "c1", size = "4K", backed_by = { "m0" } }
region "s" { on = "c1", size = "64K", backed_by = { "m0" } }
workload "a" { region = "s", kind = "random", threads = 2 }
LUA
script loop 'loop.lua:6: .*endless loop' "an infinite loop" <<'LUA'
while true do end
LUA
script pattern 'was stopped; ' "a pattern match that never ends" <<'LUA'
local s = ("a"):rep (5000) s:find (("a*"):rep (50) .. "b")
LUA
script bomb 'MiB' "a memory bomb" <<'LUA'
local s = "x" while true do s = s .. s end
LUA
script deep 'deep.lua' "deep recursion" <<'LUA'
local function f () return 1 + f () end f ()
LUA
script flood 'flood.lua:6: print' "huge output" <<'LUA'
for i = 1, 1e7 do print (i) end
LUA
script syntax 'syntax.lua:6: ' "a syntax error" <<'LUA'
node = = 3
LUA
script outside 'outside.lua:6: "os" is not available' "a system call" <<'LUA'
os.execute ("touch /tmp/farline-was-here")
LUA

scenario good </dev/null
gives 64 'No such file' "a file that is missing" "$farline" run nothing.lua
gives 64 'not a regular file' "a directory" "$farline" run .
gives 64 'not a regular file' "a device that never ends" "$farline" plan /dev/zero
gives 64 'usage' "no command" "$farline"
gives 64 'did you mean "run"' "a command with a typo" "$farline" rnu good.lua
gives 64 'cannot read run.json: No such file' "a recorded run that is missing" \
    "$farline" shrink run.json
gives 64 'name a scenario' "no scenario" "$farline" run
gives 64 'one of tcp, sockets, verbs, sim' "an unknown fabric" "$farline" run good.lua --fabric ib
gives 64 'one of adaptive' "an unknown way to wait" "$farline" run good.lua --wait long
gives 64 'one of mprotect' "an unknown tracker" "$farline" run good.lua --tracker eyes
gives 64 'does not go with' "a tracker of another world" \
    "$farline" run good.lua --fabric sim --tracker mprotect
gives 64 'whole number' "a seed that is none" "$farline" run good.lua --seed x7
gives 64 'PATH=VALUE' "a setting without a value" "$farline" run good.lua --set seed
gives 64 'did you mean "threshold"' "a setting with a typo" \
    "$farline" run good.lua --set region.heap.treshold=1
gives 64 'did you mean "W-miscount"' "a plant with a typo" "$farline" run good.lua --plant W-miscont
gives 64 'run --help' "an unknown option" "$farline" run good.lua --fast
gives 64 'choose one' "two forms of output" "$farline" run good.lua --tap --json
gives 64 'not in this version' "the live page" "$farline" run good.lua --serve
gives 64 'would both write' "two scenarios of one name" "$farline" run good.lua ./good.lua
gives 64 'no such id' "an unknown id" "$farline" explain W99
gives 64 'usage' "an unknown list" "$farline" list everything

# --- places to write ---------------------------------------------------------------------------
gives 64 'choose a place.*--out' "a directory that cannot be made" \
    "$farline" run good.lua --fabric sim --out /proc/farline/x
mkdir mine && echo precious >mine/thesis
gives 64 'holds no earlier run' "a directory of somebody else" \
    "$farline" run good.lua --fabric sim --out mine
[ "$(cat mine/thesis)" = precious ]
check $? "a directory of somebody else is left alone"
gives 64 'free space\|File too large' "a disk that is full" \
    bash -c "trap '' XFSZ; ulimit -f 4; exec '$farline' run good.lua --fabric sim --out full"
[ ! -e full ] && ! compgen -G '.full.tmp*' >/dev/null
check $? "a disk that is full: no file"
gives 64 'dev/full' "a JUnit file on a full disk" \
    "$farline" run good.lua --fabric sim --out junit --junit /dev/full
gives 64 'cannot be dead then' "a restart of a node that nothing has killed" \
    bash -c "{ cat good.lua; echo 'at \"start\" : restart (\"m0\")'; } >back.lua
        exec '$farline' run back.lua --out back"
[ ! -e back ]
check $? "a restart of a node that nothing has killed: no file"

done_testing
