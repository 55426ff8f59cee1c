-- include: prelude, held, retained
-- KEYS: job, active, direction, directions, history, conflicts, pairs, source (or none), kept with the job...,
--       dropped...
-- ARGV: id, result, kept, dropped, timing, ttl of the job, standing, number of keys kept with it, direction name,
--       update, expected epoch, expected version/commit that made it, entry of the history, counts of conflicts (JSON),
--       number of the direction's fields, field, value, ..., language, its buckets of pairs that change
--       (number=bytes ...), their contents in that order, ...
-- 'committed'; 'ended' when the job has its answer already; 'lost' when another job committed in between.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or ended(status) then return 'ended' end
if ARGV[10] == '1' then
  local current = redis.call('HMGET', KEYS[3], 'epoch', 'version', 'by')
  local state = (current[2] or '0') .. '/' .. (current[3] or '')
  if (current[1] or '') ~= ARGV[11] or state ~= ARGV[12] then return 'lost' end
end
even_if_full(KEYS[1])
if ARGV[10] == '1' then
  local buckets = 16 + 2 * ARGV[15]
  for i = 16, buckets - 1, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  for i = buckets, #ARGV, 3 do
    local at = 1
    for number, bytes in string.gmatch(ARGV[i + 1], '(%d+)=(%d+)') do
      local bucket = ARGV[i] .. ':' .. number
      if bytes == '0' then redis.call('HDEL', KEYS[7], bucket)
      else redis.call('HSET', KEYS[7], bucket, string.sub(ARGV[i + 2], at, at + bytes - 1)) end
      at = at + bytes
    end
  end
  redis.call('SADD', KEYS[4], ARGV[9])
  redis.call('RPUSH', KEYS[5], ARGV[13])
  redis.call('LTRIM', KEYS[5], -HISTORY, -1)
  for field, count in pairs(cjson.decode(ARGV[14])) do redis.call('HINCRBY', KEYS[6], field, count) end
end
redis.call('HSET', KEYS[1], 'status', 'succeeded', 'ended', now(), 'result', ARGV[2], 'kept', ARGV[3],
  'dropped', ARGV[4], 'timing', ARGV[5])
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'standing', ARGV[7]) end
-- Both passes are repeated together: the answer to the second is known for as long as that to the first.
local lifetime = math.max(ARGV[6] * 1000, redis.call('PTTL', KEYS[8]))
keep(KEYS[1], lifetime, true)
redis.call('ZREM', KEYS[2], ARGV[1])
local kept = 8 + ARGV[8]
for i = 9, kept do redis.call('PEXPIRE', KEYS[i], lifetime) end
for i = kept + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
if redis.call('EXISTS', KEYS[8]) == 1 and redis.call('HGET', KEYS[1], 'retain') ~= '1' then
  redis.call('HSET', KEYS[8], 'retain', 'dropped')
  no_longer_retained(KEYS[8], redis.call('HGET', KEYS[1], 'source'))
end
local own = redis.call('HMGET', KEYS[1], 'retain', 'retained', 'keeps', 'awaited')
if own[1] == '1' and own[2] then -- for as long as from here, and no longer as from the beginning
  local member = ARGV[1] .. ':' .. bytes_of(own[3], own[4])
  hold(own[2], now() + lifetime / 1000, member, math.ceil(lifetime / 1000))
  stored_until(ARGV[1], now() + lifetime / 1000)
end
publish(ARGV[1], 'succeeded')
return 'committed'
