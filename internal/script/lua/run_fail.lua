#!lua flags=allow-oom
-- run_fail decides that a task of a run has failed for good, or ends the run for another reason; it goes on while not more tasks have failed than it tolerates.
-- KEYS run decided running errors events
-- ARGV 'maps' or 'reduces' or '' for no task, number, the failure as text, '' for a task that failed or the reason why the run ends
-- returns 'gone', 'decided' (that task was, and nothing is changed) or the state, then 1 when all tasks of the phase are decided
assert(#ARGV == 4 and (ARGV[1] == '' or ARGV[1] == 'maps' or ARGV[1] == 'reduces'), 'run_fail: malformed arguments')
local phase, number, reason = ARGV[1], ARGV[2], ARGV[4]
local run = redis.call('HMGET', KEYS[1], 'state', 'splits', 'partitions', 'failed', 'tolerate', 'share', phase)
if not run[1] then return {'gone', 0} end
local state, removing = run[1], reason == 'cancelled' or reason == 'removed'
if not removing and (state == 'failed' or state == 'done') then return {state, 0} end
if phase ~= '' and redis.call('HEXISTS', KEYS[2], number) == 1 then return {'decided', 0} end
redis.call('HLEN', KEYS[3]) -- reads BEFORE the first write
redis.call('HLEN', KEYS[4])
redis.call('XLEN', KEYS[5])
local splits, partitions, decided = tonumber(run[2]), tonumber(run[3]), 0
local function whole(v) return not v or #v < 16 and string.find(v, '^%-?%d+$') end
assert(splits and partitions and whole(run[4]) and whole(run[5]) and whole(run[7]) and tonumber(run[6] or '0'), 'run_fail: the record of the run is damaged')
if phase ~= '' then
  local ttl = math.max(redis.call('PTTL', KEYS[1]), 1)
  redis.call('HSET', KEYS[4], string.sub(phase, 1, 1) .. number, ARGV[3])
  if redis.call('PTTL', KEYS[4]) < 0 then redis.call('PEXPIRE', KEYS[4], ttl) end
  local failed = redis.call('HINCRBY', KEYS[1], 'failed', 1)
  if reason == '' then
    redis.call('HSET', KEYS[2], number, '!')
    if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
    decided = redis.call('HINCRBY', KEYS[1], phase, 1)
    redis.call('HDEL', KEYS[3], number, number .. 'c', number .. 'a')
    local share = tonumber(run[6] or '0')
    local few = failed <= tonumber(run[5] or '0') or share > 0 and (state == 'open' or failed <= math.floor(share * (splits + partitions) + 1e-9))
    if not few then reason = 'failed' end
  end
end
if reason ~= '' then
  local time = redis.call('TIME')
  local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
  state = 'failed'
  redis.call('HSET', KEYS[1], 'state', state, 'reason', reason, 'changed', now, 'ended', now)
  redis.pcall('XADD', KEYS[5], '*', 'state', state)
end
return {state, state ~= 'open' and decided >= (phase == 'maps' and splits or partitions) and 1 or 0}
