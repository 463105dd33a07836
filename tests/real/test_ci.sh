#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The scripts of ci/ must say so when something is wrong: ci/run-tests on programs that fail in each
# way, ci/lanes on lanes that do, ci/deps where it cannot install.
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

# Two programs at once: each ends only when it has seen the other.
for me in one two; do
    program $me.sh <<END
#!/bin/bash
touch "$work/saw-$me"
for _ in {1..100}; do
    [ -e "$work/saw-one" ] && [ -e "$work/saw-two" ] && exit 0
    sleep 0.05
done
exit 1
END
done
JOBS=2 expect "2 0 0" "2 passed, 0 failed" one.sh two.sh

# A make that knows what lanes do: good ones meet each other, others fail, say nothing or hang.
program make <<'END'
#!/bin/bash
meet()
{
    touch "$LANES_DIR/in-$1"
    for _ in {1..100}; do
        [ -e "$LANES_DIR/in-$2" ] && break
        sleep 0.05
    done
    [ -e "$LANES_DIR/in-$2" ] && echo "$1 met $2"
}
case ${!#} in
lanes-common) echo 'common parts' ;;
lint) echo 'lint begins' && meet lint real && echo '2 0 1' >"$LANES_DIR/lint.counts" ;;
check-real) echo 'real begins' && meet real lint && echo '3 0 0' >"$LANES_DIR/real.counts" ;;
check-unit) echo '4 1 0' >"$LANES_DIR/unit.counts"; exit 2 ;;
check-sim) ;;
check-tsan) exit 2 ;;
check-asan) echo $$ >"$LANES_DIR/hangs"; exec sleep 60 ;;
esac
END

# lanes STATUS TEXT LANE...: exit status, and a text that must be in the output, its lines together
lanes()
{
    local want=$1 text=$2
    shift 2
    MAKE=$work/make LANES_DIR=$work/lanes "$top/ci/lanes" "$@" >"$work/out" 2>&1
    local rc=$?
    [ $rc -eq "$want" ] && [[ $(<"$work/out") == *"$text"* ]]
    report $? "ci/lanes $* ends with $want and says '${text//$'\n'/ / }'"
}

lanes 0 $'lint begins\nlint met real' lint real
lanes 0 $'real begins\nreal met lint' real lint
lanes 0 '5 passed, 0 failed, 1 skipped' real lint
lanes 1 '4 passed, 1 failed, 0 skipped' unit
lanes 1 'failed: ran no test' sim
lanes 1 '4 passed, 2 failed, 0 skipped' unit tsan
lanes 64 "unknown lane 'nonsense'; lanes: rxe lint unit" lint nonsense

MAKE=$work/make LANES_DIR=$work/lanes "$top/ci/lanes" asan tsan >"$work/out" 2>&1 &
lanes_pid=$!
for _ in {1..100}; do
    [ -s "$work/lanes/hangs" ] && break
    sleep 0.05
done
kill -TERM $lanes_pid
wait $lanes_pid
[ $? -eq 130 ] && ! kill -0 "$(cat "$work/lanes/hangs")" 2>/dev/null
report $? "ci/lanes ends its lanes when it is ended"

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
