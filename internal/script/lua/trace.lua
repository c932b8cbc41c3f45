#!lua flags=no-writes
-- trace looks for a task where its ID is enough to find it, and tells how much there is elsewhere.
-- KEYS tasks due body dead cancels reply (the stream that its outcome is kept in)
-- ARGV id
-- returns the time in ms, entries, dead letters, due time ('' for none), body, time of its cancellation in ms ('' for none), then of the newest that the reply stream tells of it: entry, text
local time = redis.call('TIME')
local answer = {string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)), redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[4]),
  redis.call('ZSCORE', KEYS[2], ARGV[1]) or '', redis.call('HGET', KEYS[3], ARGV[1]) or '', redis.call('ZSCORE', KEYS[5], ARGV[1]) or ''}
local kept = redis.pcall('XREVRANGE', KEYS[6], '+', '-', 'COUNT', 20) -- PCALL: whatever lies there must not hide the task
for _, entry in ipairs(kept['err'] and {} or kept) do
  for i = 1, #entry[2], 2 do
    if entry[2][i] == ARGV[1] then
      answer[#answer + 1] = entry[1]
      answer[#answer + 1] = entry[2][i + 1]
    end
  end
end
return answer
