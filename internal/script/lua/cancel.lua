#!lua flags=allow-oom
-- cancel removes tasks that have not started; where a task is with a worker, or its place is not known, workers are told.
-- KEYS tasks due body counts cancels control
-- ARGV group, prefix of the queue's uniqueness locks, then per task: id, entry ('' when not known)
-- returns how many were removed here
local removed = 0
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function unlock(header, id)
  local hash = string.match(header, ' uq=(%w+)')
  if hash and redis.call('GET', ARGV[2] .. hash) == id then redis.call('DEL', ARGV[2] .. hash) end
end

local function pending(entry)
  local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], entry, entry, 1)
  return not rows['err'] and #rows > 0
end

for i = 3, #ARGV, 2 do
  local id, entry = ARGV[i], ARGV[i + 1]
  local stored = {}
  if entry ~= '' then stored = redis.call('XRANGE', KEYS[1], entry, entry) end
  if redis.call('ZREM', KEYS[2], id) == 1 then
    local header = string.match(redis.call('HGET', KEYS[3], id) or '', '^%d+ ([^\n]*)')
    redis.call('HDEL', KEYS[3], id)
    unlock(header or '', id)
    removed = removed + 1
  elseif #stored > 0 and not pending(entry) then
    redis.call('XDEL', KEYS[1], entry)
    unlock(stored[1][2][4] or '', id)
    removed = removed + 1
  else
    if #stored == 0 then redis.call('ZADD', KEYS[5], string.format('%.0f', now), id) end
    redis.call('PUBLISH', KEYS[6], 'cancel ' .. id)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now - 3600000))
if removed > 0 then redis.call('HINCRBY', KEYS[4], 'cancelled', removed) end
return removed
