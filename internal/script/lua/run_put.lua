#!lua
-- run_put stores segments or pieces in a partition of a run, if that is still there: a run that was removed stays so, however late somebody writes.
-- KEYS partition
-- ARGV fields and values
-- returns 1 stored, 0 the partition is gone
assert(#ARGV % 2 == 0, 'run_put: malformed arguments')
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
