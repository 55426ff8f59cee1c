-- include: prelude, unfinished, turns
-- KEYS: job, pending, ready and turns of decisions, gradients, doing   ARGV: id, chunk, worker, gradients, seconds
-- Takes gradients, where they are not there already and given as ''. How many chunks are missing, this one among them
-- where its gradients are; -1 when the job has ended and nobody wants them.
local function rest()
  if redis.call('GET', KEYS[6]) == ARGV[3] then redis.call('DEL', KEYS[6]) end
end
local job = redis.call('HMGET', KEYS[1], 'status', 'retain')
if not job[1] or ended(job[1]) then
  rest()
  if job[1] == 'succeeded' and job[2] == '1' then return 0 end
  redis.call('UNLINK', KEYS[5])
  return -1
end
if ARGV[4] ~= '' then
  -- The first write: one that a full Redis refuses, which says so, and nothing is done.
  local taken = redis.pcall('SET', KEYS[5], ARGV[4], 'EX', ARGV[5])
  if taken.err then return redis.error_reply((string.gsub(taken.err, '^@[^-]*-', ''))) end -- Redis 6 says where, too
elseif redis.call('EXISTS', KEYS[5]) == 0 then -- lost with Redis's last second: they are computed again
  rest()
  return redis.call('SCARD', KEYS[2])
end
rest()
local removed = redis.call('SREM', KEYS[2], ARGV[2])
local missing = redis.call('SCARD', KEYS[2])
if removed == 1 then
  redis.call('HDEL', KEYS[1], 'refused')
  redis.call('ZREM', unfinished(KEYS[1]), ARGV[1] .. ':' .. ARGV[2])
  if missing == 0 then
    redis.call('HSET', KEYS[1], 'gradients_done', now())
    offer(KEYS[3], KEYS[4], KEYS[1])
  end
  publish(ARGV[1], 'running')
end
return missing
