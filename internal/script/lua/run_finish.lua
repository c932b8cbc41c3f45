#!lua flags=allow-oom
-- run_finish decides a task of a run for the execution that asks first; a repeated call of that execution has won again.
-- KEYS run decided running took
-- ARGV 'maps' or 'reduces', number, execution, manifest, ms it took, bytes of its output, pairs of its output
-- returns 'gone', 'over', 'lost' or 'won', then 1 when all tasks of the phase are decided
assert(#ARGV == 7 and (ARGV[1] == 'maps' or ARGV[1] == 'reduces'), 'run_finish: malformed arguments')
local phase, number, execution = ARGV[1], ARGV[2], ARGV[3]
local run = redis.call('HMGET', KEYS[1], 'state', 'splits', 'partitions', phase)
if not run[1] then return {'gone', 0} end
local winner = redis.call('HGET', KEYS[2], number)
redis.call('HLEN', KEYS[3]) -- reads BEFORE the first write
redis.call('LLEN', KEYS[4])
local function whole(v) return not v or #v < 16 and string.find(v, '^%-?%d+$') end
local sums = redis.call('HMGET', KEYS[1], phase .. ' bytes', phase .. ' pairs')
assert(whole(ARGV[6]) and whole(ARGV[7]), 'run_finish: malformed arguments')
assert(tonumber(run[2]) and tonumber(run[3]) and whole(run[4]) and whole(sums[1]) and whole(sums[2]), 'run_finish: the record of the run is damaged')
local decided, verdict = tonumber(run[4] or '0'), 'won'
if winner then
  if string.sub(winner, 1, #execution + 1) ~= execution .. ' ' then verdict = 'lost' end
elseif run[1] == 'failed' or run[1] == 'done' then
  return {'over', 0}
else
  local ttl = math.max(redis.call('PTTL', KEYS[1]), 1)
  redis.call('HSET', KEYS[2], number, execution .. ' ' .. ARGV[4])
  if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
  decided = redis.call('HINCRBY', KEYS[1], phase, 1)
  redis.call('HDEL', KEYS[3], number, number .. 'c', number .. 'a', 'x' .. execution)
  redis.call('LPUSH', KEYS[4], ARGV[5])
  redis.call('LTRIM', KEYS[4], 0, 199)
  if redis.call('PTTL', KEYS[4]) < 0 then redis.call('PEXPIRE', KEYS[4], ttl) end
  redis.call('HINCRBY', KEYS[1], phase .. ' bytes', ARGV[6])
  redis.call('HINCRBY', KEYS[1], phase .. ' pairs', ARGV[7])
end
local all = tonumber(phase == 'maps' and run[2] or run[3])
return {verdict, run[1] ~= 'open' and decided >= all and 1 or 0}
