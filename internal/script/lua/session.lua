#!lua flags=allow-oom
-- session keeps the reply stream of a session alive, and tells what its owner needs to notice a loss of data.
-- KEYS reply context producer
-- ARGV ttl
-- returns 1 when the reply stream was there (0: it is made again), and the last number of the producer lane (-1: the lane is gone)
redis.call('PEXPIRE', KEYS[2], ARGV[1])
local there = redis.call('PEXPIRE', KEYS[1], ARGV[1])
if there == 0 then
  local id = redis.call('XADD', KEYS[1], '*', 'v', '1')
  redis.call('XDEL', KEYS[1], id)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
local lane = redis.call('GET', KEYS[3])
if not lane then return {there, -1} end
return {there, tonumber(string.match(lane, '^%d+'))}
