#!lua flags=allow-oom
-- release hands entries that have not started back to the group: any worker may take them at once.
-- KEYS tasks control
-- ARGV group consumer, then entry ids
-- returns how many were handed back; what is with another worker by now stays there
for i = 3, #ARGV do assert(string.find(ARGV[i], '^%d+%-%d+$'), 'release: malformed entry') end
local handed = 0
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #pending > 0 and pending[1][2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], 'released', 0, ARGV[i], 'JUSTID')
    handed = handed + 1
  end
end
if handed > 0 then redis.call('PUBLISH', KEYS[2], 'released') end
return handed
