#!lua flags=allow-oom
-- stop tells workers to cancel the handlers of tasks that run, and notes for an hour that these tasks are cancelled.
-- KEYS cancels state control
-- ARGV task id...
-- returns how many are noted
-- The field 'stops' of state BEFORE the rest: who missed the word sees by it that there is something new in cancels.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZCARD', KEYS[1])
redis.call('HSET', KEYS[2], 'stops', time[1] .. '.' .. time[2])
for _, id in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), id)
  redis.call('PUBLISH', KEYS[3], 'stop ' .. id)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 3600000))
return #ARGV
