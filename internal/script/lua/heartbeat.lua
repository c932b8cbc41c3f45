#!lua flags=allow-oom
-- heartbeat renews the lease of a worker.
-- KEYS lease
-- ARGV ttl value
-- returns 1 renewed or 0 the lease was gone and is made again, then the lease: '<fence> <value>', the fence a new one each time it is made
-- PEXPIRE BEFORE SET: it works when memory is full, SET does not.
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1 then return {1, redis.call('GET', KEYS[1])} end
local time = redis.call('TIME')
local lease = time[1] .. '.' .. time[2] .. ' ' .. ARGV[2]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[1])
return {0, lease}
