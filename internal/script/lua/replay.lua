#!lua
-- replay turns a dead letter into a task again.
-- KEYS tasks dead counts cancels
-- ARGV dead letter id, task
-- returns 1 replayed, 0 it was gone
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', 'v1', ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[1])
redis.pcall('HINCRBY', KEYS[3], 'replayed', 1)
redis.pcall('ZREM', KEYS[4], string.sub(ARGV[2], 1, 26)) -- somebody wants it to run
return 1
