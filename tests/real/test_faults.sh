#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The faults of mechanism W: each id names a scenario that shows it, which ends in the required
# outcome in the simulator and between real processes; the mistakes that a fault is there to reveal
# are revealed. FABRICS="tcp sim" takes only those.
set -u
cd "$(dirname "$0")/../.." || exit 1
farline=${FARLINE:-build/farline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
bad=0

# result OK TEXT
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$work/out"
        bad=1
    fi
}

# run STATUS PATTERN TEXT ARGS...: this exit status, and the pattern in what is printed
run() {
    local status=$1 pattern=$2 text=$3
    shift 3
    rm -rf "$work/run"
    timeout 60 "$farline" run "$@" --out "$work/run" >"$work/out" 2>&1
    local rc=$?
    [ $rc -eq "$status" ] && grep -Eq "$pattern" "$work/out"
    result $? "$text"
}

for i in 1 2 3 4 5 6 7 8; do
    scenario=$("$farline" explain "W-f$i" 2>"$work/out" | grep -o 'scenarios/[a-z0-9_/]*\.lua' | head -1)
    [ -n "$scenario" ] && [ -f "$scenario" ]
    result $? "W-f$i names a scenario"
    for fabric in ${FABRICS:-tcp sim}; do
        [ "$fabric" = sockets ] || run 0 'verdict   HELD' "W-f$i over $fabric" "$scenario" --fabric "$fabric"
    done
done

for fabric in tcp sim; do
    run 1 'verdict   VIOLATED' "an old write lands where no fence was ($fabric)" \
        scenarios/writeback/f3_stuck_write.lua --fabric "$fabric" --plant W-skip-fence
    grep -Eq '^ +W7 +VIOLATED' "$work/out"
    result $? "an old write lands where no fence was: W7 ($fabric)"
    run 1 'W7 violated' "a batch that came twice is applied twice ($fabric)" \
        scenarios/writeback/f3_duplicated_batches.lua --fabric "$fabric" --plant W-stale-seq
    run 3 'NO-PROGRESS' "what is never sent again, after the fault was over ($fabric)" \
        scenarios/writeback/f2_lost_completion.lua --fabric "$fabric" --plant W-never-retry \
        --set deadline=3s
done

# Between processes the moment of the kill may be the end of a batch, which then is whole anyway.
run 1 'W3 violated' "a batch reaches a lasting pool in part" scenarios/writeback/f1_memnode_dies.lua \
    --fabric sim --plant W-no-commit-record

# A lie is a fault that must not be survived unseen.
sed 's/lose_completion \(.*\)count = 3/flip_bit \1count = 3/; s/class = "bulk"/class = "urgent"/; /expect "fences"/d' \
    scenarios/writeback/f2_lost_completion.lua >"$work/lie.lua"
for fabric in tcp sim; do
    run 1 'W3' "a bit of what a read brings is wrong ($fabric)" "$work/lie.lua" --fabric "$fabric"
done

# What is asked for and hits nothing makes the verdict undecided, by name.
sed 's/lose_completion ("c0", "m0"/lose_completion ("m0", "c0"/; /expect "fences"/d' \
    scenarios/writeback/f2_lost_completion.lua >"$work/vain.lua"
for fabric in tcp sim; do
    run 2 'lose_completion m0,c0.*never fired' "a fault that hits nothing ($fabric)" "$work/vain.lua" \
        --fabric "$fabric"
done

echo "1..$n"
exit $bad
