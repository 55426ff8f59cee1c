-- include: prelude
-- KEYS: job   ARGV: piece of work
-- It was started for nothing but to give it up: that was no try. A job that has expired must not come back.
if redis.call('EXISTS', KEYS[1]) == 0 then return end
even_if_full(KEYS[1])
redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[1], -1)
