#!lua flags=no-writes
-- look tells what is pending with whom in some queues, and which of them have something due or waiting.
-- KEYS tasks due... (of each queue)
-- ARGV group whole (1: also what is due, and what waits)
-- returns for each queue where there is anything: its number (1 to n), entries that are pending with nobody, microseconds until the first task is due (-1 when there is none), then consumer, count, and so on
local answer, now = {}, nil
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
for i = 1, #KEYS, 2 do
  local pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
  local row = {(i + 1) / 2, 0, -1}
  if now then
    if not pending['err'] then row[2] = redis.call('XLEN', KEYS[i]) - pending[1] end -- an error: there is no group yet
    local head = redis.pcall('ZRANGE', KEYS[i + 1], 0, 0, 'WITHSCORES')
    if head[2] then row[3] = math.max(0, math.ceil((tonumber(head[2]) - now) * 1000)) end
  end
  for _, consumer in ipairs(pending[4] or {}) do
    row[#row + 1] = consumer[1]
    row[#row + 1] = tonumber(consumer[2])
  end
  if #row > 3 or row[2] > 0 or row[3] >= 0 then answer[#answer + 1] = row end
end
return answer
