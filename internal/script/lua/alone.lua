#!lua flags=allow-oom
-- alone notes that an entry which was in flight in two crashes starts with nothing beside it.
-- KEYS crashes
-- ARGV entry
-- returns 1
redis.call('HSET', KEYS[1], ARGV[1] .. '!', '1')
return 1
