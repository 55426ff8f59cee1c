-- include: prelude, start, writes
-- KEYS: and gradients of its first chunk   ARGV: and bytes
-- How often the decision has been started, the time, the mark of its direction, the fields of the job, its gradients,
-- where they are one chunk and no more than so many bytes, and then whether this worker writes the direction, if the
-- job does: whoever has yet to read gradients holds up nobody. Of one that is not started now, those of its origin.
local attempts = start()
if attempts == 0 then
  local origin = redis.call('HMGET', KEYS[1], 'request', 'trace')
  return {0, '0', {false, false, false}, {'request', origin[1] or '', 'trace', origin[2] or ''}, false, 0}
end
local job = redis.call('HMGET', KEYS[1], 'direction', 'chunks', 'update')
local standing = redis.call('HMGET', DIRECTION .. job[1], 'epoch', 'version', 'by')
local is_small = job[2] == '1' and redis.call('STRLEN', KEYS[4]) <= tonumber(ARGV[5])
local gradients = is_small and redis.call('GET', KEYS[4])
local writes_it = gradients and job[3] == '1' and writes(WRITER .. job[1], ARGV[3], ARGV[4]) or 0
return {attempts, string.format('%.6f', now()), standing, redis.call('HGETALL', KEYS[1]), gradients, writes_it}
