#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every scenario that ships must hold: on tcp, on sockets, and in the simulator.
# FABRICS="tcp sim" takes only those. What came of each goes to matrix/processes.tsv of the build
# directory, for ci/matrix.
set -u
cd "$(dirname "$0")/../.." || exit 1
farline=${FARLINE:-build/farline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
matrix=${FARLINE_BUILD:-build}/matrix
mkdir -p "$matrix"
: >"$matrix/processes.tsv"
n=0
bad=0

noted() # SCENARIO FABRIC OUTCOME REASON
{
    local name=${1#scenarios/} place=processes
    [ "$2" = sim ] && place='one process'
    printf '%s\t%s\t%s\t%s\t%s\n' "${name%.lua}" "$2" "$place" "$3" "$4" >>"$matrix/processes.tsv"
}

# patience SCENARIO FABRIC: settings for real processes that nothing happens to: a host that is busy with
# other tests is no dead node. Where there are faults, the scenario's own bounds stand.
patience()
{
    [ "$2" != sim ] && ! grep -q '^at ' "$1" || return
    echo --set heartbeat_miss=10s
    sed -n 's/^ *region "\([^"]*\)".*/--set region.\1.op_deadline=10s --set region.\1.close_deadline=30s/p' "$1"
}

for scenario in scenarios/writeback/*.lua; do
    for fabric in ${FABRICS:-tcp sockets sim}; do
        n=$((n + 1))
        rm -rf "$work/run"
        # shellcheck disable=SC2046 # words
        timeout 120 "$farline" run "$scenario" --fabric "$fabric" $(patience "$scenario" "$fabric") \
            --out "$work/run" >"$work/out" 2>&1
        rc=$?
        if [ $rc -eq 0 ]; then
            echo "ok $n - $scenario on $fabric"
            noted "$scenario" "$fabric" held -
        else
            echo "not ok $n - $scenario on $fabric: exit status $rc"
            noted "$scenario" "$fabric" failed "exit status $rc"
            sed 's/^/# /' "$work/out" | tail -n 40
            bad=1
        fi
    done
done
[ $n -ge 20 ] || bad=1
echo "1..$n"
exit $bad
