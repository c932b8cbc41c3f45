#!lua flags=allow-oom
-- run_keep keeps the keys of a partition of a run for another while, and makes them where they are opened.
-- KEYS shuffle out
-- ARGV ttl, '1' to open or ''
-- returns how many of them are there
assert(#ARGV == 2 and #ARGV[1] < 16 and string.find(ARGV[1], '^%d+$'), 'run_keep: malformed arguments')
redis.call('HLEN', KEYS[1]) -- reads BEFORE the first write
redis.call('HLEN', KEYS[2])
if ARGV[2] == '1' then
  redis.call('HSETNX', KEYS[1], '', '1')
  redis.call('HSETNX', KEYS[2], '', '1')
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1]) + redis.call('PEXPIRE', KEYS[2], ARGV[1])
