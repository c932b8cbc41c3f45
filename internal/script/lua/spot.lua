#!lua flags=no-writes
-- spot looks for a task in a stretch of a stream.
-- KEYS stream
-- ARGV id, id of the chunk whose item it would be, 'up' or 'down', where to begin, most entries, how many to read at first
-- returns where to go on ('' at the end), how many were looked at, bytes of these, and the entry that holds it ('' for none)
local from, most, room = ARGV[4], tonumber(ARGV[5]), 8388608
local looked, bytes, n = 0, 0, tonumber(ARGV[6])
while looked < most and bytes < room do
  n = math.min(n, most - looked)
  local found
  if ARGV[3] == 'up' then
    found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', n)
  else
    found = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', n)
  end
  for _, entry in ipairs(found) do
    looked = looked + 1
    for i = 1, #entry[2], 2 do
      local value = entry[2][i + 1] or ''
      bytes = bytes + #value
      if string.byte(entry[2][i]) == 118 then -- v and a number
        local id = string.sub(value, 1, 26)
        if id == ARGV[1] or id == ARGV[2] then return {'', looked, bytes, entry[1]} end
      end
    end
    from = '(' .. entry[1]
  end
  if #found < n then return {'', looked, bytes, ''} end
  n = math.max(1, math.min(1000, math.floor((room - bytes) / (bytes / looked + 1))))
end
return {from, looked, bytes, ''}
