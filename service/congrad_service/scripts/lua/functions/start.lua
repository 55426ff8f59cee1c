-- KEYS: job, doing, workers, ...   ARGV: id, piece of work, worker, seconds until a silent worker is gone
-- How often this piece of work has been started; 0 where it has not been now, because the job has ended or another
-- worker is at it.
local function start()
  local status = redis.call('HGET', KEYS[1], 'status')
  if not status or ended(status) then return 0 end
  even_if_full(KEYS[1])
  if status == 'queued' then
    redis.call('HSET', KEYS[1], 'status', 'running', 'started', now())
    publish(ARGV[1], 'running')
  end
  local worker = redis.call('GET', KEYS[2])
  if worker and worker ~= ARGV[3] then return 0 end
  redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
  -- Whoever began with it before has died of it, perhaps; or is slower than the visibility timeout, and still at it.
  local before = redis.call('HGET', KEYS[1], 'by:' .. ARGV[2])
  local seen = before and before ~= ARGV[3] and redis.call('ZSCORE', KEYS[3], before)
  local is_slow = seen and math.abs(now() - seen) < tonumber(ARGV[4])
  redis.call('HSET', KEYS[1], 'by:' .. ARGV[2], ARGV[3])
  return math.max(1, redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[2], is_slow and 0 or 1))
end
