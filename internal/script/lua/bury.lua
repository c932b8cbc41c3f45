#!lua flags=allow-oom
-- bury ends a task with a dead letter, if its entry is not with another worker by now.
-- KEYS tasks dead counts crashes lock reply (lock and reply are the dead stream where the task has none)
-- ARGV group consumer entry id outcome, then the dead letter's fields and values
-- returns 1 buried, 0 done elsewhere or not ours any more
assert(#ARGV > 6 and #ARGV % 2 == 1 and string.find(ARGV[3], '^%d+%-%d+$'), 'bury: malformed arguments')
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #pending > 0 and pending[1][2] ~= ARGV[2] then return 0 end
if #pending == 0 and #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then return 0 end

-- The letter BEFORE the entry goes: a dead stream that takes none, of a wrong type or at its last ID, must not cost the task.
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 6))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
redis.pcall('HINCRBY', KEYS[3], 'dead', 1)
if redis.call('EXISTS', KEYS[4]) == 1 then redis.pcall('HDEL', KEYS[4], ARGV[3], ARGV[3] .. '!') end
if KEYS[5] ~= KEYS[2] and redis.pcall('GET', KEYS[5]) == ARGV[4] then redis.call('DEL', KEYS[5]) end
if KEYS[6] ~= KEYS[2] and type(redis.pcall('XADD', KEYS[6], 'NOMKSTREAM', '*', ARGV[4], ARGV[5])) ~= 'string' then
  redis.pcall('HINCRBY', KEYS[3], 'unclaimed', 1)
end
return 1
