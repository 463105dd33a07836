#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Nodes that somebody else starts: here this script, on other loopback addresses. Prints TAP.
# FARLINE: the program; TMPDIR: an empty directory.
set -u

farline=${FARLINE:-$PWD/build/farline}
tmp=$(mktemp -d)
pids=
n=0
bad=0

# shellcheck disable=SC2317 # the trap calls it
end()
{
    # shellcheck disable=SC2086
    [ -n "$pids" ] && kill -KILL $pids 2>/dev/null
    rm -rf "$tmp"
}
trap end EXIT

result()
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        tail -n 6 "$tmp"/*.log "$tmp"/out*/*.log "$tmp/stdout" "$tmp/stderr" 2>/dev/null | sed 's/^/# /'
        bad=1
    fi
}

# scenario OPS [MORE LINES [CHECKS]]
scenario()
{
    cat >"$tmp/s.lua" <<END
title "external"
node "c0" { role = "compute", device_memory = "128K", retries = 1 }
node "m0" { role = "memory", memory = "1M" }
node "m1" { role = "memory", memory = "1M" }
heartbeat "20ms"
heartbeat_miss "500ms"
region "heap" { on = "c0", size = "512K", backed_by = { "m0", "m1" }, period = "5ms" }
workload "mix" { region = "heap", kind = "random", threads = 2, ops = $1, len = 200 }
check { ${3:-\"W1\", \"W3\"} }
${2:-}
END
}

# run [OPTION...]: the coordinator in the background; $coord, $join once it listens
run()
{
    rm -rf "$tmp/out" "$tmp/out.failed"
    : >"$tmp/stderr"
    "$farline" run "$tmp/s.lua" --out "$tmp/out" --token-file "$tmp/key" "$@" \
        >"$tmp/stdout" 2>"$tmp/stderr" &
    coord=$!
    pids+=" $coord"
    join=
    for _ in $(seq 500); do
        join=$(sed -n 's/^farline: waiting at \([0-9.:]*\) for .*/\1/p' "$tmp/stderr")
        [ -n "$join" ] && return
        kill -0 "$coord" 2>/dev/null || return
        sleep 0.02
    done
}

# node NAME [OPTION...]: in the background; its pid in node_NAME
node()
{
    "$farline" node --name "$1" --join "$join" --token-file "$tmp/key" --join-deadline 5 "${@:2}" \
        >"$tmp/$1.log" 2>&1 &
    printf -v "node_$1" %s $!
    pids+=" $!"
}

# gone PID...: none of them runs any more; within twelve seconds
gone()
{
    for _ in $(seq 600); do
        local left=0 p
        for p in "$@"; do
            kill -0 "$p" 2>/dev/null && left=1
        done
        [ $left = 0 ] && return 0
        sleep 0.02
    done
    return 1
}

# logged NAME TEXT: until the node says so
logged()
{
    for _ in $(seq 1000); do
        grep -qs -- "$2" "$tmp/$1.log" && return 0
        sleep 0.02
    done
    return 1
}

# --- runs that hold -----------------------------------------------------------------------------
scenario 3000
run --external all --listen 127.0.0.2
[[ $join == 127.0.0.2:* ]]
result $? "the control port is on the address of --listen"
[ "$(stat -c %a "$tmp/key")" = 600 ] && grep -qE '^[0-9a-f]{64}$' "$tmp/key"
result $? "a key that is not there is made, closed to others"
node c0 --bind 127.0.0.3
node m0 --bind 127.0.0.4
node m1 --bind auto
wait "$coord"
result $? "a run whose nodes were all started by others holds"
# shellcheck disable=SC2154 # set by name, in start
wait "$node_c0" && wait "$node_m0" && wait "$node_m1"
result $? "such nodes end with 0"
jq -e '.verdict == "held" and ([.nodes[].pid] | all(. > 1))' "$tmp/out/verdict.json" >"$tmp/jq"
result $? "the verdict names their processes"

scenario 3000
run --external m1
node m1
wait "$coord"
result $? "one external node beside spawned ones"
wait "$node_m1"
result $? "it ends with 0"

# A port that is not free yet: nodes may be there before their coordinator.
join=127.0.0.2:$(python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.2", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 39271)
port=${join##*:}
node m0 && node m1
run --external m0,m1 --listen "127.0.0.2:$port"
wait "$coord"
result $? "nodes may be started before their coordinator"

# --- who does not join -----------------------------------------------------------------------------
scenario 3000
run --external m0,m1 --join-deadline 1
node m0
wait "$coord"
[ $? = 64 ] && grep -q "did not join within 1 s: m1; is .farline node --join" "$tmp/stderr"
result $? "a node that does not join is named, with the remedy"
gone "$node_m0"
result $? "the other one does not stay behind"

run --external m0 --join-deadline 1
node m0 --protocol 99
wait "$node_m0"
[ $? = 1 ] && grep -q "version 99.*same build.*FL_EVERSION" "$tmp/m0.log"
result $? "a node of another version says so"
wait "$coord"
[ $? = 64 ] && grep -q "m0 was turned away: .*version 99.*same build" "$tmp/stderr"
result $? "and the run says so, too"

printf '%064d\n' 7 >"$tmp/wrong"
chmod 600 "$tmp/wrong"
run --external m0 --join-deadline 1
node m0 --token-file "$tmp/wrong"
wait "$node_m0"
[ $? = 1 ] && grep -q "does not hold the key of --token-file.*FL_EAUTH" "$tmp/m0.log"
result $? "a node with another key says so"
wait "$coord"
[ $? = 64 ] && grep -q "m0 was turned away: .*--token-file" "$tmp/stderr"
result $? "and the run says so, too"

chmod 644 "$tmp/wrong"
node m0 --token-file "$tmp/wrong"
wait "$node_m0"
[ $? = 64 ] && grep -q "open to others (mode 0644): chmod 600" "$tmp/m0.log"
result $? "a key that others can read is refused by the node"
"$farline" run "$tmp/s.lua" --external m0 --token-file "$tmp/wrong" >"$tmp/stdout" 2>"$tmp/stderr"
[ $? = 64 ] && grep -q "open to others" "$tmp/stderr"
result $? "and by the run"

join=localhost:1
node m0 --join-deadline 1
wait "$node_m0"
[ $? = 1 ] && grep -q "cannot reach the coordinator at localhost:1 within 1 s.*FL_ECONN" "$tmp/m0.log"
result $? "a node that reaches no coordinator ends at its deadline"

# --- ports, names, steps ----------------------------------------------------------------------------
run --external m0 --join-deadline 4
"$farline" run "$tmp/s.lua" --out "$tmp/out2" --external m0 --token-file "$tmp/key" \
    --listen "$join" >"$tmp/stdout" 2>"$tmp/stderr2"
[ $? = 64 ] && grep -q "cannot listen on $join.*in use.*--listen" "$tmp/stderr2"
result $? "a port in use is named"
kill -TERM "$coord"
gone "$coord"
result $? "a run that waits for nodes can be ended"
for args in "--external m9" "--external m0= "; do
    # shellcheck disable=SC2086
    "$farline" run "$tmp/s.lua" --out "$tmp/out2" --token-file "$tmp/key" $args \
        >"$tmp/stdout" 2>"$tmp/stderr2"
    [ $? = 64 ] && grep -q -- "--external" "$tmp/stderr2"
    result $? "$args is refused"
done
scenario 3000 'at "1ms" : pause ("m0")'
run --external m0
wait "$coord"
[ $? = 64 ] && grep -q "s.lua:.*m0 is started by others.*--driver" "$tmp/stderr"
result $? "a pause without a driver is refused before anything starts"

# --- deaths ------------------------------------------------------------------------------------------
scenario 200000 'at (event ("c0.page_fetched", 50)) : kill ("m0")
expect "access_errors" : above (0)' '"W3"'
run --external m0,m1
node m0
node m1
wait "$coord"
result $? "an external node killed by the plan is no violation"
jq -e '.faults[0].fired == 1' "$tmp/out/verdict.json" >"$tmp/jq"
result $? "the fault is counted as fired"
wait "$node_m0"
[ $? = 137 ]
result $? "it was ended at once"

scenario 200000 'at (event ("m0.log_rx", 1)) : kill ("m0")
expect "access_errors" : above (0)' '"W3"'
sed -i 's/period = "5ms" }/period = "5ms", path = "log" }/' "$tmp/s.lua"
run --external m0,m1
node m0
node m1
wait "$coord"
result $? "an external node that dies in a site of its own is no violation"
wait "$node_m0"
[ $? = 137 ] && jq -e '.faults[0].fired == 1' "$tmp/out/verdict.json" >"$tmp/jq"
result $? "it killed itself there, and that counts as fired"

scenario 100000000
run --external m0,m1
node m0
node m1
logged m0 "ready:"
for _ in $(seq 500); do
    grep -qs running: "$tmp"/.out*/c0.log "$tmp"/out*/c0.log && break
    sleep 0.02
done
kill -KILL "$node_m0"
wait "$coord"
[ $? = 1 ] && jq -e '.verdict == "violated"' "$tmp/out/verdict.json" >"$tmp/jq" &&
    grep -q "m0 was lost" "$tmp/stdout"
result $? "an external node that dies by itself is a violation"
gone "$node_m1"
result $? "the other one ends with the run"

run --external all
node c0
node m0
node m1
logged c0 "running:"
result $? "all are running"
kill -KILL "$coord"
gone "$node_c0" "$node_m0" "$node_m1"
result $? "nodes whose coordinator is killed are gone"
wait "$node_m0"
[ $? = 1 ] && grep -q "control connection.*FL_ECONN" "$tmp/m0.log"
result $? "they say why"

echo "1..$n"
exit $bad
