#!lua flags=no-writes
-- run_slow finds tasks of the phase that take far longer than the others, once none waits any more and half of them are decided.
-- KEYS run running took
-- ARGV how many times the median is far, ms that are never far
-- returns per task: number, its record in running
local run = redis.call('HMGET', KEYS[1], 'state', 'splits', 'partitions', 'maps', 'reduces')
local all, decided
if run[1] == 'mapping' then
  all, decided = tonumber(run[2]), tonumber(run[4] or '0')
elseif run[1] == 'reducing' then
  all, decided = tonumber(run[3]), tonumber(run[5] or '0')
else
  return {}
end
if decided >= all or decided * 2 < all then return {} end
local rows, records, copied = redis.call('HGETALL', KEYS[2]), {}, {}
for i = 1, #rows, 2 do
  local number, mark = string.match(rows[i], '^(%d+)(c?)$')
  if number and mark == 'c' then
    copied[number] = true
  elseif number then
    records[#records + 1] = {number, rows[i + 1]}
  end
end
if #records < all - decided then return {} end
local took = redis.call('LRANGE', KEYS[3], 0, -1)
for i = 1, #took do took[i] = tonumber(took[i]) end
table.sort(took)
local far = math.max((took[math.ceil(#took / 2)] or 0) * tonumber(ARGV[1]), tonumber(ARGV[2]))
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local slow = {}
for _, record in ipairs(records) do
  if not copied[record[1]] and now - tonumber(string.match(record[2], '^%d+')) > far then
    slow[#slow + 1] = record[1]
    slow[#slow + 1] = record[2]
  end
end
return slow
