#!lua flags=allow-oom
-- session keeps the reply stream of a session alive, tells what its owner needs to notice a loss of data, and notes for people that the session is there.
-- KEYS reply context producer sessions info
-- ARGV ttl id text
-- returns 1 when the reply stream was there (0: it is made again), and the last number of the producer lane (-1: the lane is gone)
-- PCALL for what is for people: it must not fail the rest.
assert((#ARGV == 1 or #ARGV == 3) and #ARGV[1] < 16 and string.find(ARGV[1], '^%d+$'), 'session: malformed arguments')
local lane = redis.call('GET', KEYS[3]) -- BEFORE the first write
redis.call('PEXPIRE', KEYS[2], ARGV[1])
local there = redis.call('PEXPIRE', KEYS[1], ARGV[1])
if there == 0 then
  local id = redis.call('XADD', KEYS[1], '*', 'v', '1')
  redis.call('XDEL', KEYS[1], id)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end

local hour, most = 3600000, 10000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.pcall('ZADD', KEYS[4], string.format('%.0f', now), ARGV[2])
redis.pcall('HSET', KEYS[5], ARGV[2], ARGV[3])
redis.pcall('PEXPIRE', KEYS[4], hour)
redis.pcall('PEXPIRE', KEYS[5], hour)
local old = redis.pcall('ZRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - hour), 'LIMIT', 0, 100)
local size = redis.pcall('ZCARD', KEYS[4])
if type(size) == 'number' and size > most then old = redis.pcall('ZRANGE', KEYS[4], 0, math.min(size - most, 100) - 1) end
if not old['err'] and #old > 0 then
  redis.pcall('ZREM', KEYS[4], unpack(old))
  redis.pcall('HDEL', KEYS[5], unpack(old))
end
if not lane then return {there, -1} end
return {there, tonumber(string.match(lane, '^%d+'))}
