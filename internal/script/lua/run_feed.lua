#!lua
-- run_feed stores map tasks of a run that is open, in the order of their numbers, and closes it; what an earlier try of the same call stored is skipped.
-- KEYS run tasks counts events
-- ARGV number of the first task, and after the call: inputs, digest of the inputs, bytes of the inputs; '1' to close or '', then tasks
-- returns 'gone', or the state, and how many splits are stored; with a gap before the first nothing is stored
assert(#ARGV >= 5 and string.find(ARGV[1], '^%d+$'), 'run_feed: malformed arguments')
local had = redis.call('HMGET', KEYS[1], 'state', 'splits')
if not had[1] then return {'gone', 0} end
local splits, first, n = tonumber(had[2]), tonumber(ARGV[1]), #ARGV - 5
if had[1] ~= 'open' or first > splits then return {had[1], splits} end
redis.call('XLEN', KEYS[2]) -- reads BEFORE the first write
redis.call('XLEN', KEYS[4])
if first + n > splits then
  for i = splits - first + 1, n do redis.call('XADD', KEYS[2], '*', 'v1', ARGV[5 + i]) end
  redis.pcall('HINCRBY', KEYS[3], 'enqueued', first + n - splits)
  splits = first + n
  redis.call('HSET', KEYS[1], 'splits', splits, 'inputs', ARGV[2], 'digest', ARGV[3], 'size', ARGV[4])
end
if ARGV[5] ~= '1' then return {'open', splits} end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', 'mapping', 'changed', string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
redis.pcall('XADD', KEYS[4], '*', 'state', 'mapping')
return {'mapping', splits}
