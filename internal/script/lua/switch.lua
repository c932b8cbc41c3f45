#!lua flags=allow-oom
-- switch pauses a queue or lets it go on, and tells its workers.
-- KEYS state control
-- ARGV 'pause' or 'resume'
-- returns 1, or 0 when it was so already
local paused = redis.call('HGET', KEYS[1], 'paused')
if paused == '' or paused == '0' then paused = false end
local changed = 0
if ARGV[1] == 'pause' and not paused then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'paused', string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
  changed = 1
elseif ARGV[1] == 'resume' then
  redis.call('HDEL', KEYS[1], 'paused')
  changed = paused and 1 or 0
end
redis.call('PUBLISH', KEYS[2], ARGV[1]) -- also where nothing changed: a worker may have missed the first one
return changed
