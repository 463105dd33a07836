#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whole runs through the command: exit status, files, and that no process is left however it ends.
# Prints TAP. FARLINE: the program; TMPDIR: an empty directory.
set -u

farline=${FARLINE:-$PWD/build/farline}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

result()
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# scenario OPS [MORE LINES [CHECKS]]: writes $tmp/s.lua
scenario()
{
    cat >"$tmp/s.lua" <<END
title "test"
node "c0" { role = "compute", device_memory = "128K" }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "512K", backed_by = { "m0", "m1" }, period = "5ms" }
workload "mix" { region = "heap", kind = "random", threads = 2, ops = $1, len = 200 }
check { ${3:-\"W1\", \"W3\"} }
${2:-}
END
}

# nodes: pids of all processes below this shell that are node processes of this test's programs
nodes()
{
    for p in "$farline_pid" $seen; do
        for s in /proc/[0-9]*/stat; do
            { read -r line <"$s"; } 2>/dev/null || continue
            pid=${line%% *}
            rest=${line##*) }
            read -r state ppid _ <<<"$rest"
            [ "$ppid" = "$p" ] && [ "$state" != Z ] && echo "$pid"
        done
    done | sort -u
}

# begin: starts the scenario in the background and waits until its workload runs
begin()
{
    rm -rf "$tmp/out"
    "$farline" run "$tmp/s.lua" --out "$tmp/out" >"$tmp/stdout" 2>"$tmp/stderr" &
    farline_pid=$!
    seen=
    for _ in $(seq 1000); do
        # The run's directory has its final name only at the end.
        grep -qs "running:" "$tmp"/out*/c0.log "$tmp"/.out*/c0.log && break
        kill -0 "$farline_pid" 2>/dev/null || break
        sleep 0.02
    done
    all=$(nodes)
}

# gone PID...: true once none of them is alive; at most ten seconds
gone()
{
    for _ in $(seq 500); do
        local left=0
        for p in "$@"; do
            if { read -r line <"/proc/$p/stat"; } 2>/dev/null; then
                read -r state _ <<<"${line##*) }"
                [ "$state" = Z ] || left=1
            fi
        done
        [ $left = 0 ] && return 0
        sleep 0.02
    done
    return 1
}

json() # FILE PATTERN: true if the file has a line like it
{
    grep -qsE "$2" "$1"
}

# --- a good run ----------------------------------------------------------------------------------
scenario 3000
for wait in adaptive block; do
    "$farline" run "$tmp/s.lua" --out "$tmp/good" --wait $wait >"$tmp/stdout" 2>&1
    result $? "a good run ends with 0 (wait $wait)"
done
json "$tmp/good/verdict.json" '"verdict": *"held"'
result $? "its verdict is held"
json "$tmp/good/verdict.json" '"checked": *[1-9][0-9]{5}'
result $? "its checks compared something"
[ -s "$tmp/good/c0.log" ] && [ -s "$tmp/good/m0.log" ] && [ -s "$tmp/good/history.ndjson" ]
result $? "logs and history are there"
! ls "$tmp"/good/*.trace >/dev/null 2>&1
result $? "the nodes' own traces are merged and gone"

# --- ended from outside --------------------------------------------------------------------------
scenario 100000000
for sig in INT TERM; do
    begin
    kill -$sig "$farline_pid"
    wait "$farline_pid"
    status=$?
    [ "$(wc -w <<<"$all")" = 3 ]
    result $? "three nodes were running before SIG$sig"
    [ $status != 0 ]
    result $? "a run that is interrupted by SIG$sig does not say 0"
    # shellcheck disable=SC2086
    gone $all
    result $? "SIG$sig leaves no process"
    ! ls -d "$tmp"/out* "$tmp"/.out* >/dev/null 2>&1
    result $? "SIG$sig leaves no half-written directory"
done

begin
kill -KILL "$farline_pid"
wait "$farline_pid" 2>/dev/null
[ "$(wc -w <<<"$all")" = 3 ]
result $? "three nodes were running before SIGKILL"
# shellcheck disable=SC2086
gone $all
result $? "SIGKILL of the coordinator leaves no process"
rm -rf "$tmp"/out* "$tmp"/.out*

# --- crashes -------------------------------------------------------------------------------------
for name in c0 m1; do
    begin
    for p in $all; do
        tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline" | grep -q -- "--name $name " &&
            kill -SEGV "$p" && break
    done
    wait "$farline_pid"
    result "$(($? - 1))" "a crash of $name ends with 1"
    json "$tmp/out/verdict.json" '"verdict": *"violated"'
    result $? "the verdict after a crash of $name is violated"
    grep -q "signal 11" "$tmp/stdout" && grep -q "last log lines: .*$name info: ready" "$tmp/stdout"
    result $? "signal and last log lines of $name are shown"
    # shellcheck disable=SC2086
    gone $all
    result $? "a crash of $name leaves no process"
done

# --- faults of the plan --------------------------------------------------------------------------
scenario 100000 'at (event ("c0.page_fetched", 50)) : kill ("m0")
expect "access_errors" : above (0)' '"W3"'
"$farline" run "$tmp/s.lua" --out "$tmp/kill" >"$tmp/stdout" 2>&1
result $? "a memory node killed by the plan is no violation"
json "$tmp/kill/verdict.json" '"fired": *1'
result $? "the fault is counted as fired"

# --- bad input -----------------------------------------------------------------------------------
scenario 1000
"$farline" run "$tmp/s.lua" --out "$tmp/x" --fabric nosuch >"$tmp/stdout" 2>"$tmp/stderr"
result "$(($? - 64))" "an unknown fabric ends with 64"
: >"$tmp/file"
"$farline" run "$tmp/s.lua" --out "$tmp/file/out" >"$tmp/stdout" 2>"$tmp/stderr"
[ $? = 64 ] && grep -q "file/out" "$tmp/stderr"
result $? "an output directory that cannot be made is named"
[ ! -e "$tmp/x" ]
result $? "nothing is left of runs that never began"
"$farline" node --name c0 >"$tmp/stdout" 2>"$tmp/stderr"
[ $? = 64 ] && grep -q -- "--join" "$tmp/stderr"
result $? "farline node tells how it is used"

echo "1..$n"
