#!lua flags=allow-oom
-- run_renew keeps the keys of a run for another while.
-- KEYS run runs, then the other keys of the run in its slot...
-- ARGV ttl, '1' when the run is over and what its partitions need no more is removed, or ''
-- returns 0 when the run is gone
assert(#ARGV == 2 and #ARGV[1] < 16 and string.find(ARGV[1], '^%d+$'), 'run_renew: malformed arguments')
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'renewed', string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], 'tidy', '1') end
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
for i = 1, #KEYS do
  if i ~= 2 then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
return 1
