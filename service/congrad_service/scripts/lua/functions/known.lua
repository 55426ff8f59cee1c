-- What an idempotency key made of this request before: 'new' (nothing, or nothing that counts), 'existing', 'gone'
-- (a job that has succeeded, and whose answer has expired) or 'mismatch' (another request); and the job's id.
local function known(key, digest)
  local made = redis.call('HMGET', key, 'job', 'digest', 'key')
  if not made[1] then return {'new', ''} end
  if made[2] ~= digest then return {'mismatch', made[1]} end
  local status = redis.call('HMGET', made[3], 'status', 'error_status')
  if not status[1] and redis.call('HEXISTS', key, 'succeeded') == 1 then return {'gone', made[1]} end
  -- A job that failed for no fault of the request's may be tried again under its key.
  local retry = not status[1] or (status[1] == 'failed' and tonumber(status[2] or 0) >= FAULTY)
  return {retry and 'new' or 'existing', made[1]}
end
