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
-- An earlier release did not tell the bytes that a job retains from those that Redis has of them.
local function bytes_of(keeps, awaited)
  return keeps or awaited
end
local function no_longer_retained(job, id)
  local found = redis.call('HMGET', job, 'retained', 'keeps', 'awaited')
  if found[1] then redis.call('ZREM', found[1], id .. ':' .. bytes_of(found[2], found[3])) end
  stored_until(id, now())
end
local function retain(key, time, member, seconds)
  redis.call('ZADD', key, time, member)
  redis.call('EXPIRE', key, seconds)
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
