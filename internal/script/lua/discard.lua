#!lua flags=allow-oom
-- discard removes the checkpoint of a batch that has ended, or is not wanted any more.
-- KEYS batch cancels batches
-- ARGV owner epoch name mark ('+' by the owner itself; '' by somebody else: the owner is then told that it was taken over)
-- returns 1 removed, or was not there any more; 0 another process has taken the batch over
assert(#ARGV == 4 and tonumber(ARGV[2]), 'discard: malformed arguments')
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
if held[1] and held[1] ~= ARGV[1] and tonumber(held[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('ZREM', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1] .. ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - 3600000))
return 1
