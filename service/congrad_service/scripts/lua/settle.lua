-- KEYS: what leads to a publication   ARGV: its id
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
