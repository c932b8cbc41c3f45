#!lua flags=allow-oom
-- reclaim takes over pending entries of a consumer that is dead, and removes the consumer once it has none.
-- KEYS tasks lease crashes counts control
-- ARGV group me ('released': for anybody; the answer has no entries) dead limit mode ('lease' refuses while the lease exists, 'presence' ends the lease first, 'released' counts no crash)
-- returns how many are left (-1: it is alive), how many were gone from the stream, then per entry: the entry, crashes, 1 when it crashed alone
local group, me, dead, mode = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
if mode == 'lease' and redis.call('EXISTS', KEYS[2]) == 1 then return {-1, 0} end
local pending = redis.call('XPENDING', KEYS[1], group, '-', '+', ARGV[4], dead) -- BEFORE the first write
if mode == 'presence' then redis.call('DEL', KEYS[2]) end

local answer, ids = {0, 0}, {}
for i, row in ipairs(pending) do ids[i] = row[1] end
if #ids > 0 then
  -- Entries that were trimmed away are dropped from the pending list by XCLAIM and are not in its answer.
  local entries = redis.call('XCLAIM', KEYS[1], group, me, 0, unpack(ids))
  local taken = 0
  for _, entry in ipairs(entries) do
    if entry then
      local crashes = 0
      if mode ~= 'released' then
        crashes = tonumber(redis.pcall('HINCRBY', KEYS[3], entry[1], 1)) or 0
      elseif redis.call('EXISTS', KEYS[3]) == 1 then
        crashes = tonumber(redis.pcall('HGET', KEYS[3], entry[1]) or '0') or 0
      end
      if me ~= 'released' then -- the mark stays for whoever takes the entry from there
        local alone = 0
        if crashes > 0 then alone = redis.call('HDEL', KEYS[3], entry[1] .. '!') end
        answer[#answer + 1] = entry
        answer[#answer + 1] = crashes
        answer[#answer + 1] = alone
      end
      taken = taken + 1
    end
  end
  answer[2] = #ids - taken
  if taken > 0 and me == 'released' then redis.call('PUBLISH', KEYS[5], 'released') end
  if taken > 0 then redis.pcall('HINCRBY', KEYS[4], mode == 'released' and 'handed over' or 'reclaimed', taken) end
  if answer[2] > 0 then
    redis.pcall('HINCRBY', KEYS[4], 'lost', answer[2])
    for _, id in ipairs(ids) do
      if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
        redis.call('XACK', KEYS[1], group, id)
        redis.pcall('HDEL', KEYS[3], id, id .. '!')
      end
    end
  end
end
local left = redis.call('XPENDING', KEYS[1], group, '-', '+', 1, dead)
if #left == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, dead)
else
  answer[1] = #left
end
return answer
