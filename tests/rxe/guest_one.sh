#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside a guest with one device: the fabric's tests over verbs, then the listed scenarios.
set -u
. tests/rxe/tap.sh

program 120 "$FARLINE_BUILD/tests/real/test_fabric"
program 120 "$FARLINE_BUILD/tests/real/test_fabric_death"
options=(--set heartbeat_miss=10s)
listed tests/rxe/scenarios.txt scenario
# A stopped process: its device acknowledges writes, only messages wait for it.
options=()
outcome writeback/lost_ack 'fences op_timeouts' region.heap.op_deadline=10s

# What the machine may lack: cause and remedy, exit status 77, nothing left running.
refused() # TEXT... -- NAME COMMAND...
{
    local texts=() name start=$EPOCHREALTIME rc t ok=0
    while [ "$1" != -- ]; do texts+=("$1") && shift; done
    name=$2
    shift 2
    rm -rf /tmp/refused*
    timeout --kill-after=5 60 "$@" >"$log" 2>&1 </dev/null
    rc=$?
    [ $rc -eq 77 ] || ok=1
    for t in "${texts[@]}"; do
        grep -qF -- "$t" "$log" || ok=1
    done
    report $ok "$name: exit status 77 with cause and remedy, $(took "$start")"
    for _ in {1..50}; do # a node that was told to end may take a moment
        grep -lsa '^farline' /proc/[0-9]*/comm >"$log" || break
        sleep 0.1
    done
    [ ! -s "$log" ]
    report $? "$name: nothing is left running"
}

run=("$FARLINE" run scenarios/writeback/basic.lua --fabric verbs --bind "$FARLINE_RXE_ADDR"
    --out /tmp/refused)
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
refused 'has the address 10.93.0.77' '--bind' -- 'an address of no device' \
    "${run[@]}" --bind 10.93.0.77
refused 'can be pinned' 'its limit is 64 KiB' 'ulimit -l unlimited' -- 'memlock of 64 KiB' \
    "${nobody[@]}" bash -c 'ulimit -l 64 && exec "$@"' bash "${run[@]}"
refused 'can be pinned' 'ulimit -l unlimited' -- 'memlock too small for a connection' \
    "${nobody[@]}" bash -c 'ulimit -l 3000 && exec "$@"' bash "${run[@]}"
refused 'can be pinned' 'its limit is 65536 KiB' 'ulimit -l unlimited' -- '1 GiB, memlock of 64 MiB' \
    "${nobody[@]}" bash -c 'ulimit -l 65536 && exec "$@"' bash "${run[@]}" --set node.m0.memory=1G
chmod 600 /dev/infiniband/*
refused 'no permission for /dev/infiniband/' 'chmod' -- 'closed device files' "${nobody[@]}" "${run[@]}"
chmod 666 /dev/infiniband/*
ip link set "$FARLINE_RXE_NET" down
refused 'rxe0 is down' "ip link set $FARLINE_RXE_NET up" -- 'a device that is down' "${run[@]}"
rdma link del rxe0
refused 'no RDMA device' 'rdma link add rxe0 type rxe netdev' -- 'no device' "${run[@]}"
finish
