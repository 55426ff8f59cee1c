-- include: prelude, turns
-- KEYS: ready, turns, job, its ready chunks, doing
-- ARGV: piece of work, worker, number of the chunk or '', whether it was for want of memory
-- A worker has begun and could not go on, for no fault of the work's: that was no attempt.
local status = redis.call('HGET', KEYS[3], 'status')
if not status or ended(status) then return end -- it would wait for its turn, and wake a worker for nothing
even_if_full(KEYS[3])
if redis.call('GET', KEYS[5]) ~= ARGV[2] then return end
redis.call('DEL', KEYS[5])
redis.call('HINCRBY', KEYS[3], 'attempts:' .. ARGV[1], -1)
redis.call('HDEL', KEYS[3], 'by:' .. ARGV[1])
if ARGV[4] == '1' then redis.call('HSETNX', KEYS[3], 'refused', redis.call('TIME')[1]) end
if ARGV[3] ~= '' then
  redis.call('LPUSH', KEYS[4], ARGV[3])
  redis.call('EXPIRE', KEYS[4], redis.call('TTL', KEYS[3]))
end
offer(KEYS[1], KEYS[2], KEYS[3])
