-- KEYS: what says that somebody is at it   ARGV: seconds
-- Whether nobody is, and whoever asks is from now on. In a full Redis as well, where only a script's first write is
-- refused: there too work is lost, and what holds the memory is to end.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
return 1
