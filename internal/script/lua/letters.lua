#!lua flags=no-writes
-- letters looks at one page of the dead letters, and finds those that are wanted, or groups them by what went wrong.
-- KEYS dead
-- ARGV order ('new' or 'old' first), start, end, most to look at, most to find, what ('ids', 'letters' or 'groups'), reason, function, group ('' for any), then, unless any will do, task IDs
-- returns the last ID looked at ('' when there was nothing), how many were looked at, their bytes, then what was found
-- ids: the ID; letters: ID, bytes of the payload, fields and values, of which 4 kB of the payload; groups: group, function, reason, start of the newest error, how many, newest ID, oldest ID
-- Errors are alike when their first lines are, but for numbers, IDs, quoted text and addresses.
local order, what, reason, func, group = ARGV[1], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local most = tonumber(ARGV[5])
local wanted
for i = 10, #ARGV do
  wanted = wanted or {}
  wanted[ARGV[i]] = true
end

-- likeness leaves of an error what it shares with others. Plain searches first: most errors have none of these, and a pattern costs more.
local known = {}
local function likeness(text)
  local s = string.match(string.sub(text, 1, 300), '^[^\n]*')
  local alike = known[s]
  if alike then return alike end
  alike = s
  if string.find(s, '"', 1, true) then s = string.gsub(s, '%b""', '"…"') end
  if string.find(s, "'", 1, true) then s = string.gsub(s, "%f[%w']'[^']*'", '"…"') end
  if string.find(s, '://', 1, true) then s = string.gsub(s, '%a[%w+.%-]*://[^%s"]+', '#') end
  if string.find(s, '@', 1, true) then s = string.gsub(s, '[%w._+%-]+@[%w.%-]+', '#') end
  if string.find(s, 'lookup ', 1, true) then s = string.gsub(s, 'lookup [^%s:]+', 'lookup #') end
  if string.find(s, ':%x*:') then s = string.gsub(s, '%f[%x:]%x*:[%x:]*:%x*%f[^%w_:]', '#') end
  s = string.gsub(s, '%f[%w]%w*%d%w*', '#')
  if string.find(s, '%x%x%x%x%x%x%x%x') then s = string.gsub(s, '%f[%w]%x%x%x%x%x%x%x%x+%f[%W]', '#') end
  if string.find(s, '#[%-.:]') then
    s = string.gsub(s, '#[%-#%x.:]*[%-.:][%-#%x.:]*#', '#') -- UUIDs, addresses, times
  end
  known[alike] = s
  return s
end

local entries
if order == 'new' then
  entries = redis.call('XREVRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
else
  entries = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
end

-- open reads what matters of a letter.
local function open(fields)
  local letter = {reason = '', error = '', task = '', func = '', bytes = 0, size = 0}
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    letter.bytes = letter.bytes + #value
    if name == 'v1' then
      letter.task, letter.func = string.match(value, '^(%w+) ([%w._-]+)')
      letter.task, letter.func = letter.task or '', letter.func or ''
      letter.size = #value - (string.find(value, '\n', 1, true) or #value)
    elseif name == 'reason' or name == 'error' then
      letter[name] = value
    end
  end
  return letter
end

-- cut leaves 4 kB of a payload.
local function cut(fields)
  for i = 1, #fields, 2 do
    local head = string.find(fields[i + 1], '\n', 1, true) or 0
    if fields[i] ~= 'error' then fields[i + 1] = string.sub(fields[i + 1], 1, head + 4096) end
  end
  return fields
end

local answer, groups, ids = {'', 0, 0}, {}, {}
for _, entry in ipairs(entries) do
  local letter = open(entry[2])
  answer[1], answer[2], answer[3] = entry[1], answer[2] + 1, answer[3] + letter.bytes
  if (reason == '' or letter.reason == reason) and (func == '' or letter.func == func) and (not wanted or wanted[letter.task]) then
    local key, mine = nil, ''
    if group ~= '' or what == 'groups' then
      key = letter.func .. '\n' .. letter.reason .. '\n' .. likeness(letter.error)
      ids[key] = ids[key] or string.sub(redis.sha1hex(key), 1, 16)
      mine = ids[key]
    end
    if group == '' or mine == group then
      if what == 'ids' then
        answer[#answer + 1] = entry[1]
      elseif what == 'letters' then
        answer[#answer + 1] = {entry[1], letter.size, cut(entry[2])}
      else
        local seen = groups[mine]
        if not seen then
          seen = {mine, letter.func, letter.reason, string.sub(letter.error, 1, 1024), 0, entry[1], entry[1]}
          groups[mine] = seen
          answer[#answer + 1] = seen
        end
        seen[5], seen[7] = seen[5] + 1, entry[1]
      end
      if #answer - 3 >= most then break end
    end
  end
end
return answer
