#!lua
-- share stores a small value beside a reply stream, if that is still there: what a batch shares is gone with it.
-- KEYS reply context
-- ARGV name value
-- returns 1 stored, 0 the batch is over
local ttl = redis.call('PTTL', KEYS[1])
if ttl == -2 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
return 1
