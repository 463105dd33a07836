#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything that one guest runs over verbs, on one soft-RoCE device. Its output is TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
: "${FARLINE_BUILD:=$PWD/build}"
ci/rxe-guest --timeout "${RXE_SECONDS:-700}" --out "$out" env FARLINE="$FARLINE_BUILD/farline" \
    FARLINE_BUILD="$FARLINE_BUILD" tests/rxe/guest_one.sh
rc=$?
mkdir -p "$FARLINE_BUILD/matrix"
[ ! -f "$out/matrix" ] || cat "$out/matrix" >>"$FARLINE_BUILD/matrix/rxe.tsv"
exit $rc
