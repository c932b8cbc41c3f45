#!lua flags=no-writes
-- list shows tasks of a queue in one state, a page of them, with the first 4 kB of their payloads.
-- KEYS tasks crashes due body dead
-- ARGV group, state (waiting, running, delayed, dead), function ('' for any), worker ('' for any), where to go on ('' at the beginning), most tasks, most entries to look at
-- returns the time in ms, where to go on ('' at the end), how many were looked at, commands that took, then per task: place, bytes of the payload, consumer or due time, ms since it was delivered, deliveries, crashes, fields and values
-- No step takes more than 8 MiB out of the stream, and no call more than about 60 commands: a page may be short.
local group, func, worker, from = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local wanted, look = tonumber(ARGV[6]), tonumber(ARGV[7])
local looked, bytes, rows, commands = 0, 0, {}, 0

-- step is how many entries to read next: few until it is known how large they are. 0 ends the page.
local function step()
  local left = 8388608 - bytes
  if #rows >= wanted or looked >= look or left <= 0 or commands >= 60 then return 0 end
  local n = looked == 0 and 4 or math.max(1, math.floor(left / (bytes / looked + 1)))
  return math.min(n, 500, look - looked, func == '' and wanted - #rows or 500)
end

-- cut is the fields of an entry with the first 4 kB of what is long, and how large its payload is.
local function cut(fields)
  local short, size, all = {}, nil, 0
  for i = 1, #fields, 2 do
    local value, head = fields[i + 1], 0
    if string.find(fields[i], '^v%d') then
      head = string.find(value, '\n', 1, true) or 0
      size = #value - head
    end
    all = all + #value
    if i < 32 then
      short[i] = string.sub(fields[i], 1, 128)
      short[i + 1] = string.sub(value, 1, math.min(head, 65536) + 4096)
    end
  end
  return short, size or all
end

-- take looks at an entry, and adds it to the page if it is of the function.
local function take(place, fields, who, idle, deliveries)
  looked = looked + 1
  for i = 1, #fields do bytes = bytes + #fields[i] end
  if func ~= '' then
    local of
    for i = 1, #fields, 2 do
      if string.find(fields[i], '^v%d') then of = string.match(string.sub(fields[i + 1], 1, 200), '^%S+ ([^%s]+)') end
    end
    if of ~= func then return end
  end
  local short, size = cut(fields)
  rows[#rows + 1] = {place, size, who or '', idle or 0, deliveries or 0, 0, short}
end

-- walk goes through the entries of a stream from one on, and returns where it stopped, '' at the end.
local function walk(newest, start)
  while true do
    local n = step()
    if n == 0 then return start end
    local found
    if newest then
      found = redis.call('XREVRANGE', KEYS[5], start, '-', 'COUNT', n)
    else
      found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', n)
    end
    commands = commands + 1
    for _, entry in ipairs(found) do
      if #rows >= wanted then return start end
      take(entry[1], entry[2])
      start = '(' .. entry[1]
    end
    if #found < n then return '' end
  end
end

-- fetch gets entries that are pending. Most are neighbours, and one read brings many; where few are, each is read by itself.
local function fetch(list)
  local fields, at, alone = {}, 1, false
  while at <= #list and commands < 60 do
    local found = redis.call('XRANGE', KEYS[1], list[at][1], list[#list][1], 'COUNT', alone and 1 or #list - at + 1)
    commands = commands + 1
    local between, before = 0, at
    for _, entry in ipairs(found) do
      between = between + 1
      fields[entry[1]] = entry[2]
    end
    while at <= #list and fields[list[at][1]] do at = at + 1 end
    alone = alone or (at - before) * 2 < between
    if at == before then -- this one is not there any more: somebody deleted it
      fields[list[at][1]] = {}
      at = at + 1
    end
  end
  return fields
end

-- pending goes through what a consumer has, or all but 'released'.
local function pending(who, start)
  while true do
    local n = step()
    if n == 0 then return start end
    local all
    if who == '' then
      all = redis.call('XPENDING', KEYS[1], group, start, '+', n)
    else
      all = redis.call('XPENDING', KEYS[1], group, start, '+', n, who)
    end
    commands = commands + 1
    local list = {}
    for _, row in ipairs(all) do
      if row[2] ~= 'released' or who == 'released' then list[#list + 1] = row end
    end
    local fields = fetch(list)
    for _, row in ipairs(all) do
      if row[2] == 'released' and who ~= 'released' then
        looked = looked + 1
      elseif #rows >= wanted or not fields[row[1]] then
        return start
      else
        take(row[1], fields[row[1]], row[2], row[3], row[4])
      end
      start = '(' .. row[1]
    end
    if #all < n then return '' end
  end
end

-- rank finds the first task that is due after another one, which may be gone.
local function rank(score, id)
  local low, high = redis.call('ZCOUNT', KEYS[3], '-inf', '(' .. score), redis.call('ZCOUNT', KEYS[3], '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    commands = commands + 1
    if redis.call('ZRANGE', KEYS[3], middle, middle)[1] <= id then low = middle + 1 else high = middle end
  end
  return low
end

local function delayed(start)
  local at = start == '' and 0 or rank(string.match(start, '^(%S+) (.*)$'))
  while true do
    local n = step()
    if n == 0 then return start end
    local due = redis.call('ZRANGE', KEYS[3], at, at + n - 1, 'WITHSCORES')
    if #due == 0 then return '' end
    local ids = {}
    for i = 1, #due, 2 do ids[#ids + 1] = due[i] end
    local bodies = redis.call('HMGET', KEYS[4], unpack(ids))
    commands = commands + 2
    for i, id in ipairs(ids) do
      if #rows >= wanted then return start end
      local name, value = string.match(bodies[i] or '', '^(%S+) (.*)$')
      take(id, name and {name, value} or {'body', bodies[i] or ''}, due[2 * i])
      start = due[2 * i] .. ' ' .. id
    end
    at = at + n
    if #ids < n then return '' end
  end
end

-- behind tells whether an entry comes after another one.
local function behind(a, b)
  local ams, aseq = string.match(a, '(%d+)-(%d+)')
  local bms, bseq = string.match(b, '(%d+)-(%d+)')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams > bms or ams == bms and aseq > bseq
end

-- waiting goes through what was handed back, which is older, and then through what nobody was given.
local function waiting(start, last)
  local kind, place = string.match(start, '^(%a)(.*)$')
  if last and kind ~= 'n' then
    local stopped = pending('released', place or '-')
    if stopped ~= '' then return 'r' .. stopped end
    place = nil
  end
  if last and (not place or not behind(place, last)) then place = '(' .. last end
  local stopped = walk(false, place or '-')
  return stopped == '' and '' or 'n' .. stopped
end

local time = redis.call('TIME')
local last -- what the group was given, nothing where there is none
if ARGV[2] == 'waiting' or ARGV[2] == 'running' then
  redis.call('XLEN', KEYS[1]) -- a key of a wrong type is no empty queue
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
  for _, g in ipairs(groups['err'] and {} or groups) do
    local row = {}
    for i = 1, #g, 2 do row[g[i]] = g[i + 1] end
    if row['name'] == group then last = row['last-delivered-id'] end
  end
end
local next = ''
if ARGV[2] == 'waiting' then
  next = waiting(from, last)
elseif ARGV[2] == 'running' then
  if last then next = pending(worker, from == '' and '-' or from) end
elseif ARGV[2] == 'delayed' then
  next = delayed(from)
else
  next = walk(true, from == '' and '+' or from)
end

if ARGV[2] == 'waiting' or ARGV[2] == 'running' then
  local ids = {}
  for _, row in ipairs(rows) do ids[#ids + 1] = row[1] end
  if #ids > 0 then
    for i, n in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do rows[i][6] = n or 0 end
  end
end
return {string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)), next, looked, commands, unpack(rows)}
