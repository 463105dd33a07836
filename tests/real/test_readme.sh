#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What README.md shows must work: its scenario is valid, its commands run, its names exist.
# shellcheck disable=SC2013,SC2016 # words without spaces on purpose; backquotes are markdown
set -u
cd "$(dirname "$0")/../.." || exit 1
farline=${FARLINE:-build/farline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
bad=0

report()
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$work/out" | tail -n 20
        bad=1
    fi
}

sed -n '/^```lua$/,/^```$/p' README.md | sed '/^```/d' >"$work/readme.lua"
"$farline" plan "$work/readme.lua" >"$work/out" 2>&1
report $? "the scenario in README.md is valid"

while read -r command; do
    want=0
    [[ $command = *--plant* ]] && want=1
    read -ra words <<<"${command%%#*}"
    [ "${words[1]}" = run ] && words+=(--out "$work/run")
    rm -rf "$work/run"
    timeout 100 "$farline" "${words[@]:1}" >"$work/out" 2>&1
    [ $? -eq $want ]
    report $? "${words[*]:0:6} ends with $want"
done < <(sed -n 's/^\(build\/farline .*\)/\1/p' README.md)

for command in $(sed -n 's/^| `farline \([a-z]*\).*/\1/p' README.md); do
    "$farline" --help 2>&1 | tee "$work/out" | grep -qE "^ +$command( |\$)"
    report $? "farline $command is a command"
done
for target in $(grep -o '`make [a-z-]*' README.md | cut -d' ' -f2 | sort -u); do
    grep -q "^$target:" Makefile
    report $? "make $target is a target"
done
for file in $(grep -oE '(ci|emu|scenarios|tests)/[a-z0-9_./-]*[a-z0-9]' README.md | sort -u); do
    [ -e "$file" ]
    report $? "$file is there"
done
ci/matrix --check >"$work/out" 2>&1
report $? "the table of scenarios has a row for each"
[ $n -gt 20 ]
report $? "README.md was read"
echo "1..$n"
exit $bad
