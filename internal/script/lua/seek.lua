#!lua flags=no-writes
-- seek looks at one page of the stream for tasks by their IDs; one that may be an item of a chunk is sought as that chunk too.
-- KEYS tasks
-- ARGV start, end, most to look at, then task id...
-- returns the last entry looked at ('' when there was none), its task, how many were looked at, their bytes, then per task found: id, entry
local wanted = {}
for i = 4, #ARGV do wanted[ARGV[i]] = true end
local answer = {'', '', 0, 0}
for _, stored in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local value = stored[2][2] or ''
  local id = string.sub(value, 1, 26)
  answer[1], answer[2], answer[3], answer[4] = stored[1], id, answer[3] + 1, answer[4] + #value
  if wanted[id] then
    answer[#answer + 1] = id
    answer[#answer + 1] = stored[1]
  end
end
return answer
