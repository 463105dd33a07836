#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two guests, two kernels, one link between them with faults. The output is TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
b=
trap 'kill $b 2>/dev/null; rm -rf "$work"' EXIT
: "${FARLINE_BUILD:=$PWD/build}"
mkdir "$work/link" "$work/out"
(umask 077 && od -An -N32 -t x1 /dev/urandom | tr -d ' \n' >"$work/key")
vars=(env FARLINE="$FARLINE_BUILD/farline" FARLINE_BUILD="$FARLINE_BUILD")
limit=${RXE_SECONDS:-600}

ci/rxe-guest --timeout "$limit" --link "$work/link:b" "${vars[@]}" tests/rxe/guest_b.sh "$work/key" \
    >"$work/b.log" 2>&1 &
b=$!
ci/rxe-guest --timeout "$limit" --out "$work/out" --link "$work/link:a" "${vars[@]}" \
    tests/rxe/guest_a.sh "$work/key" >"$work/a.log" 2>&1
rc=$?
[ $rc -eq 77 ] && tail -n 1 "$work/a.log" && exit 77
# The plan comes last: what the second guest saw is one more case.
for _ in $(seq 100); do
    kill -0 $b 2>/dev/null || break
    sleep 0.2
done
kill $b 2>/dev/null
wait $b
rc_b=$?
b=
grep -v '^1\.\.' "$work/a.log"
n=$(sed -n 's/^1\.\.//p' "$work/a.log")
n=$((${n:-0} + 1))
dropped=$(sed -n 's/.*(dropped \([0-9]*\),.*/\1/p' "$work/b.log" | head -n 1)
if [ $rc_b -eq 0 ] && [ "${dropped:-0}" -gt 0 ]; then
    echo "ok $n - the link at the other end dropped $dropped packets"
else
    echo "not ok $n - the other guest: exit status $rc_b"
    sed 's/^/# /' "$work/b.log"
    rc=1
fi
echo "1..$n"
mkdir -p "$FARLINE_BUILD/matrix"
{
    ci/matrix --scenarios | while read -r s; do
        grep -q "^$s " tests/rxe/two_guests.txt ||
            printf '%s\tverbs\ttwo guests\tskipped\tnot in tests/rxe/two_guests.txt, to save time\n' "$s"
    done
    [ ! -f "$work/out/matrix" ] || cat "$work/out/matrix"
} >>"$FARLINE_BUILD/matrix/rxe.tsv"
exit $rc
