-- SPDX-License-Identifier: Apache-2.0
-- Called with (rounds, seed): builds, sorts and forgets tables and strings, and returns a checksum
-- over all of it. The order of pairs() differs between runs, so nothing here depends on it.
local rounds, seed = ...

local state = seed % 2147483647
local function random(n)
    state = (state * 48271 + 11) % 2147483647
    return state % n + 1
end

local sum = 0
local function add(v)
    sum = (sum * 31 + v) % 9007199254740881
end

local kept = {}
for round = 1, rounds do
    -- A sorted list of records.
    local list = {}
    for i = 1, 400 do
        list[i] = { key = random(100000), name = string.format("record %06d/%d", random(999999), i) }
    end
    table.sort(list, function(a, b)
        if a.key ~= b.key then return a.key < b.key end
        return a.name < b.name
    end)
    for i = 1, #list, 7 do
        add(list[i].key)
        add(#list[i].name)
    end

    -- An index by text, kept for some rounds and then dropped piece by piece.
    local index = {}
    for i = 1, #list do
        index[list[i].name] = (index[list[i].name] or 0) + list[i].key
    end
    kept[round % 16 + 1] = { list = list, index = index }
    local old = kept[random(16)]
    if old then
        for i = 1, #old.list, 11 do
            add(old.index[old.list[i].name])
            old.list[i].name = old.list[i].name:upper()
            old.index[old.list[i].name] = old.list[i].key
        end
    end

    -- One long text, cut and joined again.
    local parts = {}
    for i = 1, #list do parts[i] = list[i].name end
    local text = table.concat(parts, ";")
    for word in text:gmatch("[^;]+") do add(#word) end
    add(text:byte(random(#text)))
end
return string.format("%d %d", rounds, sum)
