#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside a guest with one device: the fabric's tests over verbs, then the listed scenarios.
set -u
. tests/rxe/tap.sh

program 120 "$FARLINE_BUILD/tests/real/test_fabric"
program 120 "$FARLINE_BUILD/tests/real/test_fabric_death"
while read -r name sets; do
    case $name in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086 # words on purpose
    scenario "$name" $sets </dev/null
done <tests/rxe/scenarios.txt
# A stopped process: its device acknowledges writes, only messages wait for it.
outcome writeback/lost_ack 'fences op_timeouts' region.heap.op_deadline=10s
finish
