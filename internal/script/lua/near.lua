#!lua flags=no-writes
-- near finds the place in a stream where the IDs of tasks are of a time: clocks of clients are not that of Redis, and tasks may have come in late.
-- KEYS stream
-- ARGV time in ms, '1' to leave out tasks that came through due: their IDs are older than their neighbours', most probes
-- returns the entry ID to begin at
local alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
local wanted = tonumber(ARGV[1])

local function millis(id) return tonumber(string.match(id, '^%d+')) end

-- made is the time in the ID of the task in an entry, nothing where it does not tell.
local function made(fields)
  local header = string.match(string.sub(fields[2] or '', 1, 1024), '^[^\n]*')
  if not string.match(header, '^%w+ ') or ARGV[2] == '1' and string.find(header, ' d=1', 1, true) then return end
  local ms = 0
  for i = 1, 10 do
    local digit = string.find(alphabet, string.sub(header, i, i), 1, true)
    if not digit then return end
    ms = ms * 32 + digit - 1
  end
  return ms
end

local probes = tonumber(ARGV[3])

-- look tells how far the ID of the first task at an entry or behind it is from what is wanted, and where that task lies.
local function look(entry)
  probes = probes - 1
  for _, found in ipairs(redis.call('XRANGE', KEYS[1], entry, '+', 'COUNT', 3)) do
    local ms = made(found[2])
    if ms then return ms - wanted, found[1] end
  end
end

local first, last = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1], redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not first then return '0-0' end
local low, high = millis(first[1]), millis(last[1]) + 1
local below, above -- how far the IDs there are from what is wanted
local at, tried = wanted, 0
while high - low > 1 and probes > 0 do
  tried = tried + 1
  at = math.max(low + 1, math.min(high - 1, math.floor(at)))
  local off, place = look(string.format('%.0f', at))
  if not off then -- nothing behind it tells
    high, above = at, nil
  elseif off < 0 then
    low, below = math.min(millis(place), high - 1), off
  else
    high, above = at, off
  end
  if off and tried <= 3 then
    at = millis(place) - off -- were the clock off by the same everywhere
  elseif below and above and tried % 3 > 0 then
    at = low + (high - low) * below / (below - above)
  else
    at = (low + high) / 2
  end
end

-- Many may have come in the same millisecond.
local ms = string.format('%.0f', low)
local newest = redis.call('XREVRANGE', KEYS[1], ms, ms, 'COUNT', 1)[1]
local from, to = 0, newest and tonumber(string.match(newest[1], '%d+$')) or 0
while to - from > 200 and probes > 0 do
  local middle = math.floor((from + to) / 2)
  local off, place = look(ms .. '-' .. string.format('%.0f', middle))
  if off and off < 0 and millis(place) == low then from = middle else to = middle end
end
return ms .. '-' .. string.format('%.0f', from)
