-- include: prelude, unfinished, held, retained, given_up, turns, sizes
-- KEYS: job, active, what goes (the pending set first)..., samples that are kept for another try...
-- ARGV: id, status, error, error's HTTP status, seconds that the job is kept, number of those samples, most bytes of
--       them and those of other jobs
-- Ends a job without an answer, unless it has ended; the status it has now, and 1 if it has it from here.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'', 0} end
if ended(status) then return {status, 0} end
even_if_full(KEYS[1])
local t = now()
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'ended', t, 'error', ARGV[3], 'error_status', ARGV[4],
  'missing', redis.call('SCARD', KEYS[3]))
no_longer_retained(KEYS[1], ARGV[1])
keep(KEYS[1], ARGV[5] * 1000, false)
redis.call('ZREM', KEYS[2], ARGV[1])
local work = unfinished(KEYS[1])
for _, number in ipairs(redis.call('SMEMBERS', KEYS[3])) do redis.call('ZREM', work, ARGV[1] .. ':' .. number) end
leave(KEYS[1])
local texts = #KEYS - ARGV[6] -- they are behind it
local most, free = memory()
local is_kept = ARGV[6] ~= '0' and not (most and 2 * free < most) -- where Redis is full, others need the room
for i = 3, #KEYS do
  if i > texts and is_kept then redis.call('EXPIRE', KEYS[i], ARGV[5]) else redis.call('UNLINK', KEYS[i]) end
end
if ARGV[2] == 'failed' then
  local starts, is_rescoring = 0, redis.call('HEXISTS', KEYS[1], 'source') == 1
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 9) == 'attempts:' then starts = math.max(starts, fields[i + 1]) end
  end
  redis.call('HSET', KEYS[1], 'starts', starts)
  if is_kept or (is_rescoring and tonumber(ARGV[4]) >= FAULTY) then redis.call('HSET', KEYS[1], 'again', '1') end
  local team = team_of(redis.call('HGET', KEYS[1], 'turn') or '//')
  local failed = team == '' and FAILED or FAILED .. ':' .. team
  redis.call('ZADD', failed, t, ARGV[1])
  redis.call('ZREMRANGEBYRANK', failed, 0, -RECENT - 1)
  if redis.call('TTL', failed) < tonumber(ARGV[5]) then redis.call('EXPIRE', failed, ARGV[5]) end -- others stay longer
end
if is_kept then
  let_lapse(GIVEN_UP, t)
  hold(GIVEN_UP, t + ARGV[5], given_up_as(ARGV[1]), ARGV[5])
  while held(GIVEN_UP) > tonumber(ARGV[7]) do forget(redis.call('ZRANGE', GIVEN_UP, 0, 0)[1]) end
end
publish(ARGV[1], ARGV[2])
return {ARGV[2], 1}
