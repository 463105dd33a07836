-- SPDX-License-Identifier: Apache-2.0
-- Program for workloads of kind "lua": called with (rounds, seed), returns a text that stands for
-- everything it computed. It builds records, sorts and indexes them, joins strings and throws old
-- generations away, so that the collector has work. No more than 256 rows are sorted at a time: beyond,
-- table.sort may ask the clock, and no two runs would be alike.
local rounds, seed = ...

local state = seed % 2147483647
local function random(n)
    state = (state * 16807) % 2147483647
    return state % n + 1
end

local function record(i)
    return { id = i, key = string.format("k%06d", random(100000)), hits = 0, tags = { random(9) } }
end

local kept, sum = {}, 0
for round = 1, rounds do
    local rows, index = {}, {}
    for i = 1, 240 do
        local r = record(i)
        rows[i] = r
        index[r.key] = r
    end
    table.sort(rows, function(a, b)
        if a.key == b.key then return a.id < b.id end
        return a.key < b.key
    end)
    for i = 1, 240 do
        local r = index[rows[random(240)].key]
        r.hits = r.hits + 1
        r.tags[#r.tags + 1] = round
    end
    local words = {}
    for i, r in ipairs(rows) do
        sum = (sum * 31 + r.id * 7 + r.hits + #r.tags) % 1000000007
        if i % 10 == 0 then words[#words + 1] = r.key end
    end
    kept[round % 32 + 1] = { rows = rows, text = table.concat(words, ",") }
end

local tail = {}
for i = 1, 32 do
    if kept[i] then tail[#tail + 1] = kept[i].text:sub(1, 20) end
end
return sum .. ":" .. table.concat(tail, ";")
