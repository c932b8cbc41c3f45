#!lua flags=allow-oom
-- heartbeat renews the leases of a worker on some queues.
-- KEYS lease... (one for each queue)
-- ARGV ttl value
-- returns per lease: 1 renewed or 0 it was gone and is made again, then its fence, a new one each time it is made ('' when the key holds something else)
-- PEXPIRE BEFORE SET: it works when memory is full, SET does not.
local answer, fence = {}, nil
for i = 1, #KEYS do
  local renewed = redis.call('PEXPIRE', KEYS[i], ARGV[1])
  if renewed == 1 then
    local had = redis.pcall('GET', KEYS[i]) -- a key of a wrong type must not cost the other leases
    answer[2 * i] = type(had) == 'string' and string.match(had, '^[^ ]*') or ''
  else
    if not fence then
      local time = redis.call('TIME')
      fence = time[1] .. '.' .. time[2]
    end
    answer[2 * i] = fence
    redis.call('SET', KEYS[i], fence .. ' ' .. ARGV[2], 'PX', ARGV[1])
  end
  answer[2 * i - 1] = renewed
end
return answer
