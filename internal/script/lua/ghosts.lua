#!lua flags=allow-oom
-- ghosts takes over entries that were delivered and are in no pending list, as an operator's DELCONSUMER leaves them.
-- KEYS tasks crashes counts
-- ARGV group me start limit (of the entries looked at) want (of those taken)
-- returns where to go on ('' at the end), then the entries taken
local group, me, limit, want = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local row = {}
  for i = 1, #info, 2 do row[info[i]] = info[i + 1] end
  if row['name'] == group then delivered = row['last-delivered-id'] end
end
if not delivered or delivered == '0-0' then return {''} end

local entries = redis.call('XRANGE', KEYS[1], ARGV[3], delivered, 'COUNT', limit)
local answer = {''}
if #entries == limit then answer[1] = '(' .. entries[#entries][1] end
for i, entry in ipairs(entries) do
  if #answer > want then
    answer[1] = '(' .. entries[i - 1][1]
    break
  end
  if #redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1) == 0 then
    local taken = redis.call('XCLAIM', KEYS[1], group, me, 0, entry[1], 'FORCE')
    if #taken > 0 and taken[1] then answer[#answer + 1] = taken[1] end
  end
end
if #answer > 1 then redis.pcall('HINCRBY', KEYS[3], 'ghosts', #answer - 1) end
return answer
