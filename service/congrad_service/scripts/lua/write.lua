-- include: prelude, writes
-- KEYS: job, writer   ARGV: worker, seconds until a silent worker is gone
if redis.call('EXISTS', KEYS[1]) == 1 then even_if_full(KEYS[1]) end
return writes(KEYS[2], ARGV[1], ARGV[2])
