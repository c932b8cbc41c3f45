#!lua
-- enqueue stores the tasks of one producer lane; whatever an earlier try of the same call stored is skipped.
-- KEYS tasks producer counts due body control [unique or reply...] (of plain tasks, with '' for options, the first three are enough)
-- ARGV before after ttl options, then per task: task
-- before: the lane's value as the last answer had it ('0' at first, its number alone will do); after: the number of the last task; ttl: '' leaves it as it is
-- options: '' | l<most tasks in the queue>, then per task that has any ' <1 for the first>' and d<ms from now> | a<unix ms>, u<index into KEYS of its lock>:<ttl ms>, and k<index into KEYS of its reply stream, to be made and kept>:<ms from when it is due>
-- returns, where before is what lies there and options is '': the lane's value, ' e' in it before the first entry; the others follow it, each with 1 more after the '-'
-- returns otherwise status ('OK', 'GAP'), the lane's value, then per task: '<entry>' stored, '@' delayed, '=<id>' duplicate of, '' stored by an earlier try and not there any more, or delayed, '!' queue full
-- The lane's value is '<last number>' and, for the last call, ' e<first entry>+<last entry>' and ' <number>:<id>' for each duplicate: a retry gets the same answers.
local call, key, ttl = redis.call, KEYS[1], ARGV[3]
assert(#ARGV > 4 and (ttl == '' or #ttl < 16 and string.find(ttl, '^[1-9]%d*$')), 'enqueue: malformed arguments')
local lane = call('GET', KEYS[2]) or '0'
local n = #ARGV - 4
local low, high

-- remember sets the lane's value AFTER the tasks are stored: a stream of a wrong type must fail the call while nothing of it is noted.
local function remember(value)
  if ttl == '' then call('SET', KEYS[2], value, 'KEEPTTL') else call('SET', KEYS[2], value, 'PX', ttl) end
end

if lane == ARGV[1] and ARGV[4] == '' then
  low = call('XADD', key, '*', 'v1', ARGV[5])
  high = low
  if n > 1 then
    local next = string.match(low, '^%d+%-') .. '*'
    for i = 6, 4 + n do high = call('XADD', key, next, 'v1', ARGV[i]) end
  end
  lane = ARGV[2] .. ' e' .. low .. '+' .. high
  remember(lane)
  redis.pcall('HINCRBY', KEYS[3], 'enqueued', n)
  return lane
end

local last, first = tonumber(string.match(lane, '^%d+')), tonumber(string.match(ARGV[1], '^%d+')) + 1
if first > last + 1 then return {'GAP', lane} end
local skip = last + 1 - first
if skip > n then skip = n end
local answer = {'OK', lane}
for i = 1, skip do
  local dup = string.match(lane, ' ' .. string.format('%.0f', first + i - 1) .. ':(%w+)')
  answer[2 + i] = dup and ('=' .. dup) or ''
end
if skip > 0 then low, high = string.match(lane, ' e([%d-]+)%+([%d-]+)') end
if low then
  local entries = {}
  for _, entry in ipairs(call('XRANGE', key, low, high)) do entries[string.sub(entry[2][2] or '', 1, 26)] = entry[1] end
  for i = 1, skip do
    local entry = entries[string.sub(ARGV[4 + i], 1, 26)]
    if answer[2 + i] == '' and entry then answer[2 + i] = entry end
  end
end
if skip == n then
  if ttl ~= '' then call('PEXPIRE', KEYS[2], ttl) end -- a write, so that WAIT on this connection covers what the earlier try stored
  return answer
end

local room, now, options = n, 0, {}
if ARGV[4] ~= '' then
  -- Reads BEFORE the first write: a key of a wrong type must fail the call while nothing of it is stored.
  local size = call('XLEN', key) + call('ZCARD', KEYS[4])
  call('HLEN', KEYS[5])
  local limit = string.match(ARGV[4], '^l(%d+)')
  if limit then room = tonumber(limit) - size end
  for i, text in string.gmatch(ARGV[4], ' (%d+)(%S+)') do
    local lock = string.match(text, 'u(%d+)')
    if lock then call('GET', KEYS[tonumber(lock)]) end
    options[tonumber(i)] = text
  end
  local time = call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
local dups, stored, earliest = '', 0, nil
local locked, delayed = {}, {}
low, high = nil, nil
if skip > 0 then dups = string.match(lane, '^%d+(.*)$') end

-- keep makes the reply stream of a task whose outcome is kept BEFORE anybody runs it. PCALL: whatever lies there must not fail the call.
local function keep(option, due)
  local reply, hold = string.match(option or '', 'k(%d+):(%d+)')
  if not reply then return end
  reply = tonumber(reply)
  redis.pcall('XADD', KEYS[reply], '0-1', 'v', '1')
  redis.pcall('PEXPIRE', KEYS[reply], string.format('%.0f', tonumber(hold) + math.max(0, (due or now) - now)))
end

local reached = last
for i = skip + 1, n do
  if stored >= room then
    for j = i, n do answer[2 + j] = '!' end
    break
  end
  local option, task = options[i], ARGV[4 + i]
  local due, holder
  if option then
    local lock, hold = string.match(option, 'u(%d+):(%d+)')
    local id = string.sub(task, 1, 26)
    if lock then
      lock = tonumber(lock)
      if call('SET', KEYS[lock], id, 'NX', 'PX', hold) then locked[#locked + 1] = lock else holder = call('GET', KEYS[lock]) end
    end
    local after, at = string.match(option, 'd(%d+)'), string.match(option, 'a(%d+)')
    if after then due = now + tonumber(after) elseif at then due = tonumber(at) end
    if holder == id then holder = nil end
  end
  if holder then
    answer[2 + i] = '=' .. holder
    dups = dups .. ' ' .. string.format('%.0f', first + i - 1) .. ':' .. holder
  elseif due then
    keep(option, due)
    local id = string.sub(task, 1, 26)
    call('HSET', KEYS[5], id, 'v1 ' .. task)
    call('ZADD', KEYS[4], string.format('%.3f', due), id)
    delayed[#delayed + 1] = id
    if not earliest or due < earliest then earliest = due end
    answer[2 + i] = '@'
    stored = stored + 1
  else
    local entry = redis.pcall('XADD', key, '*', 'v1', task)
    if type(entry) ~= 'string' then -- a stream at its last ID takes none: nothing of the call is kept
      for _, done in ipairs(locked) do call('DEL', KEYS[done]) end
      for _, id in ipairs(delayed) do
        call('HDEL', KEYS[5], id)
        call('ZREM', KEYS[4], id)
      end
      return entry
    end
    keep(option)
    answer[2 + i] = entry
    stored = stored + 1
    high = answer[2 + i]
    low = low or high
  end
  reached = first + i - 1
end

if reached > last then
  if low and skip == 0 then dups = ' e' .. low .. '+' .. high .. dups end
  answer[2] = string.format('%.0f', reached) .. dups
  remember(answer[2])
end
if stored > 0 then redis.pcall('HINCRBY', KEYS[3], 'enqueued', stored) end
if earliest then
  local head = call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
  if tonumber(head[2]) >= earliest then
    call('PUBLISH', KEYS[6], 'due ' .. string.format('%.0f', math.ceil(earliest)))
  end
end
return answer
