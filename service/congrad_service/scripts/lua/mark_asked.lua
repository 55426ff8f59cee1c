-- KEYS: job. There is a message that its decision is due; as above.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'asked', '1') end
