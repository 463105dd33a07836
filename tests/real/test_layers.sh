#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The include rule must fail on each planted violation and on an empty tree.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
bad=0

# expect pass|fail NAME: runs the check on $work/tree
expect()
{
    local got=pass
    "$top/ci/layers" --root "$work/tree" >"$work/out" 2>&1 || got=fail
    n=$((n + 1))
    if [ "$got" = "$1" ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2: expected $1, got $got"
        sed 's/^/# /' "$work/out"
        bad=1
    fi
}

fresh()
{
    rm -rf "$work/tree"
    mkdir -p "$work/tree"
    (cd "$top" && cp -r emu coherence transport "$work/tree/")
}

# plant FILE LINE: the tree with one more line in that file
plant()
{
    fresh
    printf '%s\n' "$2" >>"$work/tree/$1"
    expect fail "$1 with $2"
}

fresh
expect pass "clean tree"
plant emu/base/planted.c '#include "coherence/tracker.h"'
plant emu/base/planted.c '#include <xxhash.h>'
plant emu/base/planted.c '#include <event2/event.h>'
plant coherence/planted.c '#include "transport/fabric.h"'
plant coherence/planted.c '#include "emu/plan.h"'
plant coherence/planted.h '  #  include  "emu/mech/writeback.h" // spaces'
plant transport/planted.c '#include "coherence/tracker.h"'
plant transport/planted.c '#include "emu/mech/writeback.h"'
plant transport/planted.c '#include <lua.h>'
plant emu/mech/planted.c '#include "coherence/tracker.h"'
plant emu/mech/planted.c '#include "transport/wire.h"'
plant emu/mech/planted.c '#include <stdio.h>'
plant emu/mech/planted.c '#include <time.h>'
plant emu/mech/planted.c '#include "../plan.h"'
plant emu/planted.c '#include "tests/support/util.h"'
plant emu/planted.c '#include "plan.h"'
plant emu/planted.c '#include SOME_MACRO'
fresh
mkdir -p "$work/tree/emu/deeper"
echo '#include "emu/plan.h"' >"$work/tree/emu/deeper/planted.c"
expect fail "a directory without a rule"
rm -rf "$work/tree"
mkdir -p "$work/tree"
expect fail "empty tree"
fresh
rm -rf "$work/tree/coherence"
expect fail "tree without one of the layers"
echo "1..$n"
exit $bad
