#!lua flags=allow-oom
-- scatter records what became of items of chunks; a chunk whose items are all settled is removed, of one that runs on a note is kept of those that are.
-- KEYS tasks due body dead counts crashes chunks control cancels [reply...]
-- ARGV group consumer, then per chunk: entry, chunk id, index into KEYS of its reply (0 none), 'own' or 'any', known, settled, outcome, totals, how many steps; then per step: verb, item id, how many values, values
-- returns per chunk: 1 recorded, 0 done elsewhere or not ours any more, or the note that is kept and is not the one known
-- known is the note as the caller knows it, settled the one to keep: '' ends the chunk. 'own' refuses when the entry is with another worker.
-- Steps: 'due' (task as body, delay) retries, 'task' (task) makes an entry of its own, 'dead' (fields and values) a dead letter.
-- Where a session was closed, cancels has its ID: then no item becomes a task, since nobody could cancel it any more.
-- XACK and XDEL BEFORE the reply, PCALL AFTER the gate, and reads before it: see commit and retry.
local group, me = ARGV[1], ARGV[2]
local time, earliest
local answers = {}

-- count adds to the totals, given as 'done=3,dead=1'.
local function count(totals)
  for name, n in string.gmatch(totals, '([^=,]+)=(%d+)') do redis.pcall('HINCRBY', KEYS[5], name, n) end
end

-- due is the time of a retry.
local function due(delay)
  local at = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 + tonumber(delay)
  if not earliest or at < earliest then earliest = at end
  return string.format('%.3f', at)
end

-- step does one, and returns where the item is then.
local function step(verb, id, at)
  if verb == 'due' then
    redis.call('HSET', KEYS[3], id, ARGV[at])
    redis.call('ZADD', KEYS[2], due(ARGV[at + 1]), id)
    return '~due'
  elseif verb == 'task' then
    local entry = redis.pcall('XADD', KEYS[1], '*', 'v1', ARGV[at])
    if type(entry) == 'string' then return '~' .. entry end
    redis.call('HSET', KEYS[3], id, 'v1 ' .. ARGV[at]) -- a stream at its last ID takes none: the item waits with those that are due
    redis.call('ZADD', KEYS[2], due(0), id)
    return '~due'
  end
end

-- bury makes dead letters of the items of a chunk, whose steps begin at ARGV[at], BEFORE its entry goes: a stream may be at its last ID.
local function bury(at, steps)
  for _ = 1, steps do
    local values = tonumber(ARGV[at + 2])
    if ARGV[at] == 'dead' then redis.call('XADD', KEYS[4], '*', unpack(ARGV, at + 3, at + 2 + values)) end
    at = at + 3 + values
  end
end

-- gate decides whether the chunk at ARGV[i] may be recorded, and changes nothing.
local function gate(i)
  local entry, known, settled = ARGV[i], ARGV[i + 4], ARGV[i + 5]
  local kept = redis.call('HGET', KEYS[7], entry) or ''
  if kept ~= '' and kept == settled then return 2 end -- by an earlier try of this call
  if kept ~= '' and kept ~= known then return kept end
  local pending = redis.call('XPENDING', KEYS[1], group, entry, entry, 1)
  if ARGV[i + 3] == 'own' and #pending > 0 and pending[1][2] ~= me then return 0 end
  if settled ~= '' then
    return #pending > 0 and 1 or 0
  end
  if #pending == 0 and #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then return 0 end
  return 1
end

-- pass ends the chunk at ARGV[i], or notes which of its items are settled.
local function pass(i)
  local entry, settled = ARGV[i], ARGV[i + 5]
  if settled ~= '' then
    redis.call('HSET', KEYS[7], entry, settled)
    return
  end
  redis.call('XACK', KEYS[1], group, entry)
  redis.call('XDEL', KEYS[1], entry)
  redis.call('HDEL', KEYS[7], entry)
  if redis.call('EXISTS', KEYS[6]) == 1 then redis.pcall('HDEL', KEYS[6], entry, entry .. '!') end
end

-- tell adds outcomes to the reply stream: all in one entry, or, where Lua's stack does not take them, in some.
local function tell(key, fields, totals)
  for from = 1, #fields, 2000 do
    local to = math.min(from + 1999, #fields)
    if type(redis.pcall('XADD', key, 'NOMKSTREAM', '*', unpack(fields, from, to))) ~= 'string' then
      local n = 0
      for _, one in ipairs({'done', 'dead', 'cancelled'}) do n = n + tonumber(string.match(totals, one .. '=(%d+)') or 0) end
      if from == 1 then redis.pcall('HINCRBY', KEYS[5], 'unclaimed', n) end
    end
  end
end

-- check holds the form of the call, and the types of what its steps go to, BEFORE the first write.
local function check()
  local i, moves = 3, false
  while i <= #ARGV do
    local reply, steps, at = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 8]), i + 9
    assert(string.find(ARGV[i], '^%d+%-%d+$') and (reply == 0 or KEYS[reply]) and steps and steps % 1 == 0, 'scatter: malformed arguments')
    moves = moves or steps > 0
    for _ = 1, steps do
      local verb, values = ARGV[at], tonumber(ARGV[at + 2])
      local sound = verb == 'due' and values == 2 and string.find(ARGV[at + 4] or '', '^%-?%d+$') or verb == 'task' and values == 1
        or verb == 'dead' and values and values >= 2 and values % 2 == 0 and values < 7000
      assert(sound, 'scatter: malformed arguments') -- also at the end of what there is, however many there should be
      at = at + 3 + values
    end
    i = at
  end
  assert(i == #ARGV + 1, 'scatter: malformed arguments')
  if moves then
    redis.call('XLEN', KEYS[4])
    redis.call('HLEN', KEYS[3])
    redis.call('ZCARD', KEYS[2])
  end
end
check()

local i = 3
while i <= #ARGV do
  local id, reply, outcome, totals, steps = ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 6], ARGV[i + 7], tonumber(ARGV[i + 8])
  local verdict = gate(i)
  local fields = {id, outcome}
  local at = i + 9
  time = time or (steps > 0 and redis.call('TIME'))
  if verdict == 1 then
    bury(at, steps)
    pass(i)
  end
  local closed = reply > 0 and steps > 0 and redis.pcall('ZMSCORE', KEYS[9], string.match(KEYS[reply], '%w+$'))[1]
  local dropped = 0
  for _ = 1, steps do
    local values = tonumber(ARGV[at + 2])
    if verdict == 1 and closed and ARGV[at] ~= 'dead' then
      dropped = dropped + 1
    elseif verdict == 1 then
      local place = step(ARGV[at], ARGV[at + 1], at + 3)
      if place then
        fields[#fields + 1] = ARGV[at + 1]
        fields[#fields + 1] = place
      end
    end
    at = at + 3 + values
  end
  if verdict == 1 then
    if dropped > 0 then redis.pcall('HINCRBY', KEYS[5], 'cancelled', dropped) end
    count(totals)
    if reply > 0 and outcome ~= '' then tell(KEYS[reply], fields, totals) end
  end
  if verdict == 2 then verdict = 1 end
  answers[#answers + 1] = verdict
  i = at
end
if earliest then
  local head = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if head[2] and tonumber(head[2]) >= earliest then redis.call('PUBLISH', KEYS[8], 'due ' .. string.format('%.0f', math.ceil(earliest))) end
end
return answers
