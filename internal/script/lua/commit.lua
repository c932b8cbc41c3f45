#!lua flags=allow-oom
-- commit records outcomes of tasks and removes their entries; the first commit of an entry wins.
-- KEYS tasks lease counts crashes [reply or unique...]
-- ARGV group fence counter n m, then n entry ids, then for each of the m stretches they form, in order: how many, and the ID after its last one ('' for a loose one), then, if anybody is told, per task: task id, outcome, index into KEYS of its reply (0 none), of its lock (0 none)
-- returns the numbers (1 to n) of the tasks that were already done elsewhere
-- XACK and XDEL BEFORE the reply: a full Redis could not drain otherwise.
-- While the lease still begins with the fence under which the entries were fetched, nobody reclaimed any of them, and one XACK
-- and one XDEL serve all. Otherwise each entry is asked for by itself: what counts is XACK + XDEL, since an entry may be
-- orphaned (no ack), trimmed away (no delete) or done elsewhere (neither).
-- A stretch was delivered as neighbours by one read: nothing else ever lies between its first and its last entry. If nothing lies
-- before it either, pending or not, one XTRIM up to its end removes these entries and no other, for less than half of what XDEL takes.
-- PCALL AFTER the gate: a key of a wrong type must not take the other outcomes with it.
local group, fence, counter, n, m = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local told = 5 + (n or 0) + 2 * (m or 0)
assert(n and m and n >= 1 and m >= 0 and n % 1 == 0 and told <= #ARGV and (#ARGV - told) % 4 == 0, 'commit: malformed arguments')
local fenced = fence ~= '' and string.sub(redis.call('GET', KEYS[2]) or '', 1, #fence + 1) == fence .. ' '
if fenced then
  local all = 0
  for i = 6 + n, told, 2 do all = all + assert(tonumber(ARGV[i]), 'commit: malformed stretch') end
  assert(all == n or m == 0, 'commit: malformed stretches')
end
local acked = fenced and redis.call('XACK', KEYS[1], group, unpack(ARGV, 6, 5 + n)) or -1
local won, late = nil, {}

local head = true -- whether the stream may begin with the next stretch
local function trim(first, beyond)
  head = head and #redis.call('XPENDING', KEYS[1], group, '-', first, 1) == 0 -- without the payload of what is there
    and #redis.call('XRANGE', KEYS[1], '-', '(' .. first, 'COUNT', 1) == 0
  return head and type(redis.pcall('XTRIM', KEYS[1], 'MINID', beyond)) == 'number'
end

if acked == n then
  local from = 6
  for i = 6 + n, 4 + n + 2 * m, 2 do
    local to, beyond = from + ARGV[i] - 1, ARGV[i + 1]
    if beyond == '' or not trim(ARGV[from], beyond) then redis.call('XDEL', KEYS[1], unpack(ARGV, from, to)) end
    from = to + 1
  end
else
  won = {}
  -- One after the other is removed here, and none may fail half way. XACK of many has looked at all before it began, not as closely.
  for i = 6, 5 + n do
    if not string.find(ARGV[i], '^%d+%-%d+$') then
      assert(acked >= 0, 'commit: malformed entry')
      ARGV[i] = '0-0'
    end
  end
  for i = 1, n do
    local a = acked < 0 and redis.call('XACK', KEYS[1], group, ARGV[5 + i]) or 0
    won[i] = a + redis.call('XDEL', KEYS[1], ARGV[5 + i]) > 0
    if not won[i] then late[#late + 1] = i end
  end
end
if redis.call('EXISTS', KEYS[4]) == 1 then -- also of late ones: somebody may have removed entry and consumer by hand
  for i = 1, n do redis.pcall('HDEL', KEYS[4], ARGV[5 + i], ARGV[5 + i] .. '!') end
end
local count = n - #late
if count == 0 then return late end

local replies, order = {}, {}
for i = 1, (#ARGV - told) / 4 do
  if not won or won[i] then
    local at = told + 1 + (i - 1) * 4
    local reply, lock = tonumber(ARGV[at + 2]) or 0, tonumber(ARGV[at + 3]) or 0
    if reply > 0 then
      local fields = replies[reply]
      if not fields then
        fields = {}
        replies[reply] = fields
        order[#order + 1] = reply
      end
      fields[#fields + 1] = ARGV[at]
      fields[#fields + 1] = ARGV[at + 1]
    end
    if lock > 0 and redis.pcall('GET', KEYS[lock]) == ARGV[at] then redis.call('DEL', KEYS[lock]) end
  end
end
redis.pcall('HINCRBY', KEYS[3], counter, count)
for _, reply in ipairs(order) do
  local fields = replies[reply]
  if type(redis.pcall('XADD', KEYS[reply], 'NOMKSTREAM', '*', unpack(fields))) ~= 'string' then
    redis.pcall('HINCRBY', KEYS[3], 'unclaimed', #fields / 2)
  end
end
return late
