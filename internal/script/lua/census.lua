#!lua flags=no-writes
-- census tells what one queue holds at a moment.
-- KEYS tasks due dead chunks state counts now trend
-- ARGV group, prefix of the queue's leases
-- returns the time in ms, entries, of them pending with a worker, the first one, 1 where a chunk was seen, due, dead, paused, consumers, of them with a lease, the last minute that is over, then names and values of the totals
local time = redis.call('TIME')
local entries = redis.call('XLEN', KEYS[1])
local first, chunk = '', redis.call('HLEN', KEYS[4]) > 0
local running, names = 0, {}

-- see notes whether an entry is a chunk, without a search through its payload.
local function see(found)
  if not found[1] then return end
  local header = string.match(string.sub(found[1][2][2] or '', 1, 4096), '^[^\n]*')
  chunk = chunk or string.find(header, ' n=%d') ~= nil
  return found[1][1]
end

if entries > 0 then
  first = see(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)) or ''
  see(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1))
end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1]) -- an error: there is no group yet
for _, consumer in ipairs(consumers['err'] and {} or consumers) do
  local row = {}
  for i = 1, #consumer, 2 do row[consumer[i]] = consumer[i + 1] end
  if row['name'] ~= 'released' then
    running = running + row['pending']
    names[#names + 1] = ARGV[2] .. row['name']
  end
end
local alive = 0
for from = 1, #names, 1000 do -- Lua's stack takes some thousand; the prefix itself is the key of nobody
  alive = alive + redis.call('EXISTS', ARGV[2], unpack(names, from, math.min(from + 999, #names)))
end
-- recent is the last minute that is over, as trend keeps it; '' when nothing was done in it.
local function recent()
  local minute = string.format('%.0f', math.floor(tonumber(time[1]) / 60) * 60000 - 60000)
  if redis.call('HGET', KEYS[7], 'minute') == minute then return table.concat(redis.call('HGETALL', KEYS[7]), ' ') end
  local entry = redis.call('XRANGE', KEYS[8], minute .. '-0', minute .. '-0')[1]
  return entry and entry[2][2] or ''
end

local answer = {string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)), entries, running, first, chunk and 1 or 0,
  redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]), redis.call('HGET', KEYS[5], 'paused') or '', #names, alive, recent()}
for _, text in ipairs(redis.call('HGETALL', KEYS[6])) do answer[#answer + 1] = text end
return answer
