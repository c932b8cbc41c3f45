#!lua flags=no-writes
-- consumers tells who reads a queue, a page of them by name, with the oldest entry that each has.
-- KEYS tasks
-- ARGV group, prefix of the queue's leases, name after which to begin, the only name to tell of ('' for all), most of them
-- returns the time in ms, consumers in all, 1 when there are more, then per consumer: name, pending, ms idle, lease, ms it lasts, and of the oldest entry it has, if any: entry, ms since it was delivered, deliveries, bytes of the payload, field, value cut to 4 kB
local group, after, only, most = ARGV[1], ARGV[3], ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
redis.call('XLEN', KEYS[1]) -- a key of a wrong type is no empty queue
local total, all = 0, {}
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], group) -- an error: there is no group yet
for _, consumer in ipairs(consumers['err'] and {} or consumers) do
  local row = {}
  for i = 1, #consumer, 2 do row[consumer[i]] = consumer[i + 1] end
  if row['name'] ~= 'released' then
    total = total + 1
    if only == row['name'] or only == '' and row['name'] > after then all[#all + 1] = row end
  end
end
table.sort(all, function(a, b) return a['name'] < b['name'] end)
local page, leases = {}, {}
for i = 1, math.min(#all, most) do
  page[i] = all[i]
  leases[i] = ARGV[2] .. all[i]['name']
end
local answer = {string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)), total, #all > most and 1 or 0}
if #page == 0 then return answer end

leases = redis.call('MGET', ARGV[2] .. page[1]['name'], unpack(leases, 2))
local oldest = {} -- most consumers have one of the first entries that are pending at all
for _, row in ipairs(redis.call('XPENDING', KEYS[1], group, '-', '+', 1000)) do
  if not oldest[row[2]] then oldest[row[2]] = row end
end

-- first is the oldest entry that a consumer has.
local function first(name)
  local row = oldest[name] or redis.call('XPENDING', KEYS[1], group, '-', '+', 1, name)[1]
  if not row then return {} end
  local entry = redis.call('XRANGE', KEYS[1], row[1], row[1])[1]
  if not entry then return {row[1], row[3], row[4], 0} end
  local value = entry[2][2] or ''
  local head = string.find(value, '\n', 1, true) or 0
  return {row[1], row[3], row[4], #value - head, string.sub(entry[2][1], 1, 128), string.sub(value, 1, math.min(head, 65536) + 4096)}
end

for i, row in ipairs(page) do
  local lasts = leases[i] and redis.call('PTTL', ARGV[2] .. row['name']) or 0
  answer[#answer + 1] = {row['name'], row['pending'], row['idle'], leases[i] or '', lasts, row['pending'] > 0 and first(row['name']) or {}}
end
return answer
