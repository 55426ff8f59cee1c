-- KEYS: job. A job that has expired must not come back as a hash of one field.
redis.call('HDEL', KEYS[1], '') -- in a full Redis as well
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'enqueued', '1') end
