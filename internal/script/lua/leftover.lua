#!lua flags=no-writes
-- leftover finds the tasks of a session in the stream, a page at a time.
-- KEYS tasks
-- ARGV session start end limit
-- returns where to go on ('' at the end), then per task: id, entry
local answer = {''}
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
for _, entry in ipairs(entries) do
  local header = string.match(entry[2][2] or '', '^[^\n]*')
  if string.match(header, ' re=(%w+)') == ARGV[1] then
    answer[#answer + 1] = string.match(header, '^%S*')
    answer[#answer + 1] = entry[1]
  end
end
if #entries == tonumber(ARGV[4]) then answer[1] = '(' .. entries[#entries][1] end
return answer
