#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the second of two guests: serves the fabric's tests, then is node m0 of each scenario.
#
#   tests/rxe/guest_b.sh KEY
set -u
. tests/rxe/tap.sh
key=$1 port=7100

# shellcheck disable=SC2317 # called by listed
node()
{
    port=$((port + 1))
    "$FARLINE" node --name m0 --join "$FARLINE_RXE_PEER:$port" --token-file "$key" \
        --bind "$FARLINE_RXE_ADDR" --join-deadline 200
    echo "$1: node m0 ended with status $?"
}

tc qdisc add dev "$FARLINE_RXE_NET" root netem limit 1000 || exit 1
"$FARLINE_BUILD/tests/real/test_fabric_link" fab-server "$FARLINE_RXE_ADDR" 7000 || exit 1
tc qdisc change dev "$FARLINE_RXE_NET" root netem loss 1% delay 1ms duplicate 1%
listed tests/rxe/two_guests.txt node
tc -s qdisc show dev "$FARLINE_RXE_NET"
