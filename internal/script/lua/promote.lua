#!lua flags=allow-oom
-- promote moves tasks that are due to the stream.
-- KEYS tasks due body counts
-- ARGV limit, prefix of the queue's reply streams
-- returns how many were moved, and the microseconds until the next one is due (-1 when there is none)
-- XADD BEFORE ZREM: a stream that takes no entry, of a wrong type or at its last ID, must not cost the task.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.3f', now), 'LIMIT', 0, ARGV[1])
local moved, bytes, changed = 0, 0, false
redis.call('XLEN', KEYS[1]) -- also where nothing is due
for _, id in ipairs(ids) do
  if bytes > 4194304 then break end -- others wait while this runs
  local body = redis.call('HGET', KEYS[3], id)
  bytes = bytes + #(body or '')
  local field, value = string.match(body or '', '^(v%d+) (.*)$')
  local task = field ~= nil
  if body and not task then field, value = 'raw', body end -- no task: a worker makes it a dead letter
  if field then
    local entry = redis.pcall('XADD', KEYS[1], '*', field, value)
    if type(entry) ~= 'string' then
      if not changed then return entry end
      break -- the next call tells
    end
    local reply = task and string.match(value, '^[^\n]- re=(%w+)')
    if reply then redis.pcall('XADD', ARGV[2] .. reply, 'NOMKSTREAM', '*', id, '~' .. entry) end
    if task then moved = moved + 1 end
  else
    redis.pcall('HINCRBY', KEYS[4], 'lost', 1)
  end
  changed = true
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
local head = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if #head == 0 then return {moved, -1} end
return {moved, math.max(0, math.ceil((tonumber(head[2]) - now) * 1000))}
