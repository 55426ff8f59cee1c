local function now()
  local t = redis.call('TIME')
  return t[1] + t[2] / 1e6
end
local function ended(status)
  return status == 'succeeded' or status == 'failed' or status == 'cancelled'
end
-- A full Redis refuses the first write of a script that needs memory, and nothing after any other write. What is under
-- way ends all the same, and then there is memory again.
local function even_if_full(job)
  redis.call('HDEL', job, '')
end
local function publish(id, status)
  redis.call('PUBLISH', EVENTS, cjson.encode({job = id, status = status}))
end
-- From when on a job's files in the gradient store may go, where it has any: a decide worker takes them away.
local function stored_until(id, time)
  redis.call('ZADD', STORED, 'XX', time, id)
end
local function keep(job, milliseconds, succeeded) -- and what its Idempotency-Key made
  redis.call('PEXPIRE', job, milliseconds)
  local record = redis.call('HGET', job, 'idempotency')
  if not record then return end
  if succeeded then -- is never to happen again: that is remembered for longer than the answer
    redis.call('HSET', record, 'succeeded', '1')
    milliseconds = math.max(milliseconds, redis.call('PTTL', record))
  end
  redis.call('PEXPIRE', record, milliseconds)
end
