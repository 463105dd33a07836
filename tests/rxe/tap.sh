# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For scripts that run inside a guest of ci/rxe-guest: results as TAP on standard output, and rows
# "scenario fabric place outcome reason" in /out/matrix.
n=0
bad=0
place=${FARLINE_RXE_PEER+two guests}
place=${place:-guest}
log=/tmp/log

report() # STATUS NAME: the log is shown when it failed
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        tail -n 45 "$log" | sed 's/^/# /'
        bad=1
    fi
}

took() # START: seconds since
{
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'
}

# program LIMIT COMMAND...: a cmocka program, each of its cases one of ours
program()
{
    local limit=$1 start=$EPOCHREALTIME rc name
    shift
    timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1
    rc=$?
    while read -r name; do
        report 0 "$name"
    done < <(sed -n 's/^\[       OK \] //p' "$log")
    while read -r name; do
        report 1 "$name"
    done < <(sed -n 's/^\[  FAILED  \] \([^:]*\)$/\1/p' "$log" | sort -u)
    grep -q '^\[  PASSED  \] [1-9]' "$log" && [ $rc -eq 0 ]
    report $? "${1##*/} as a whole, $(took "$start")"
}

# matrix SCENARIO OUTCOME REASON
matrix()
{
    printf '%s\tverbs\t%s\t%s\t%s\n' "$1" "$place" "$2" "$3" >>/out/matrix
}

# farline NAME [SETTING...]: runs it over verbs, with the options of $options besides; its exit status
options=()
farline()
{
    local name=$1 sets=() s
    shift
    for s in "$@"; do
        sets+=(--set "$s")
    done
    timeout --kill-after=5 250 "$FARLINE" run "scenarios/$name.lua" --fabric verbs \
        --bind "$FARLINE_RXE_ADDR" --set deadline=240s "${options[@]}" "${sets[@]}" \
        --out "/tmp/runs/$name" >"$log" 2>&1 </dev/null
}

# scenario NAME [SETTING...]: must hold
scenario()
{
    local name=$1 start=$EPOCHREALTIME rc
    farline "$@"
    rc=$?
    report $rc "scenarios/$name.lua over verbs, $(took "$start")"
    if [ $rc -eq 0 ]; then
        matrix "$name" held -
    else
        matrix "$name" failed "$(sed -n 's/^verdict *//p' "$log" | head -n 1)"
    fi
}

# listed FILE COMMAND...: the command with the words of each line
listed()
{
    local file=$1 words
    shift
    while read -ra words; do
        case ${words[0]-} in '' | '#'*) continue ;; esac
        "$@" "${words[@]}" </dev/null
    done <"$file"
}

# outcome NAME "METRIC..." [SETTING...]: all invariants hold over verbs and exactly these expectations,
# which are those of a fabric that is served by the process, are not met
outcome()
{
    local name=$1 want=$2 start=$EPOCHREALTIME rc seen
    shift 2
    farline "$name" "$@"
    rc=$?
    seen=$(sed -n 's/^  NOT MET .*: expected \([a-z_.]*\) .*/\1/p' "$log" | xargs)
    [ $rc -eq 1 ] && [ "$seen" = "$want" ] && ! grep -qE '^  [A-Z][0-9]+ +VIOLATED' "$log"
    rc=$?
    report $rc "scenarios/$name.lua over verbs: not met is $want, all else holds, $(took "$start")"
    if [ $rc -eq 0 ]; then
        matrix "$name" held "as verbs requires it: a stopped process goes on serving, so no $want"
    else
        matrix "$name" failed "$(sed -n 's/^verdict *//p' "$log" | head -n 1)"
    fi
}

finish()
{
    echo "1..$n"
    exit $bad
}
