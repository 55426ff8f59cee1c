-- KEYS: worker, workers, doing...   ARGV: id, what it says, how long that counts, seconds until it is silent
-- In a full Redis as well, where only a script's first write is refused: a worker that cannot say that it is there is
-- taken for dead, and the service would blame the workers.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], now + ARGV[3], '+inf') -- said before the clock was put back
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'EX', ARGV[4]) end
