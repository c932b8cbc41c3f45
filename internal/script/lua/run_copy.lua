#!lua flags=allow-oom
-- run_copy starts a task of a run a second time, once, while the execution that was slow goes on.
-- KEYS run decided running tasks counts
-- ARGV number, record of the slow execution, task
-- returns 1 started, 0 when it was decided, copied or begun anew meanwhile
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'mapping' and state ~= 'reducing' then return 0 end
local number = ARGV[1]
if redis.call('HEXISTS', KEYS[2], number) == 1 or redis.call('HEXISTS', KEYS[3], number .. 'c') == 1 then return 0 end
if redis.call('HGET', KEYS[3], number) ~= ARGV[2] then return 0 end
redis.call('XADD', KEYS[4], '*', 'v1', ARGV[3])
redis.call('HSET', KEYS[3], number .. 'c', 'waits')
redis.call('HINCRBY', KEYS[1], 'copies', 1)
redis.pcall('HINCRBY', KEYS[5], 'enqueued', 1)
return 1
