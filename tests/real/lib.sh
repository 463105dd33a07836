# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For tests of the program's commands: an empty directory to work in, results as TAP. Whoever reads this
# ends with done_testing.
#   FARLINE   the program (build/farline)
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # for whoever reads this
farline=${FARLINE:-$top/build/farline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n=0
bad=0

# check STATUS NAME: one result; the file out is shown when it is bad
check()
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' out
        bad=1
    fi
}

# gives STATUS TEXT NAME COMMAND...: exit status and a text in the output, which is kept in out
gives()
{
    local want=$1 text=$2 name=$3
    shift 3
    timeout 100 "$@" >out 2>&1 </dev/null
    local rc=$?
    [ $rc = "$want" ] && grep -q -- "$text" out
    check $? "$name"
}

# has TEXT FILE NAME
has()
{
    grep -q -- "$1" "$2" 2>/dev/null
    check $? "$3"
}

done_testing()
{
    echo "1..$n"
    exit $bad
}
