#!lua flags=allow-oom
-- run_remove removes what a run has in its slot; its partitions are removed before.
-- KEYS runs, then the keys of the run in its slot...
-- ARGV id
-- returns 1 removed, 0 when it was gone
redis.pcall('ZREM', KEYS[1], ARGV[1])
local removed = 0
for i = 2, #KEYS do removed = removed + redis.call('DEL', KEYS[i]) end
return removed > 0 and 1 or 0
