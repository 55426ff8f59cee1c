-- include: prelude, held, retained
-- KEYS: job, gradients...   ARGV: id
-- Drops the gradients that a job retains; whether it did.
local job = redis.call('HMGET', KEYS[1], 'status', 'retain', 'source')
if job[1] ~= 'succeeded' or job[2] ~= '1' or job[3] then return 0 end
even_if_full(KEYS[1])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
no_longer_retained(KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], 'retain', 'dropped')
return 1
