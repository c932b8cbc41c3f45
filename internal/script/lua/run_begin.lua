#!lua flags=allow-oom
-- run_begin notes an execution of a task of a run, if there is anything to do for it, and has the run tended again when nobody did for long.
-- KEYS run decided running tasks
-- ARGV number, task, entry, execution, worker, '' or for a copy the worker to avoid, how often it does, ms without tending
-- returns 'gone', 'over', 'decided', 'elsewhere' (a copy that should run on another worker) or 'run', then the number of partitions
assert(#ARGV == 8 and tonumber(ARGV[7]) and tonumber(ARGV[8]), 'run_begin: malformed arguments')
local number, avoid = ARGV[1], ARGV[6]
local run = redis.call('HMGET', KEYS[1], 'state', 'partitions', 'tended', 'tend')
if not run[1] then return {'gone', 0} end
if run[1] == 'failed' or run[1] == 'done' then return {'over', 0} end
if redis.call('HEXISTS', KEYS[2], number) == 1 then return {'decided', 0} end
redis.call('HLEN', KEYS[3]) -- reads BEFORE the first write
redis.call('XLEN', KEYS[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
assert(tonumber(run[2]) and tonumber(run[3]), 'run_begin: the record of the run is damaged')
local verdict = 'run'
if avoid ~= '' and avoid == ARGV[5] and redis.call('HINCRBY', KEYS[3], number .. 'a', 1) <= tonumber(ARGV[7]) then
  verdict = 'elsewhere'
else
  local field = avoid == '' and number or number .. 'c'
  redis.call('HSET', KEYS[3], field, string.format('%.0f', now) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
end
if redis.call('PTTL', KEYS[3]) < 0 then redis.call('PEXPIRE', KEYS[3], math.max(redis.call('PTTL', KEYS[1]), 1)) end
if now - tonumber(run[3]) > tonumber(ARGV[8]) then
  local added = redis.pcall('XADD', KEYS[4], '*', 'v1', run[4]) -- an error: the stream takes no entry; the next one tries again
  if type(added) == 'string' then redis.call('HSET', KEYS[1], 'tended', string.format('%.0f', now)) end
end
return {verdict, tonumber(run[2])}
