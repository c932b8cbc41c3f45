#!lua flags=allow-oom
-- retry moves a running task to the tasks that are due later, if its entry is not with another worker by now.
-- KEYS tasks due body counts crashes control [reply]
-- ARGV group consumer entry id body delay counter
-- returns 1 moved, 0 done elsewhere or not ours any more
assert(#ARGV == 7 and string.find(ARGV[3], '^%d+%-%d+$') and string.find(ARGV[6], '^%-?%d+$'), 'retry: malformed arguments')
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #pending > 0 and pending[1][2] ~= ARGV[2] then return 0 end
-- Reads BEFORE the gate: a key of a wrong type must not cost the task.
redis.call('HLEN', KEYS[3])
local head = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[3]) + redis.call('XDEL', KEYS[1], ARGV[3]) == 0 then return 0 end

local time = redis.call('TIME')
local due = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 + tonumber(ARGV[6])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
redis.call('ZADD', KEYS[2], string.format('%.3f', due), ARGV[4])
redis.pcall('HINCRBY', KEYS[4], ARGV[7], 1)
if redis.call('EXISTS', KEYS[5]) == 1 then redis.pcall('HDEL', KEYS[5], ARGV[3], ARGV[3] .. '!') end
if #head == 0 or tonumber(head[2]) > due then redis.call('PUBLISH', KEYS[6], 'due ' .. string.format('%.0f', math.ceil(due))) end
if KEYS[7] then redis.pcall('XADD', KEYS[7], 'NOMKSTREAM', '*', ARGV[4], '~due') end
return 1
