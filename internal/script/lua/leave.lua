#!lua flags=allow-oom
-- leave hands over what a worker still has, and takes the worker off the group once it has nothing.
-- KEYS tasks lease control
-- ARGV group consumer limit
-- returns how many it has left at least: call it until 0
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])
local ids = {}
for i, row in ipairs(pending) do ids[i] = row[1] end
if #ids > 0 then
  ids[#ids + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], 'released', 0, unpack(ids))
  redis.call('PUBLISH', KEYS[3], 'released')
end
local left = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #left > 0 then return #left end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 0
