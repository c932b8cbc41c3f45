#!lua flags=allow-oom
-- group makes the consumer group, and the stream where there is none; it starts at 0, since what is done is deleted.
-- KEYS tasks
-- ARGV group
-- returns 1 made, 0 it was there
-- A script BECAUSE XGROUP CREATE is refused when memory is full: a queue that filled up before its first worker came could not drain.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made['err'] then
  if string.find(made['err'], 'BUSYGROUP', 1, true) then return 0 end
  return made
end
return 1
