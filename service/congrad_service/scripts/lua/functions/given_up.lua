-- The samples of a failed job are not kept any more.
local function forget(member)
  local id, chunks = string.match(member, '^([^:]*):(%d+):')
  for i = 0, chunks - 1 do redis.call('UNLINK', JOB .. id .. ':chunk:' .. i) end
  redis.call('HDEL', JOB .. id, 'again')
  let_go(GIVEN_UP, member)
end
local function given_up_as(id)
  local job = redis.call('HMGET', JOB .. id, 'chunks', 'bytes')
  return id .. ':' .. (job[1] or 0) .. ':' .. (job[2] or 0)
end
-- A failed job has been sent anew, as another.
local function tried_again(id, as)
  if redis.call('EXISTS', JOB .. id) == 0 then return end
  redis.call('HSET', JOB .. id, 'retried', as)
  forget(given_up_as(id))
end
