#!lua flags=allow-oom
-- commit records outcomes of tasks and removes their entries; the first commit of an entry wins.
-- KEYS tasks lease counts crashes [reply or unique...]
-- ARGV group fence counter n, then n entry ids, then, if anybody is told, per task: task id, outcome, index into KEYS of its reply (0 none), of its lock (0 none)
-- returns the numbers (1 to n) of the tasks that were already done elsewhere
-- XACK and XDEL BEFORE the reply: a full Redis could not drain otherwise.
-- While the lease still begins with the fence under which the entries were fetched, nobody reclaimed any of them, and one XACK
-- and one XDEL serve all. Otherwise each entry is asked for by itself: what counts is XACK + XDEL, since an entry may be
-- orphaned (no ack), trimmed away (no delete) or done elsewhere (neither).
-- PCALL AFTER the gate: a key of a wrong type must not take the other outcomes with it.
local group, fence, counter, n = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local fenced = fence ~= '' and string.sub(redis.call('GET', KEYS[2]) or '', 1, #fence + 1) == fence .. ' '
local acked = fenced and redis.call('XACK', KEYS[1], group, unpack(ARGV, 5, 4 + n)) or -1
local won, late = nil, {}
if acked == n then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 5, 4 + n))
else
  won = {}
  for i = 1, n do
    local a = acked < 0 and redis.call('XACK', KEYS[1], group, ARGV[4 + i]) or 0
    won[i] = a + redis.call('XDEL', KEYS[1], ARGV[4 + i]) > 0
    if not won[i] then late[#late + 1] = i end
  end
end
if redis.call('EXISTS', KEYS[4]) == 1 then -- also of late ones: somebody may have removed entry and consumer by hand
  for i = 1, n do redis.pcall('HDEL', KEYS[4], ARGV[4 + i], ARGV[4 + i] .. '!') end
end
local count = n - #late
if count == 0 then return late end

local replies, order = {}, {}
for i = 1, (#ARGV - 4 - n) / 4 do
  if not won or won[i] then
    local at = 5 + n + (i - 1) * 4
    local reply, lock = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
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
