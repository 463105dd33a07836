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
finish
