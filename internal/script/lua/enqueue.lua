#!lua
-- enqueue stores the tasks of one producer lane; whatever an earlier try of the same call stored is skipped.
-- KEYS tasks producer due body counts control [unique...]
-- ARGV first ttl limit, then per task: options task
-- options: '' | d<ms from now> | a<unix ms>, and u<index into KEYS>:<ttl ms>
-- returns status ('OK', 'GAP'), the lane's last number, then per task: '<entry>' stored, '@' delayed, '=<id>' duplicate of, '' stored by an earlier try and not there any more, or delayed, '!' queue full
-- The lane's value is '<last number>' and, for the last call, ' e<first entry>+<last entry>' and ' <number>:<id>' for each duplicate: a retry gets the same answers.
local first, ttl, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local lane = redis.call('GET', KEYS[2]) or '0'
local last = tonumber(string.match(lane, '^%d+'))
if first > last + 1 then return {'GAP', last} end

local n = (#ARGV - 3) / 2
local skip = last + 1 - first
if skip > n then skip = n end
local answer = {'OK', last}
for i = 1, skip do
  local dup = string.match(lane, ' ' .. string.format('%.0f', first + i - 1) .. ':(%w+)')
  answer[2 + i] = dup and ('=' .. dup) or ''
end
local low, high
if skip > 0 then low, high = string.match(lane, ' e([%d-]+)%+([%d-]+)') end
if low then
  local entries = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], low, high)) do entries[string.sub(entry[2][2] or '', 1, 26)] = entry[1] end
  for i = 1, skip do
    local entry = entries[string.sub(ARGV[2 * i + 3], 1, 26)]
    if answer[2 + i] == '' and entry then answer[2 + i] = entry end
  end
end
if skip == n then
  redis.call('PEXPIRE', KEYS[2], ttl) -- a write, so that WAIT on this connection covers what the earlier try stored
  return answer
end

local special = limit > 0
for i = skip + 1, n do special = special or ARGV[2 * i + 2] ~= '' end
local room, now = n, 0
if special then
  -- Reads BEFORE the first write: a key of a wrong type must fail the call while nothing of it is stored.
  local size = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[3])
  redis.call('HLEN', KEYS[4])
  for i = 7, #KEYS do redis.call('GET', KEYS[i]) end
  if limit > 0 then room = limit - size end
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
local dups, stored, earliest = '', 0, nil
low, high = nil, nil
if skip > 0 then dups = string.match(lane, '^%d+(.*)$') end

for i = skip + 1, n do
  if stored >= room then
    for j = i, n do answer[2 + j] = '!' end
    break
  end
  local options, task = ARGV[2 * i + 2], ARGV[2 * i + 3]
  local due, holder
  if options ~= '' then
    local key, hold = string.match(options, 'u(%d+):(%d+)')
    local id = string.sub(task, 1, 26)
    if key then
      key = KEYS[tonumber(key)]
      if not redis.call('SET', key, id, 'NX', 'PX', hold) then holder = redis.call('GET', key) end
    end
    local after, at = string.match(options, 'd(%d+)'), string.match(options, 'a(%d+)')
    if after then due = now + tonumber(after) elseif at then due = tonumber(at) end
    if holder == id then holder = nil end
  end
  if holder then
    answer[2 + i] = '=' .. holder
    dups = dups .. ' ' .. string.format('%.0f', first + i - 1) .. ':' .. holder
  elseif due then
    local id = string.sub(task, 1, 26)
    redis.call('HSET', KEYS[4], id, 'v1 ' .. task)
    redis.call('ZADD', KEYS[3], string.format('%.3f', due), id)
    if not earliest or due < earliest then earliest = due end
    answer[2 + i] = '@'
    stored = stored + 1
  else
    answer[2 + i] = redis.call('XADD', KEYS[1], '*', 'v1', task)
    stored = stored + 1
    high = answer[2 + i]
    low = low or high
  end
  answer[2] = first + i - 1
end

if answer[2] > last then
  if low and skip == 0 then dups = ' e' .. low .. '+' .. high .. dups end
  redis.call('SET', KEYS[2], string.format('%.0f', answer[2]) .. dups, 'PX', ttl)
end
if stored > 0 then redis.pcall('HINCRBY', KEYS[5], 'enqueued', stored) end
if earliest then
  local head = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  if tonumber(head[2]) >= earliest then
    redis.call('PUBLISH', KEYS[6], 'due ' .. string.format('%.0f', math.ceil(earliest)))
  end
end
return answer
