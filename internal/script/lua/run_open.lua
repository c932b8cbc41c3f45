#!lua
-- run_open makes a run that has no inputs yet, with the task that tends it; one that is there already stays as it is.
-- KEYS run runs reply events reducers tasks
-- ARGV id, ttl, task that tends, how many fields, names and values of the run, then reduce tasks
-- returns state, splits, inputs, digest of the inputs, spec
-- Reads BEFORE the first write: a key of a wrong type must fail the call while nothing of it is done.
assert(#ARGV > 4 and #ARGV[2] < 16 and string.find(ARGV[2], '^%d+$') and string.find(ARGV[4], '^%d*[02468]$'), 'run_open: malformed arguments')
local had = redis.call('HMGET', KEYS[1], 'state', 'splits', 'inputs', 'digest', 'spec')
if had[1] then return had end
redis.call('ZCARD', KEYS[2])
redis.call('XLEN', KEYS[3])
redis.call('XLEN', KEYS[4])
redis.call('LLEN', KEYS[5])
redis.call('XLEN', KEYS[6])
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local last, within = 4 + tonumber(ARGV[4]), 0
assert(last > 4 and last < #ARGV, 'run_open: malformed arguments')
for i = 5, last, 2 do
  if ARGV[i] == 'within' then within = assert(tonumber(ARGV[i + 1]), 'run_open: malformed arguments') end
end

redis.call('XADD', KEYS[6], '*', 'v1', ARGV[3]) -- BEFORE the rest: a stream at its last ID takes none
redis.call('HSET', KEYS[1], unpack(ARGV, 5, last))
redis.call('HSET', KEYS[1], 'state', 'open', 'splits', '0', 'inputs', '0', 'digest', '', 'made', now, 'renewed', now, 'tended', now, 'ttl', ARGV[2], 'tend', ARGV[3])
if within > 0 then redis.call('HSET', KEYS[1], 'deadline', string.format('%.0f', tonumber(now) + within)) end
redis.call('RPUSH', KEYS[5], unpack(ARGV, last + 1))
local made = redis.pcall('XADD', KEYS[3], '*', 'v', '1')
if type(made) == 'string' then redis.call('XDEL', KEYS[3], made) end
redis.pcall('XADD', KEYS[4], '*', 'state', 'open')
for i = 1, 5 do
  if i ~= 2 then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
redis.call('ZADD', KEYS[2], now, ARGV[1])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return redis.call('HMGET', KEYS[1], 'state', 'splits', 'inputs', 'digest', 'spec')
