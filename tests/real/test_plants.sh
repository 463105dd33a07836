#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Planted bugs between real processes over tcp: the run ends with 1 and verdict.json names the id that
# must catch them; with that id's oracle blind it is not violated any more. Without a plant it holds.
set -u
cd "$(dirname "$0")/../.." || exit 1
farline=${FARLINE:-build/farline}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
bad=0

cat >"$work/s.lua" <<'END'
title "planted bugs between real processes"
node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "1M" }
region "heap" { on = "c0", size = "1M", backed_by = { "m0" }, period = "5ms", sample = "1ms" }
workload "mix" { region = "heap", kind = "random", threads = 2, ops = 1500, len = 200 }
check { "W1", "W2", "W3", "W4", "W5", "W8" }
END
# Everything fits, and nothing is written back before close: there are writes in flight then.
sed 's/256K/1M/; s/period = "5ms"/period = "10s"/' "$work/s.lua" >"$work/late.lua"
# Long against what a busy host adds: a period is skipped or it is not.
cat >"$work/period.lua" <<'END'
title "a period that is long against what a busy host adds"
node "c0" { role = "compute", device_memory = "256K" }
node "m0" { role = "memory", memory = "256K" }
region "heap" { on = "c0", size = "256K", backed_by = { "m0" }, period = "100ms", sample = "5ms" }
workload "mix" { region = "heap", kind = "zipf", ops = 3000000, len = 64 }
check { "W6" }
END

# run FILE PLANT...: runs with these plants; the exit status
run()
{
    local file=$1 args=() p
    shift
    for p in "$@"; do args+=(--plant "$p"); done
    rm -rf "$work/run"
    timeout 30 "$farline" run "$file" "${args[@]}" --out "$work/run" >"$work/out" 2>&1
}

# figure ID NAME: "checked" or "violated" of a check in the last verdict; nothing when it is not there
figure()
{
    awk -v id="\"$1\"," -v name="\"$2\":" '
        /^  {/ { this = value = "" }
        $1 == name { value = $2 + 0 }
        $1 == "\"id\":" { this = $2 }
        /^  }/ && this == id { print value }' "$work/run/verdict.json"
}

result() # OK NAME
{
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        tail -n 20 "$work/out" | sed 's/^/# /'
        bad=1
    fi
}

# caught FILE PLANT ID: seen and not seen
caught()
{
    local rc
    run "$1" "$2"
    rc=$?
    [ $rc -eq 1 ] && [ "$(figure "$3" violated)" -gt 0 ]
    result $? "$2 is caught by $3 (exit status $rc)"
    run "$1" "$2" "blind-$3"
    rc=$?
    [ "$(figure "$3" violated)" = 0 ] && [ "$(figure "$3" checked)" = 0 ]
    result $? "$2 is not seen with $3 blind (exit status $rc)"
}

for file in s late period; do
    run "$work/$file.lua"
    result $? "$file holds where nothing is planted"
done
caught "$work/late.lua" W-close-before-last-ack W1
run "$work/late.lua" W-retire-on-post
grep -q 'byte .* of region heap: 0x' "$work/run/verdict.json" &&
    grep -q '"writer": "c0, workload mix, thread [01], access' "$work/run/verdict.json" &&
    grep -q 'last written by.*c0, workload mix' "$work/run/report.html"
result $? "it is told what was expected and who stored there last"
caught "$work/s.lua" W-drop-unacked W2
caught "$work/s.lua" W-send-clean W4
caught "$work/s.lua" W-miscount W5
caught "$work/s.lua" W-over-capacity W8
caught "$work/period.lua" W-skip-period W6
caught scenarios/writeback/lost_ack.lua W-skip-fence W7
echo "1..$n"
exit $bad
