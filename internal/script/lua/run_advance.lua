#!lua flags=allow-oom
-- run_advance brings a run to the state that its tasks, its deadline and the failures it tolerates put it in.
-- KEYS run reducers tasks running took events counts
-- ARGV '1' by the task that tends it or '', ms without tending after which it is tended again
-- returns 'gone', or state, reason, partitions, ms since the state changed, ms since its keys were renewed, their ttl, ms that results are kept, 1 when slow tasks get a copy
assert(#ARGV == 2 and tonumber(ARGV[2]), 'run_advance: malformed arguments')
local run = redis.call('HMGET', KEYS[1], 'state', 'splits', 'partitions', 'maps', 'reduces', 'failed', 'tolerate', 'share', 'deadline', 'tended', 'tend',
  'reason', 'renewed', 'ttl', 'keep', 'speculate', 'changed', 'made', 'tidy')
if not run[1] then return {'gone'} end
local state, reason, splits, partitions = run[1], run[12] or '', tonumber(run[2]), tonumber(run[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stamp = string.format('%.0f', now)
local changed = tonumber(run[17] or run[18])
redis.call('LLEN', KEYS[2]) -- reads BEFORE the first write
redis.call('XLEN', KEYS[3])
redis.call('XLEN', KEYS[6])

for _, i in ipairs({2, 3, 10, 13, 14}) do assert(tonumber(run[i]), 'run_advance: the record of the run is damaged') end
for _, i in ipairs({4, 5, 6, 7, 8, 9, 15, 16}) do assert(tonumber(run[i] or '0'), 'run_advance: the record of the run is damaged') end
assert(changed, 'run_advance: the record of the run is damaged')

-- enter changes the state.
local function enter(next, why)
  state, reason, changed = next, why, now
  redis.call('HSET', KEYS[1], 'state', next, 'reason', why, 'changed', stamp)
  if next == 'reducing' then redis.call('HSET', KEYS[1], 'mapped', stamp) else redis.call('HSET', KEYS[1], 'ended', stamp) end
  redis.pcall('XADD', KEYS[6], '*', 'state', next)
end

if state ~= 'failed' and state ~= 'done' and run[9] and now > tonumber(run[9]) then
  enter('failed', 'deadline')
elseif state == 'mapping' or state == 'reducing' then
  local failed = tonumber(run[6] or '0')
  if failed > tonumber(run[7] or '0') and failed > math.floor(tonumber(run[8] or '0') * (splits + partitions) + 1e-9) then enter('failed', 'failed') end
end
if state == 'mapping' and tonumber(run[4] or '0') >= splits then
  local tasks = redis.call('LRANGE', KEYS[2], 0, -1)
  for _, task in ipairs(tasks) do redis.call('XADD', KEYS[3], '*', 'v1', task) end
  redis.pcall('HINCRBY', KEYS[7], 'enqueued', #tasks)
  redis.call('DEL', KEYS[2])
  redis.call('DEL', KEYS[4])
  redis.call('DEL', KEYS[5])
  enter('reducing', '')
elseif state == 'reducing' and tonumber(run[5] or '0') >= partitions then
  enter('done', '')
end
if ARGV[1] == '1' then
  redis.call('HSET', KEYS[1], 'tended', stamp)
elseif now - tonumber(run[10]) > tonumber(ARGV[2]) and not run[19] then
  local added = redis.pcall('XADD', KEYS[3], '*', 'v1', run[11]) -- an error: the stream takes no entry; the next one tries again
  if type(added) == 'string' then redis.call('HSET', KEYS[1], 'tended', stamp) end
end
return {state, reason, partitions, now - changed, now - tonumber(run[13]), tonumber(run[14]), tonumber(run[15] or '0'), tonumber(run[16] or '0')}
