#!lua flags=allow-oom
-- checkpoint saves how far a batch is, or renews what was saved, unless another process has taken the batch over.
-- KEYS batch cancels batches
-- ARGV owner epoch seq ttl name, then fields and values (none: it is renewed only)
-- returns 1 saved, 0 taken over, 2 it is not there and was only to be renewed
-- A key that is gone was lost with the data of Redis, and is written anew; whoever was taken over, or has ended the batch, is noted in cancels.
-- An owner of a lower epoch can only be there after such a loss. A save whose seq is not above the one there is an earlier one that arrives late.
assert(#ARGV >= 5 and #ARGV < 7000 and #ARGV % 2 == 1 and tonumber(ARGV[2]) and tonumber(ARGV[3]) and #ARGV[4] < 16 and string.find(ARGV[4], '^%d+$'),
  'checkpoint: malformed arguments')
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'seq')
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
if redis.call('ZSCORE', KEYS[2], ARGV[1] .. '+') then return 1 end
local own = held[1] == ARGV[1]
if held[1] and not own and tonumber(held[2]) >= tonumber(ARGV[2]) then return 0 end
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
if #ARGV == 5 then
  if not own then return 2 end
elseif not own or tonumber(held[3]) < tonumber(ARGV[3]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', ARGV[2], 'seq', ARGV[3], 'saved', now, unpack(ARGV, 6))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.pcall('ZADD', KEYS[3], now, ARGV[5]) -- for people
return 1
