#!lua flags=allow-oom
-- remove ends tasks that have not started with the outcome that they were cancelled; what a worker has stays.
-- KEYS tasks due body counts crashes chunks
-- ARGV group, prefix of the queue's uniqueness locks, prefix of its reply streams, message, then 'each' and per task: id, entry ('' when not known); or 'page', start, end, most to look at
-- returns after 'each' per task: how many it stood for (a chunk is many), 0 when it is not there, -1 when a worker has it; fewer answers than tasks where these are large: call again for the rest
-- returns after 'page': how many were looked at, removed, the last entry looked at ('' when there was none)
-- A page goes from its start, the newest, back to its end: away from where workers take theirs.
assert(#ARGV >= 5 and (ARGV[5] == 'page' and #ARGV == 8 and string.find(ARGV[8], '^%d+$') or ARGV[5] == 'each' and #ARGV % 2 == 1), 'remove: malformed arguments')
local group, message, removed = ARGV[1], ARGV[4], 0

-- finish releases the uniqueness lock of a task that is removed, and tells whoever waits for its outcome.
local function finish(header, id)
  local hash = string.match(header, ' uq=(%w+)')
  if hash and redis.pcall('GET', ARGV[2] .. hash) == id then redis.call('DEL', ARGV[2] .. hash) end
  local reply = string.match(header, ' re=(%w+)')
  if reply then
    local name, attempt = string.match(header, '^%S+ ([%w%._-]+)') or '', string.match(header, ' a=(%d+)') or '1'
    redis.pcall('XADD', ARGV[3] .. reply, 'NOMKSTREAM', '*', id, '-{"function":"' .. name .. '","attempt":' .. attempt ..
      ',"reason":"cancelled","message":"' .. message .. '"}')
  end
  local n = tonumber(string.match(header, ' n=(%d+)') or 1)
  removed = removed + n
  return n
end

-- What a leaving worker handed back waits with the consumer 'released': nobody runs it.
local function running(entry)
  local rows = redis.pcall('XPENDING', KEYS[1], group, entry, entry, 1)
  if rows['err'] or #rows == 0 then return false end
  if rows[1][2] ~= 'released' then return true end
  redis.call('XACK', KEYS[1], group, entry)
  return false
end

-- drop ends one that lies in the stream.
local function drop(stored)
  local entry = stored[1]
  if running(entry) then return -1 end
  redis.call('XDEL', KEYS[1], entry)
  redis.pcall('HDEL', KEYS[5], entry, entry .. '!')
  redis.pcall('HDEL', KEYS[6], entry)
  if not string.match(stored[2][1] or '', '^v%d+$') then -- somebody's entry that is no task
    removed = removed + 1
    return 1
  end
  local header = string.match(stored[2][2], '^[^\n]*')
  return finish(header, string.match(header, '^%S*'))
end

local function weigh(stored) return #(stored[2][2] or '') end

local answer, bytes, most = {}, 0, 4194304 -- others wait while this runs
if ARGV[5] == 'page' then
  local looked, last, left = 0, '', tonumber(ARGV[8])
  local start, count = ARGV[6], 16
  while left > 0 and bytes < most do
    local page = redis.call('XREVRANGE', KEYS[1], start, ARGV[7], 'COUNT', math.min(count, left))
    for _, stored in ipairs(page) do
      bytes = bytes + weigh(stored)
      drop(stored)
      last = stored[1]
    end
    looked, left = looked + #page, left - #page
    if #page < count then left = 0 end
    start, count = '(' .. last, math.max(1, math.floor(most / math.max(1, bytes / math.max(1, looked))))
  end
  answer = {looked, removed, last}
else
  redis.call('ZCARD', KEYS[2])
  redis.call('HLEN', KEYS[3]) -- BEFORE the first write: a key of a wrong type must fail the call while nothing of it is done
  for i = 6, #ARGV, 2 do
    local id, entry, result = ARGV[i], ARGV[i + 1], 0
    if bytes >= most then break end
    local stored = {}
    if string.find(entry, '^%d+%-%d+$') then stored = redis.pcall('XRANGE', KEYS[1], entry, entry) end -- an error: it is not there
    if redis.call('ZREM', KEYS[2], id) == 1 then
      local body = redis.call('HGET', KEYS[3], id) or ''
      bytes = bytes + #body
      redis.call('HDEL', KEYS[3], id)
      result = finish(string.match(body, '^v%d+ ([^\n]*)') or '', id)
    elseif #stored > 0 then
      bytes = bytes + weigh(stored[1])
      result = drop(stored[1])
    end
    answer[#answer + 1] = result
  end
end
if removed > 0 then redis.pcall('HINCRBY', KEYS[4], 'cancelled', removed) end
return answer
