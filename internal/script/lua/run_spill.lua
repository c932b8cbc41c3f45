#!lua flags=allow-oom
-- run_spill notes how many bytes an execution has sent to partitions in all, and ends the run when that is above its limit.
-- KEYS run running events
-- ARGV execution, bytes (0: they were removed again)
-- returns 'gone', or the state
assert(#ARGV == 2 and #ARGV[2] < 16 and string.find(ARGV[2], '^%d+$'), 'run_spill: malformed arguments')
local run = redis.call('HMGET', KEYS[1], 'state', 'limit', 'bytes')
if not run[1] then return 'gone' end
if run[1] == 'failed' or run[1] == 'done' then return run[1] end
local field, bytes = 'x' .. ARGV[1], tonumber(ARGV[2])
local noted = redis.call('HGET', KEYS[2], field) or '0'
local before = tonumber(noted)
redis.call('XLEN', KEYS[3])
assert(#noted < 16 and string.find(noted, '^%d+$') and tonumber(run[2] or '0') and string.find(run[3] or '0', '^%-?%d+$') and #(run[3] or '') < 18, 'run_spill: the record of the run is damaged')
if bytes == 0 and before == 0 then return run[1] end
if bytes == 0 then redis.call('HDEL', KEYS[2], field) else redis.call('HSET', KEYS[2], field, string.format('%.0f', bytes)) end
if redis.call('PTTL', KEYS[2]) == -1 then redis.call('PEXPIRE', KEYS[2], math.max(redis.call('PTTL', KEYS[1]), 1)) end
local all = redis.call('HINCRBY', KEYS[1], 'bytes', string.format('%.0f', bytes - before))
local limit = tonumber(run[2] or '0')
if limit <= 0 or all <= limit or bytes <= before then return run[1] end
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('HSET', KEYS[1], 'state', 'failed', 'reason', 'too much data', 'changed', now, 'ended', now)
redis.pcall('XADD', KEYS[3], '*', 'state', 'failed')
return 'failed'
