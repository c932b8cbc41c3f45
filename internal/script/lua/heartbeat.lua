#!lua flags=allow-oom
-- heartbeat renews the leases of a worker on some queues.
-- KEYS lease... (one for each queue)
-- ARGV ttl value
-- returns per lease: 1 renewed or 0 it was gone and is made again, then its fence, a new one each time it is made ('' when the key holds something else); at last the time of Redis, microseconds
-- PEXPIRE BEFORE SET: it works when memory is full, SET does not.
assert(#ARGV == 2 and #ARGV[1] < 16 and string.find(ARGV[1], '^[1-9]%d*$'), 'heartbeat: malformed arguments')
local answer, time = {}, redis.call('TIME')
for i = 1, #KEYS do
  local renewed = redis.call('PEXPIRE', KEYS[i], ARGV[1])
  if renewed == 1 then
    local had = redis.pcall('GET', KEYS[i]) -- a key of a wrong type must not cost the other leases
    answer[2 * i] = type(had) == 'string' and string.match(had, '^[^ ]*') or ''
  else
    answer[2 * i] = time[1] .. '.' .. time[2]
    redis.call('SET', KEYS[i], answer[2 * i] .. ' ' .. ARGV[2], 'PX', ARGV[1])
  end
  answer[2 * i - 1] = renewed
end
answer[2 * #KEYS + 1] = tonumber(time[1]) * 1000000 + tonumber(time[2])
return answer
