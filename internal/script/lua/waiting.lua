#!lua flags=no-writes
-- waiting finds the queues where entries wait that nobody was given.
-- KEYS tasks... (of each queue)
-- ARGV group
-- returns the numbers (1 to n) of those
local answer = {}
for i = 1, #KEYS do
  local length = redis.pcall('XLEN', KEYS[i])
  if length ~= 0 then
    local pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
    if type(length) ~= 'number' or pending['err'] or length > pending[1] then answer[#answer + 1] = i end -- reading it tells what is wrong
  end
end
return answer
