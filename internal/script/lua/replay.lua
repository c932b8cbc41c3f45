#!lua
-- replay turns a dead letter into a task again.
-- KEYS tasks dead counts
-- ARGV dead letter id, task
-- returns 1 replayed, 0 it was gone
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', 'v1', ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[1])
redis.pcall('HINCRBY', KEYS[3], 'replayed', 1)
return 1
