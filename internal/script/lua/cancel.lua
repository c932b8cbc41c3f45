#!lua flags=allow-oom
-- cancel removes tasks that have not started, with a failure as their outcome; where a task is with a worker, or its place is not known, workers are told.
-- KEYS tasks due body counts cancels control crashes chunks
-- ARGV group, prefix of the queue's uniqueness locks, prefix of its reply streams, then per task: id, entry ('' when not known)
-- returns how many were removed here
assert(#ARGV >= 3 and #ARGV % 2 == 1, 'cancel: malformed arguments')
redis.call('ZCARD', KEYS[2]) -- reads BEFORE the first write: a key of a wrong type must fail the call while nothing of it is done
redis.call('HLEN', KEYS[3])
redis.call('ZCARD', KEYS[5])
local removed = 0
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- finish releases the uniqueness lock of a task that is removed, and tells whoever waits for its outcome.
local function finish(header, id)
  local hash = string.match(header, ' uq=(%w+)')
  if hash and redis.pcall('GET', ARGV[2] .. hash) == id then redis.call('DEL', ARGV[2] .. hash) end
  local reply = string.match(header, ' re=(%w+)')
  if reply then
    local name, attempt = string.match(header, '^%S+ ([%w%._-]+)') or '', string.match(header, ' a=(%d+)') or '1'
    redis.pcall('XADD', ARGV[3] .. reply, 'NOMKSTREAM', '*', id, '-{"function":"' .. name .. '","attempt":' .. attempt ..
      ',"reason":"cancelled","message":"it was cancelled before it started"}')
  end
end

-- What a leaving worker handed back waits with the consumer 'released': nobody runs it.
local function running(entry)
  local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], entry, entry, 1)
  if rows['err'] or #rows == 0 then return false end
  if rows[1][2] ~= 'released' then return true end
  redis.call('XACK', KEYS[1], ARGV[1], entry)
  return false
end

for i = 4, #ARGV, 2 do
  local id, entry = ARGV[i], ARGV[i + 1]
  local stored = {}
  if string.find(entry, '^%d+%-%d+$') then stored = redis.pcall('XRANGE', KEYS[1], entry, entry) end -- an error: its place is not known
  local body = redis.call('HGET', KEYS[3], id)
  if redis.call('ZREM', KEYS[2], id) == 1 then
    local header = string.match(body or '', '^v%d+ ([^\n]*)')
    redis.call('HDEL', KEYS[3], id)
    finish(header or '', id)
    removed = removed + 1
  elseif #stored > 0 and not running(entry) then
    redis.call('XDEL', KEYS[1], entry)
    redis.pcall('HDEL', KEYS[7], entry, entry .. '!')
    redis.pcall('HDEL', KEYS[8], entry)
    local header = string.match(stored[1][2][2] or '', '^[^\n]*')
    finish(header, id)
    removed = removed + tonumber(string.match(header, ' n=(%d+)') or 1)
  else
    if #stored == 0 then redis.call('ZADD', KEYS[5], string.format('%.0f', now), id) end
    redis.call('PUBLISH', KEYS[6], 'cancel ' .. id)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now - 3600000))
if removed > 0 then redis.pcall('HINCRBY', KEYS[4], 'cancelled', removed) end
return removed
