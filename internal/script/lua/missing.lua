#!lua flags=no-writes
-- missing finds tasks that are nowhere: not at their entry, and not due later.
-- KEYS tasks due
-- ARGV per task: id, entry
-- returns the numbers (1 to n) of those
local missing = {}
for i = 1, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    if ARGV[i + 1] == '' or #redis.call('XRANGE', KEYS[1], ARGV[i + 1], ARGV[i + 1]) == 0 then
      missing[#missing + 1] = (i + 1) / 2
    end
  end
end
return missing
