#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the first of two guests: the fabric's tests of a link, then scenarios whose node m0 lives in the
# second. The faults are those of the queues at both ends.
#
#   tests/rxe/guest_a.sh KEY
set -u
. tests/rxe/tap.sh
key=$1 port=7100

# external NAME [SETTING...]: the other guest brings m0
# shellcheck disable=SC2317 # called by listed
external()
{
    port=$((port + 1))
    options=(--set heartbeat_miss=20s --set rdma_ack_timeout=60ms --external m0 --join-deadline 40
        --token-file "$key" --listen "$FARLINE_RXE_ADDR:$port")
    scenario "$@"
}

tc qdisc add dev "$FARLINE_RXE_NET" root netem limit 1000 || exit 1
for _ in $(seq 300); do
    (exec 3<>"/dev/tcp/$FARLINE_RXE_PEER/7000") 2>/dev/null && break
    sleep 0.2
done
FARLINE_FAB_SERVER=$FARLINE_RXE_PEER:7000 program 400 "$FARLINE_BUILD/tests/real/test_fabric_link"
# Also after one that ran out of time the other guest is to go on.
tc qdisc change dev "$FARLINE_RXE_NET" root netem limit 1000
(exec 3<>"/dev/tcp/$FARLINE_RXE_PEER/7000" && echo quit >&3) 2>/dev/null
tc qdisc change dev "$FARLINE_RXE_NET" root netem loss 1% delay 1ms duplicate 1%
listed tests/rxe/two_guests.txt external

tc -s qdisc show dev "$FARLINE_RXE_NET" >"$log"
dropped=$(sed -n 's/.*(dropped \([0-9]*\),.*/\1/p' "$log" | head -n 1)
[ "${dropped:-0}" -gt 0 ]
report $? "the link at this end dropped ${dropped:-no} packets"
grep -H . /sys/class/infiniband/rxe0/ports/1/hw_counters/*retr* >"$log"
again=$(sed -n 's/.*completer_retry_err://p' "$log")
[ "${again:-0}" -gt 0 ]
report $? "the device sent again ${again:-0} times"
finish
