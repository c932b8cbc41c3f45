#!lua flags=allow-oom
-- heartbeat renews the leases of a worker on some queues.
-- KEYS lease... (one for each queue)
-- ARGV ttl value
-- returns per lease: 1 renewed or 0 it was gone and is made again, then the lease: '<fence> <value>', the fence a new one each time it is made
-- PEXPIRE BEFORE SET: it works when memory is full, SET does not.
local answer, fence = {}, nil
for i = 1, #KEYS do
  local renewed = redis.call('PEXPIRE', KEYS[i], ARGV[1])
  if renewed == 1 then
    answer[2 * i] = redis.pcall('GET', KEYS[i]) -- a key of a wrong type must not cost the other leases
  else
    if not fence then
      local time = redis.call('TIME')
      fence = time[1] .. '.' .. time[2] .. ' '
    end
    answer[2 * i] = fence .. ARGV[2]
    redis.call('SET', KEYS[i], answer[2 * i], 'PX', ARGV[1])
  end
  answer[2 * i - 1] = renewed
end
return answer
