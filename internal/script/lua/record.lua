#!lua
-- record adds what a worker did to the present minute of some queues; a minute that is over becomes an entry of trend.
-- KEYS now trend tasks due counts... (of each queue)
-- ARGV group, then per queue: how many fields, then field and number of each
-- returns how many queues were recorded: one with a key of a wrong type is left out
-- The minutes are those of Redis. A call must not be repeated: it would count twice.
local counted = 2
for _ = 1, #KEYS, 5 do
  local fields = tonumber(ARGV[counted])
  assert(fields and fields >= 0 and fields % 1 == 0, 'record: malformed arguments')
  counted = counted + 1 + 2 * fields
end
assert(counted == #ARGV + 1, 'record: malformed arguments') -- BEFORE the loops that the numbers are for: nothing can end a script that has written
local most, kept = 600, 1440 -- fields of a minute, minutes
local time = redis.call('TIME')
local minute = math.floor(tonumber(time[1]) / 60) * 60000

-- fullness is what waits, runs and is due later, and how many were ever stored; nil for a key of a wrong type.
local function fullness(i)
  local pending = redis.pcall('XPENDING', KEYS[i + 2], ARGV[1]) -- an error: there is no group yet
  local running = pending['err'] and 0 or pending[1]
  local entries, delayed, stored = redis.pcall('XLEN', KEYS[i + 2]), redis.pcall('ZCARD', KEYS[i + 3]), redis.pcall('HMGET', KEYS[i + 4], 'enqueued')
  if type(entries) ~= 'number' or type(delayed) ~= 'number' or stored['err'] then return end
  return {math.max(entries - running, 0), running, delayed, tonumber(stored[1] or '0') and stored[1] or '0'}
end

-- turn ends the minute that is there, if it is over, and returns which one goes on and how many were stored before it.
local function turn(i)
  local held = redis.call('HMGET', KEYS[i], 'minute', 'from', 'enqueued')
  if not tonumber(held[1]) then return minute, '0' end
  if tonumber(held[1]) >= minute then return tonumber(held[1]), held[2] end
  redis.pcall('XADD', KEYS[i + 1], 'MAXLEN', kept, held[1] .. '-0', 'v1', table.concat(redis.call('HGETALL', KEYS[i]), ' '))
  redis.call('DEL', KEYS[i])
  return minute, held[3]
end

local at, recorded = 2, 0
for i = 1, #KEYS, 5 do
  local full = fullness(i)
  local room = redis.pcall('HLEN', KEYS[i])
  if full and type(room) == 'number' then
    local present, from = turn(i)
    if (tonumber(from) or 0) > tonumber(full[4]) then from = '0' end
    redis.call('HSET', KEYS[i], 'minute', string.format('%.0f', present), 'from', from or '0',
      'waiting', full[1], 'running', full[2], 'delayed', full[3], 'enqueued', full[4])
    for f = at + 1, at + 2 * tonumber(ARGV[at]), 2 do
      local field = ARGV[f]
      if room > most and redis.call('HEXISTS', KEYS[i], field) == 0 then field = '...' .. (string.match(field, ':.*$') or '') end
      if redis.pcall('HINCRBY', KEYS[i], field, ARGV[f + 1]) == tonumber(ARGV[f + 1]) then room = room + 1 end
    end
    recorded = recorded + 1
  end
  at = at + 1 + 2 * tonumber(ARGV[at])
end
return recorded
