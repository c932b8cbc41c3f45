#!lua flags=no-writes
-- examine looks for what is stuck in a queue: entries that were delivered and are pending with nobody, and which functions wait.
-- KEYS tasks due body
-- ARGV group, where to start, the last one to look at ('' for the group's last ID), most to look at, most whose function is told (0 for none, and nothing of what waits)
-- returns the group's last ID or the last one to look at ('' without a group), where to go on ('' at the end), how many were looked at, how many of them are pending with nobody, the first of these, the first entry that was never delivered, its function, then function and last error of those that wait and of those that are due next
local group, start, delivered, most, hints = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if delivered == '' then
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1]) -- an error: there is no stream yet
  for _, info in ipairs(groups['err'] and {} or groups) do
    local row = {}
    for i = 1, #info, 2 do row[info[i]] = info[i + 1] end
    if row['name'] == group then delivered = row['last-delivered-id'] end
  end
end

-- tells adds the function of a task, and the error of its last attempt.
local answer = {delivered, '', 0, 0, '', '', ''}
local function tells(header)
  answer[#answer + 1] = string.match(header, '^%w+ ([%w._%-]+)') or ''
  answer[#answer + 1] = string.match(header, ' e=(%S+)') or ''
  return answer[#answer - 1]
end

if delivered ~= '' and delivered ~= '0-0' then
  -- One call for all that is pending, and then no entry behind the last one of that list: more may be pending there.
  local stop, pending = delivered, {}
  local rows = redis.call('XPENDING', KEYS[1], group, start, delivered, most)
  for _, row in ipairs(rows) do pending[row[1]] = true end
  if #rows == most then stop = rows[most][1] end
  local entries = redis.call('XRANGE', KEYS[1], start, stop, 'COUNT', most)
  for _, entry in ipairs(entries) do
    if not pending[entry[1]] then
      answer[4] = answer[4] + 1
      if answer[5] == '' then answer[5] = entry[1] end
    end
  end
  answer[3] = #entries
  if #entries == most then stop = entries[most][1] end
  if stop ~= delivered then answer[2] = '(' .. stop end
end
if hints == 0 then return answer end

local from = '-'
if delivered ~= '' then from = '(' .. delivered end
local waiting = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', hints)
for i, entry in ipairs(waiting) do
  local name = tells(string.match(string.sub(entry[2][2] or '', 1, 4096), '^[^\n]*'))
  if i == 1 then answer[6], answer[7] = entry[1], name end
end
local due = redis.call('ZRANGE', KEYS[2], 0, hints - 1)
for _, body in ipairs(#due == 0 and {} or redis.call('HMGET', KEYS[3], unpack(due))) do
  tells(string.match(string.sub(body or '', 1, 4096), '^v%d+ ([^\n]*)') or '')
end
return answer
