#!lua flags=no-writes
-- examine looks for what is stuck in a queue: entries that were delivered and are pending with nobody, and which functions wait.
-- KEYS tasks due body
-- ARGV group, where to start, most to look at, most whose function is told
-- returns the group's last ID ('' without a group), where to go on ('' at the end), how many are pending with nobody, the first of them, the first entry that was never delivered, its function, then function and last error of those that wait and of those that are due next
local group, start, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local delivered = ''
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1]) -- an error: there is no stream yet
for _, info in ipairs(groups['err'] and {} or groups) do
  local row = {}
  for i = 1, #info, 2 do row[info[i]] = info[i + 1] end
  if row['name'] == group then delivered = row['last-delivered-id'] end
end

-- tells adds the function of a task, and the error of its last attempt.
local answer = {delivered, '', 0, '', '', ''}
local function tells(header)
  answer[#answer + 1] = string.match(header, '^%w+ ([%w._%-]+)') or ''
  answer[#answer + 1] = string.match(header, ' e=(%S+)') or ''
  return answer[#answer - 1]
end

if delivered ~= '' and delivered ~= '0-0' then
  local entries = redis.call('XRANGE', KEYS[1], start, delivered, 'COUNT', most)
  for _, entry in ipairs(entries) do
    if #redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1) == 0 then
      answer[3] = answer[3] + 1
      if answer[4] == '' then answer[4] = entry[1] end
    end
  end
  if #entries == most then answer[2] = '(' .. entries[#entries][1] end
end
local from = '-'
if delivered ~= '' then from = '(' .. delivered end
local waiting = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[4])
for i, entry in ipairs(waiting) do
  local name = tells(string.match(string.sub(entry[2][2] or '', 1, 4096), '^[^\n]*'))
  if i == 1 then answer[5], answer[6] = entry[1], name end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[4] - 1)) do
  local body = redis.call('HGET', KEYS[3], id) or ''
  tells(string.match(string.sub(body, 1, 4096), '^v%d+ ([^\n]*)') or '')
end
return answer
