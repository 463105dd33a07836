#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ci/rxe-guest itself: what it hands back, and that nothing outlives it, however a guest ends.
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
bad=0

check() # STATUS NAME LOG
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$3"
        bad=1
    fi
}

# processes that were started with this mark and still live
alive()
{
    grep -lsaz "^RXE_MARK=$1-$$\$" /proc/[0-9]*/environ
}

# guest NAME ARG...: starts one with a mark, its output in NAME.log, its status in NAME.rc
guest()
{
    local name=$1
    shift
    (
        RXE_MARK=$name-$$ ci/rxe-guest "$@" >"$work/$name.log" 2>&1
        echo $? >"$work/$name.rc"
    ) &
}

# once before the others: makes what is cached, tells whether this machine can
guest status --timeout 120 sh -c 'echo from the guest; rdma link; exit 7'
wait
if [ "$(cat "$work/status.rc")" = 77 ]; then
    tail -n 1 "$work/status.log"
    exit 77
fi
[ "$(cat "$work/status.rc")" = 7 ] && grep -q 'from the guest' "$work/status.log" &&
    grep -q 'rxe0/1 state ACTIVE' "$work/status.log"
check $? 'output and exit status of the command come back' "$work/status.log"

guest hang --timeout 25 sh -c 'echo now it hangs; sleep 1000'
guest crash --timeout 120 sh -c 'echo c >/proc/sysrq-trigger; sleep 1000'
wait
[ "$(cat "$work/hang.rc")" = 124 ] && grep -q 'now it hangs' "$work/hang.log" &&
    grep -q 'did not end within 25 s' "$work/hang.log" && grep -q 'guest: started' "$work/hang.log"
check $? "a guest that hangs is ended at its deadline, with its console's last lines" "$work/hang.log"
[ -z "$(alive hang)" ]
check $? 'a guest that hangs: no process is left' "$work/hang.log"
[ "$(cat "$work/crash.rc")" = 125 ] && grep -q 'Kernel panic' "$work/crash.log"
check $? 'a kernel that panics is told, with what it said' "$work/crash.log"

RXE_MARK=killed-$$ ci/rxe-guest --timeout 60 sh -c 'echo up; sleep 1000' >"$work/killed.log" 2>&1 &
pid=$!
for _ in $(seq 200); do
    grep -q up "$work/killed.log" && break
    sleep 0.2
done
grep -q up "$work/killed.log" && [ -n "$(alive killed)" ]
check $? 'a guest whose runner will be killed is up' "$work/killed.log"
kill -KILL $pid
wait $pid 2>/dev/null
for _ in $(seq 50); do
    [ -z "$(alive killed)" ] && break
    sleep 0.1
done
[ -z "$(alive killed)" ]
check $? 'a killed runner leaves no guest behind' "$work/killed.log"

mkdir "$work/bin"
PATH=$work/bin /bin/bash ci/rxe-guest true >"$work/out" 2>&1
[ $? -eq 77 ] && grep -q 'skipped: ' "$work/out"
check $? 'a machine without the tools: skipped, with what is missing' "$work/out"
ci/rxe-guest --timeout soon true >"$work/out" 2>&1
[ $? -eq 64 ]
check $? 'a deadline that is none: usage' "$work/out"
ci/rxe-guest --link "$work/nowhere:c" true >"$work/out" 2>&1
[ $? -eq 64 ]
check $? 'a link that is none: usage' "$work/out"
echo "1..$n"
exit $bad
