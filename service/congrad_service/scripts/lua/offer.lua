-- include: prelude, turns
-- KEYS: ready, turns, job, its ready chunks   ARGV: the number of a chunk that was taken and not done, or ''
-- Work that was handed out waits again, as the next of its job.
local status = redis.call('HGET', KEYS[3], 'status')
if not status or ended(status) then return end
even_if_full(KEYS[3])
if ARGV[1] ~= '' then
  redis.call('LREM', KEYS[4], 0, ARGV[1])
  redis.call('LPUSH', KEYS[4], ARGV[1])
  redis.call('EXPIRE', KEYS[4], redis.call('TTL', KEYS[3]))
end
offer(KEYS[1], KEYS[2], KEYS[3])
