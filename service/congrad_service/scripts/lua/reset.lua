-- KEYS: directions, direction, and what else there is of it...   ARGV: name
-- Whether there was one. No transaction: a full Redis takes none, whatever is in it.
redis.call('SREM', KEYS[1], ARGV[1])
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
return redis.call('UNLINK', KEYS[2])
