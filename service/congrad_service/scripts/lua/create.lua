-- include: prelude, unfinished, known, held, given_up, turns, sizes
-- KEYS: job, pending, active, recent, idempotency, ready, turns, ready chunks, sequence, retained, chunks...
-- ARGV: id, has key, digest, max_queue, job_ttl, team, max_queue_bytes, max_retained_bytes, bytes of texts, bytes of
--       gradients that Redis will have, bytes of those that are retained wherever that is, field, value, ..., chunks...
local id, keyed, digest = ARGV[1], ARGV[2] == '1', ARGV[3]
local before = ''
if keyed then
  local found = known(KEYS[5], digest)
  if found[1] ~= 'new' then return found end
  before = found[2]
end
-- The service's client asks again where the connection broke before the answer: the job is there, and may have ended.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'created', id} end
local chunks = #KEYS - 10
local fields = #ARGV - chunks -- where the fields end and the chunks begin
local t = now()
if redis.call('ZCOUNT', KEYS[3], '(' .. (t - ARGV[5]), '+inf') >= tonumber(ARGV[4]) then return {'full', ''} end
local own = ARGV[9] + ARGV[10]
local own_of_all, awaited = sizes(redis.call('ZRANGE', KEYS[3], 0, -1))
if own_of_all + own > tonumber(ARGV[7]) then return {'bytes', tostring(own_of_all)} end
local most, free = memory()
if most and awaited + own > free then
  return {free > 0 and own > most / 2 and 'large' or 'memory', tostring(free > 0 and own > most / 2 and most or free)}
end
local retains = tonumber(ARGV[11]) > 0
if retains then
  local held_by_ended = held_after(KEYS[10], t)
  if held_by_ended + ARGV[11] > tonumber(ARGV[8]) then return {'retained', tostring(held_by_ended)} end
end
-- The first write is one that a full Redis refuses: nothing is half-written.
redis.call('HSET', KEYS[1], 'status', 'queued', 'created', t, 'chunks', chunks, 'bytes', ARGV[9], 'awaited', ARGV[10],
  unpack(ARGV, 12, fields))
redis.call('EXPIRE', KEYS[1], ARGV[5])
if before == '' then before = redis.call('HGET', KEYS[1], 'retry_of') or '' end
if before ~= '' then tried_again(before, id) end
local work = unfinished(KEYS[1])
if chunks > 0 then
  redis.call('ZREMRANGEBYSCORE', work, '-inf', t - ARGV[5])
  for i = 1, chunks do redis.call('ZADD', work, t, id .. ':' .. (i - 1)) end
  redis.call('EXPIRE', work, ARGV[5])
end
for i = 1, chunks do
  redis.call('SET', KEYS[10 + i], ARGV[fields + i], 'EX', ARGV[5])
  redis.call('SADD', KEYS[2], i - 1)
  redis.call('RPUSH', KEYS[8], i - 1)
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[8], ARGV[5])
if retains then
  let_lapse(KEYS[10], t)
  hold(KEYS[10], t + ARGV[5], id .. ':' .. ARGV[11], ARGV[5])
  redis.call('HSET', KEYS[1], 'retained', KEYS[10], 'keeps', ARGV[11])
end
redis.call('HSET', KEYS[1], 'turn', string.format('%016d/%s/%s', redis.call('INCR', KEYS[9]), ARGV[6], id))
offer(KEYS[6], KEYS[7], KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', t - ARGV[5])
redis.call('ZADD', KEYS[3], t, id)
redis.call('ZADD', KEYS[4], t, id)
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -RECENT - 1)
redis.call('EXPIRE', KEYS[4], 2 * ARGV[5]) -- no job is there for longer
if keyed then
  redis.call('HSET', KEYS[1], 'idempotency', KEYS[5])
  redis.call('HSET', KEYS[5], 'job', id, 'digest', digest, 'key', KEYS[1])
  redis.call('EXPIRE', KEYS[5], ARGV[5])
end
publish(id, 'queued')
return {'created', id}
