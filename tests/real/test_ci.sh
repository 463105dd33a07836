#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The scripts of ci/ must say so when something is wrong: ci/run-tests on programs that fail in each
# way, ci/deps where it cannot install.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
lane=selftest-$$
trap 'rm -rf "$work" "$top/build/lanes/$lane.counts" "$top/build/logs/$lane"' EXIT
n=0
bad=0

report()
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$work/out"
        bad=1
    fi
}

# program NAME: a test program whose text is on standard input
program()
{
    cat >"$work/$1"
    chmod +x "$work/$1"
}

# expect "P F S" TEXT PROGRAM...: counts, and a line that must be there
expect()
{
    local counts=$1 text=$2
    shift 2
    (cd "$work" && "$top/ci/run-tests" "$lane" --timeout 3 "${@/#/$work/}") >"$work/out" 2>&1
    local rc=$?
    [ "$(cat "$top/build/lanes/$lane.counts")" = "$counts" ] && grep -q -- "$text" "$work/out" &&
        { [ $rc -eq 0 ] || [ "${counts#* }" != "0 ${counts##* }" ]; } &&
        { [ $rc -ne 0 ] || [ "${counts#* }" = "0 ${counts##* }" ]; }
    report $? "$* gives $counts and says '$text'"
}

program good.sh <<<'#!/bin/sh
exit 0'
program bad.sh <<<'#!/bin/sh
echo the reason; exit 1'
program skip.sh <<<'#!/bin/sh
echo no such device here; exit 77'
program tap.sh <<<'#!/bin/sh
echo "ok 1 - a"; echo "not ok 2 - b"; echo "1..3"; exit 1'
program lost.sh <<<'#!/bin/sh
echo "ok 1 - a"; kill -9 $$'
program hang.sh <<<'#!/bin/sh
sleep 60'
program orphan.sh <<<'#!/bin/sh
setsid sleep 60 >/dev/null 2>&1 &
exit 0'
program empty <<<'#!/bin/sh
exit 0'
program quiet <<<'#!/bin/sh
echo "[==========] Running 0 test(s)."'

expect "1 0 0" "1 passed, 0 failed" good.sh
expect "0 1 0" "the reason" bad.sh
expect "0 1 0" "unexpected skip" skip.sh
expect "1 2 0" "not ok 2 - b" tap.sh
expect "1 1 0" "exit status 137" lost.sh
expect "0 1 0" "timed out after 3 s" hang.sh
expect "1 1 0" "left processes behind" orphan.sh
expect "0 1 0" "ran no test" empty
expect "0 1 0" "ran no test" quiet
expect "0 1 0" "ran no test"
expect "1 1 0" "1 passed, 1 failed" good.sh bad.sh

mkdir "$work/empty-path"
PATH=$work/empty-path /bin/bash "$top/ci/deps" demo >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q 'not Debian' "$work/out" && grep -q libfabric-dev "$work/out"
report $? "ci/deps without Debian's tools names the packages"

mkdir "$work/bin"
printf '#!/bin/sh\nexit 0\n' >"$work/bin/dpkg-query"
cp "$work/bin/dpkg-query" "$work/bin/apt-get"
printf '#!/bin/sh\necho 1000\n' >"$work/bin/id"
chmod +x "$work"/bin/*
PATH=$work/bin:$PATH "$top/ci/deps" demo >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q 'takes root' "$work/out" && grep -q 'apt-get install .* libfabric-dev' "$work/out"
report $? "ci/deps without root names the command"

"$top/ci/deps" everything >"$work/out" 2>&1
[ $? -eq 64 ]
report $? "ci/deps refuses an unknown profile"
echo "1..$n"
exit $bad
