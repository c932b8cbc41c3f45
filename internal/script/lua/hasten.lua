#!lua flags=allow-oom
-- hasten makes tasks due now that are due later, and wakes the workers; a cancel that was noted is taken back.
-- KEYS due control cancels
-- ARGV task id...
-- returns per task 1, or 0 when it is not due later
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local answer, found = {}, false
for i = 1, #ARGV do
  local id = ARGV[i]
  local score = redis.call('ZSCORE', KEYS[1], id)
  answer[i] = score and 1 or 0
  if score then
    if tonumber(score) > now then redis.call('ZADD', KEYS[1], string.format('%.3f', now), id) end
    redis.pcall('ZREM', KEYS[3], id)
    found = true
  end
end
if found then redis.call('PUBLISH', KEYS[2], 'due ' .. string.format('%.0f', math.ceil(now))) end
return answer
