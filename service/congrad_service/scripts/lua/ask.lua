-- KEYS: what leads to the publication, publication   ARGV: id of that which led there, id, what is asked, seconds
-- Whether it is asked for from now on: nobody else was faster.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'asked', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
return 1
