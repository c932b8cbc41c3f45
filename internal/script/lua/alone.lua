#!lua flags=allow-oom
-- alone notes that an entry which was in flight in two crashes starts with nothing beside it.
-- KEYS crashes tasks
-- ARGV entry
-- returns 1, or 0 when the entry is gone: a worker that came back has ended it, and nobody would remove the mark
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1] .. '!', '1')
return 1
