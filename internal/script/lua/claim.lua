#!lua flags=allow-oom
-- claim makes a process the owner of the checkpoint of a batch, and makes one where there is none.
-- KEYS batch cancels batches
-- ARGV owner session function kind ttl version name, prefix of the queue's checkpoints
-- returns status, the time of Redis in ms, then the fields and values of the checkpoint
-- status: 'OK'; 'OTHER' it is of another function or kind, or of a newer version; 'TAKEN' a call that arrives late: somebody has come after it
-- The epoch is the time it was claimed, and above the one before: also above those of a checkpoint that Redis has lost since.
-- The owner before is noted as taken over BEFORE it is replaced: it may come back when the batch has ended and the key is gone.
assert(#ARGV == 8 and #ARGV[5] < 16 and string.find(ARGV[5], '^%d+$'), 'claim: malformed arguments')
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'sessions', 'function', 'kind', 'v')

-- state is the answer with a status.
local function state(status)
  local answer = redis.call('HGETALL', KEYS[1])
  table.insert(answer, 1, now)
  table.insert(answer, 1, status)
  return answer
end

if redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[2], ARGV[1] .. '+') then return state('TAKEN') end
if held[1] and (held[4] ~= ARGV[3] or held[5] ~= ARGV[4] or held[6] ~= ARGV[6]) then return state('OTHER') end
if held[1] ~= ARGV[1] then
  local epoch, sessions = tonumber(now), ARGV[2]
  if held[1] then
    epoch = math.max(epoch, tonumber(held[2]) + 1)
    sessions = held[3] .. ' ' .. sessions
    redis.call('ZADD', KEYS[2], now, held[1])
  end
  redis.call('HSET', KEYS[1], 'v', ARGV[6], 'owner', ARGV[1], 'epoch', string.format('%.0f', epoch), 'seq', '0', 'sessions', sessions,
    'function', ARGV[3], 'kind', ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
-- For people: it must not fail the rest. Those that expired long since go, some each time.
redis.pcall('ZADD', KEYS[3], now, ARGV[7])
local oldest = redis.pcall('ZRANGE', KEYS[3], 0, 15)
for _, name in ipairs(oldest['err'] and {} or oldest) do
  if redis.call('EXISTS', ARGV[8] .. name) == 0 then redis.pcall('ZREM', KEYS[3], name) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', tonumber(now) - 3600000))
return state('OK')
