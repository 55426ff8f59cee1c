"""The state changes of a job, each one atomic: Lua that Redis runs as a whole.

They move references and small strings; arithmetic on vectors stays in NumPy, because a script blocks the server.
All times are the Redis server's, so that hosts with different clocks agree on durations.
"""

from typing import Any

from congrad.contract import wire

from congrad_service import keys
from congrad_service.settings import RedisSettings
from congrad_service.turns import TURNS

RECENT = 500
"""Jobs of a team that are listed."""

GIVEN_UP_BYTES = 256 * 2**20
"""Of the texts that are kept so that failed jobs can be tried again; the oldest make room."""

FAULTY = 500
"""From this status on a job has failed for no fault of the request's."""

HISTORY = 1000
"""Versions of a direction whose history is kept."""

_PRELUDE = """
local function now()
  local t = redis.call('TIME')
  return t[1] + t[2] / 1e6
end
local function ended(status)
  return status == 'succeeded' or status == 'failed' or status == 'cancelled'
end
-- A full Redis refuses the first write of a script that needs memory, and nothing after any other write. What is under
-- way ends all the same, and then there is memory again.
local function even_if_full(job)
  redis.call('HDEL', job, '')
end
local function publish(id, status)
  redis.call('PUBLISH', 'EVENTS', cjson.encode({job = id, status = status}))
end
-- From when on a job's files in the gradient store may go, where it has any: a decide worker takes them away.
local function stored_until(id, time)
  redis.call('ZADD', 'STORED', 'XX', time, id)
end
-- An earlier release did not tell the bytes that a job retains from those that Redis has of them.
local function bytes_of(keeps, awaited)
  return keeps or awaited
end
local function no_longer_retained(job, id)
  local found = redis.call('HMGET', job, 'retained', 'keeps', 'awaited')
  if found[1] then redis.call('ZREM', found[1], id .. ':' .. bytes_of(found[2], found[3])) end
  stored_until(id, now())
end
local function retain(key, time, member, seconds)
  redis.call('ZADD', key, time, member)
  redis.call('EXPIRE', key, seconds)
end
local function keep(job, milliseconds, succeeded) -- and what its Idempotency-Key made
  redis.call('PEXPIRE', job, milliseconds)
  local record = redis.call('HGET', job, 'idempotency')
  if not record then return end
  if succeeded then -- is never to happen again: that is remembered for longer than the answer
    redis.call('HSET', record, 'succeeded', '1')
    milliseconds = math.max(milliseconds, redis.call('PTTL', record))
  end
  redis.call('PEXPIRE', record, milliseconds)
end
""".replace("EVENTS", keys.EVENTS).replace("STORED", keys.STORED)

_GIVEN_UP = """
-- The samples of a failed job are not kept any more.
local function forget(member)
  local id, chunks = string.match(member, '^([^:]*):(%d+):')
  for i = 0, chunks - 1 do redis.call('UNLINK', 'JOB' .. id .. ':chunk:' .. i) end
  redis.call('HDEL', 'JOB' .. id, 'again')
  redis.call('ZREM', 'GIVEN_UP', member)
end
local function given_up_as(id)
  local job = redis.call('HMGET', 'JOB' .. id, 'chunks', 'bytes')
  return id .. ':' .. (job[1] or 0) .. ':' .. (job[2] or 0)
end
-- A failed job has been sent anew, as another.
local function tried_again(id, as)
  if redis.call('EXISTS', 'JOB' .. id) == 0 then return end
  redis.call('HSET', 'JOB' .. id, 'retried', as)
  forget(given_up_as(id))
end
""".replace("JOB", keys.job("")).replace("GIVEN_UP", keys.GIVEN_UP)

_KNOWN = """
-- What an idempotency key made of this request before: 'new' (nothing, or nothing that counts), 'existing', 'gone'
-- (a job that has succeeded, and whose answer has expired) or 'mismatch' (another request); and the job's id.
local function known(key, digest)
  local made = redis.call('HMGET', key, 'job', 'digest', 'key')
  if not made[1] then return {'new', ''} end
  if made[2] ~= digest then return {'mismatch', made[1]} end
  local status = redis.call('HMGET', made[3], 'status', 'error_status')
  if not status[1] and redis.call('HEXISTS', key, 'succeeded') == 1 then return {'gone', made[1]} end
  -- A job that failed for no fault of the request's may be tried again under its key.
  local retry = not status[1] or (status[1] == 'failed' and tonumber(status[2] or 0) >= FAULTY)
  return {retry and 'new' or 'existing', made[1]}
end
""".replace("FAULTY", str(FAULTY))

KNOWN = (
    _KNOWN
    + """
-- KEYS: idempotency   ARGV: digest
return known(KEYS[1], ARGV[1])
"""
)

_SIZES = """
-- Bytes of unfinished jobs, with the gradients that they wait for, and bytes of the latter that are not there yet.
local function sizes(ids)
  local all, awaited = 0, 0
  for _, id in ipairs(ids) do
    local job = redis.call('HMGET', 'JOB' .. id, 'bytes', 'awaited', 'chunks')
    if job[2] and tonumber(job[3]) > 0 then
      all = all + job[1] + job[2]
      awaited = awaited + job[2] * redis.call('SCARD', 'JOB' .. id .. ':pending') / job[3]
    end
  end
  return all, awaited
end
-- Bytes of the gradients that a team's jobs retain at a time.
local function retained(key, time)
  local all = 0
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', key, time, '+inf')) do all = all + string.match(one, ':(%d+)$') end
  return all
end
-- What Redis may use and what is left of it; nothing where that has no bound, or is not this user's to know.
local function memory()
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then return nil end
  local most = tonumber(string.match(told, 'maxmemory:(%d+)') or 0)
  if most == 0 then return nil end
  return most, most - tonumber(string.match(told, 'used_memory:(%d+)'))
end
""".replace("JOB", keys.job(""))

_UNFINISHED = """
-- The chunks of a job that are missing, for those who bring up workers.
local function unfinished(job)
  return 'WORK' .. (redis.call('HGET', job, 'fingerprint') or '')
end
""".replace("WORK", keys.unfinished(""))

CREATE = (
    _PRELUDE
    + _UNFINISHED
    + _KNOWN
    + _GIVEN_UP
    + TURNS
    + _SIZES
    + """
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
local held, awaited = sizes(redis.call('ZRANGE', KEYS[3], 0, -1))
if held + own > tonumber(ARGV[7]) then return {'bytes', tostring(held)} end
local most, free = memory()
if most and awaited + own > free then
  return {free > 0 and own > most / 2 and 'large' or 'memory', tostring(free > 0 and own > most / 2 and most or free)}
end
local retains = tonumber(ARGV[11]) > 0
if retains then
  local held_by_ended = retained(KEYS[10], t)
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
  redis.call('ZREMRANGEBYSCORE', KEYS[10], '-inf', t)
  retain(KEYS[10], t + ARGV[5], id .. ':' .. ARGV[11], ARGV[5])
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
""".replace("RECENT", str(RECENT))
)

ROOM = (
    _PRELUDE
    + _SIZES
    + """
-- KEYS: active, retained
-- Bytes of the gradients that jobs retain, and what is left of Redis beside what unfinished jobs wait for; no second
-- number where that has no bound.
local most, free = memory()
local _, awaited = sizes(redis.call('ZRANGE', KEYS[1], 0, -1))
local found = {tostring(retained(KEYS[2], now()))}
if most then found[2] = tostring(free - awaited) end
return found
"""
)

MARK_ENQUEUED = """
-- KEYS: job. A job that has expired must not come back as a hash of one field.
redis.call('HDEL', KEYS[1], '') -- in a full Redis as well
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'enqueued', '1') end
"""

MARK_ASKED = """
-- KEYS: job. There is a message that its decision is due; as above.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'asked', '1') end
"""

_START = """
-- KEYS: job, doing, workers, ...   ARGV: id, piece of work, worker, seconds until a silent worker is gone
-- How often this piece of work has been started; 0 where it has not been now, because the job has ended or another
-- worker is at it.
local function start()
  local status = redis.call('HGET', KEYS[1], 'status')
  if not status or ended(status) then return 0 end
  even_if_full(KEYS[1])
  if status == 'queued' then
    redis.call('HSET', KEYS[1], 'status', 'running', 'started', now())
    publish(ARGV[1], 'running')
  end
  local worker = redis.call('GET', KEYS[2])
  if worker and worker ~= ARGV[3] then return 0 end
  redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
  -- Whoever began with it before has died of it, perhaps; or is slower than the visibility timeout, and still at it.
  local before = redis.call('HGET', KEYS[1], 'by:' .. ARGV[2])
  local seen = before and before ~= ARGV[3] and redis.call('ZSCORE', KEYS[3], before)
  local is_slow = seen and math.abs(now() - seen) < tonumber(ARGV[4])
  redis.call('HSET', KEYS[1], 'by:' .. ARGV[2], ARGV[3])
  return math.max(1, redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[2], is_slow and 0 or 1))
end
"""

START_CHUNK = (
    _PRELUDE
    + _START
    + """
-- KEYS: and gradients, samples
-- How often the chunk has been started, whether its gradients are there (and then it is not), the request that the job
-- was made by, its place in a trace, and the samples.
local origin = redis.call('HMGET', KEYS[1], 'request', 'trace')
local is_there = redis.call('EXISTS', KEYS[4])
local attempts = is_there == 1 and 0 or start()
return {attempts, is_there, origin[1], origin[2], attempts > 0 and redis.call('GET', KEYS[5])}
"""
)

_WRITES = """
-- Whether a worker is the one that writes a direction. No more than a hint: what counts is the version at the commit.
local function writes(writer, worker, seconds)
  local other = redis.call('GET', writer)
  if other and other ~= worker then return 0 end
  redis.call('SET', writer, worker, 'EX', seconds)
  return 1
end
"""

START_DECISION = (
    _PRELUDE
    + _START
    + _WRITES
    + """
-- KEYS: and gradients of its first chunk   ARGV: and bytes
-- How often the decision has been started, the time, the mark of its direction, the fields of the job, its gradients,
-- where they are one chunk and no more than so many bytes, and then whether this worker writes the direction, if the
-- job does: whoever has yet to read gradients holds up nobody. Of one that is not started now, those of its origin.
local attempts = start()
if attempts == 0 then
  local origin = redis.call('HMGET', KEYS[1], 'request', 'trace')
  return {0, '0', {false, false, false}, {'request', origin[1] or '', 'trace', origin[2] or ''}, false, 0}
end
local job = redis.call('HMGET', KEYS[1], 'direction', 'chunks', 'update')
local standing = redis.call('HMGET', 'DIRECTION' .. job[1], 'epoch', 'version', 'by')
local is_small = job[2] == '1' and redis.call('STRLEN', KEYS[4]) <= tonumber(ARGV[5])
local gradients = is_small and redis.call('GET', KEYS[4])
local writes_it = gradients and job[3] == '1' and writes('WRITER' .. job[1], ARGV[3], ARGV[4]) or 0
return {attempts, string.format('%.6f', now()), standing, redis.call('HGETALL', KEYS[1]), gradients, writes_it}
""".replace("DIRECTION", keys.direction("")).replace("WRITER", keys.writer(""))
)

COMPLETE = (
    _PRELUDE
    + _UNFINISHED
    + TURNS
    + """
-- KEYS: job, pending, ready and turns of decisions, gradients, doing   ARGV: id, chunk, worker, gradients, seconds
-- Takes gradients, where they are not there already and given as ''. How many chunks are missing; -1 when the job has
-- ended and nobody wants the gradients.
local function rest()
  if redis.call('GET', KEYS[6]) == ARGV[3] then redis.call('DEL', KEYS[6]) end
end
local job = redis.call('HMGET', KEYS[1], 'status', 'retain')
if not job[1] or ended(job[1]) then
  rest()
  if job[1] == 'succeeded' and job[2] == '1' then return 0 end
  redis.call('UNLINK', KEYS[5])
  return -1
end
if ARGV[4] ~= '' then
  -- The first write: one that a full Redis refuses, which says so, and nothing is done.
  local taken = redis.pcall('SET', KEYS[5], ARGV[4], 'EX', ARGV[5])
  if taken.err then return redis.error_reply((string.gsub(taken.err, '^@[^-]*-', ''))) end -- Redis 6 says where, too
end
rest()
local removed = redis.call('SREM', KEYS[2], ARGV[2])
local missing = redis.call('SCARD', KEYS[2])
if removed == 1 then
  redis.call('HDEL', KEYS[1], 'refused')
  redis.call('ZREM', unfinished(KEYS[1]), ARGV[1] .. ':' .. ARGV[2])
  if missing == 0 then
    redis.call('HSET', KEYS[1], 'gradients_done', now())
    offer(KEYS[3], KEYS[4], KEYS[1])
  end
  publish(ARGV[1], 'running')
end
return missing
"""
)

COMMIT = (
    _PRELUDE
    + """
-- KEYS: job, active, direction, directions, history, conflicts, pairs, source (or none), kept with the job...,
--       dropped...
-- ARGV: id, result, kept, dropped, timing, ttl of the job, standing, number of keys kept with it, direction name,
--       update, expected epoch, expected version/job that made it, entry of the history, counts of conflicts (JSON),
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
  redis.call('HSET', KEYS[3], 'by', ARGV[1])
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
local held = redis.call('HMGET', KEYS[1], 'retain', 'retained', 'keeps', 'awaited')
if held[1] == '1' and held[2] then -- for as long as from here, and no longer as from the beginning
  local member = ARGV[1] .. ':' .. bytes_of(held[3], held[4])
  retain(held[2], now() + lifetime / 1000, member, math.ceil(lifetime / 1000))
  stored_until(ARGV[1], now() + lifetime / 1000)
end
publish(ARGV[1], 'succeeded')
return 'committed'
""".replace("HISTORY", str(HISTORY))
)

STORE = (
    _PRELUDE
    + """
-- KEYS: job, stored   ARGV: id, seconds
-- Notes that files of a job are about to come into the gradient store, before they do: 1 if they may, 0 if the job
-- retains nothing, and -1 if nobody wants it any more.
local job = redis.call('HMGET', KEYS[1], 'status', 'retain')
if not job[1] or (ended(job[1]) and not (job[1] == 'succeeded' and job[2] == '1')) then return -1 end
if job[2] ~= '1' then return 0 end
redis.call('ZADD', KEYS[2], 'GT', now() + ARGV[2], ARGV[1])
return 1
"""
)

WRITE = (
    _PRELUDE
    + _WRITES
    + """
-- KEYS: job, writer   ARGV: worker, seconds until a silent worker is gone
if redis.call('EXISTS', KEYS[1]) == 1 then even_if_full(KEYS[1]) end
return writes(KEYS[2], ARGV[1], ARGV[2])
"""
)

RECALL = """
-- KEYS: direction, pairs   ARGV: expected epoch, expected version/job that made it, language, numbers of buckets, ...
-- What is in the buckets of each language, one after the other: hundreds of small answers take a client longer to read
-- than all else takes. Nothing where the direction is not what it was.
local current = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'by')
if current[1] ~= ARGV[1] or (current[2] or '0') .. '/' .. (current[3] or '') ~= ARGV[2] then return nil end
local found = {}
for i = 3, #ARGV, 2 do
  local parts = {}
  for number in string.gmatch(ARGV[i + 1], '%d+') do
    parts[#parts + 1] = redis.call('HGET', KEYS[2], ARGV[i] .. ':' .. number) or ''
  end
  found[#found + 1] = table.concat(parts)
end
return found
"""

END = (
    _PRELUDE
    + _UNFINISHED
    + _GIVEN_UP
    + TURNS
    + _SIZES
    + """
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
  local failed = team == '' and 'FAILED' or 'FAILED:' .. team
  redis.call('ZADD', failed, t, ARGV[1])
  redis.call('ZREMRANGEBYRANK', failed, 0, -RECENT - 1)
  if redis.call('TTL', failed) < tonumber(ARGV[5]) then redis.call('EXPIRE', failed, ARGV[5]) end -- others stay longer
end
if is_kept then
  redis.call('ZREMRANGEBYSCORE', 'GIVEN_UP', '-inf', t)
  retain('GIVEN_UP', t + ARGV[5], given_up_as(ARGV[1]), ARGV[5])
  local held, oldest = 0, redis.call('ZRANGE', 'GIVEN_UP', 0, -1)
  for _, one in ipairs(oldest) do held = held + string.match(one, ':(%d+)$') end
  for _, one in ipairs(oldest) do
    if held <= tonumber(ARGV[7]) then break end
    held = held - string.match(one, ':(%d+)$')
    forget(one)
  end
end
publish(ARGV[1], ARGV[2])
return {ARGV[2], 1}
""".replace("GIVEN_UP", keys.GIVEN_UP)
    .replace("FAILED", keys.failed_jobs(None))
    .replace("FAULTY", str(FAULTY))
    .replace("RECENT", str(RECENT))
)

RELEASE = (
    _PRELUDE
    + """
-- KEYS: job, gradients...   ARGV: id
-- Drops the gradients that a job retains; whether it did.
local job = redis.call('HMGET', KEYS[1], 'status', 'retain', 'source')
if job[1] ~= 'succeeded' or job[2] ~= '1' or job[3] then return 0 end
even_if_full(KEYS[1])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
no_longer_retained(KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], 'retain', 'dropped')
return 1
"""
)

BEAT = """
-- KEYS: worker, workers, doing...   ARGV: id, what it says, how long that counts, seconds until it is silent
-- In a full Redis as well, where only a script's first write is refused: a worker that cannot say that it is there is
-- taken for dead, and the service would blame the workers.
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], now + ARGV[3], '+inf') -- said before the clock was put back
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'EX', ARGV[4]) end
"""

LIVE = """
-- KEYS: workers of a role, of another...   ARGV: seconds
-- Those of each role that were heard within so many seconds: id, when, and what it said last, ...
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
local found = {}
for i, workers in ipairs(KEYS) do
  found[i] = {}
  local heard = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
  for j = 1, #heard, 2 do
    -- What seems to come from the future was said before the clock was put back: a live worker has said more since.
    if math.abs(now - heard[j + 1]) <= tonumber(ARGV[1]) then
      table.insert(found[i], heard[j])
      table.insert(found[i], heard[j + 1])
      table.insert(found[i], redis.call('GET', 'WORKER' .. heard[j]))
    end
  end
end
return found
""".replace("WORKER", keys.worker(""))

ASK = """
-- KEYS: what leads to the publication, publication   ARGV: id of that which led there, id, what is asked, seconds
-- Whether it is asked for from now on: nobody else was faster.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'asked', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
return 1
"""

RESET = """
-- KEYS: directions, direction, and what else there is of it...   ARGV: name
-- Whether there was one. No transaction: a full Redis takes none, whatever is in it.
redis.call('SREM', KEYS[1], ARGV[1])
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
return redis.call('UNLINK', KEYS[2])
"""

SUCCEED = """
-- KEYS: published, what leads to a publication in the successor's place   ARGV: origin, successor (JSON)
-- A worker may be late: what was asked for after what it has to say stays as it is. All at once, because half of it
-- would send whoever is started next back and forth.
local successor = cjson.decode(ARGV[2])
local function is_no_later(text) -- an earlier release did not write down when
  return (tonumber(cjson.decode(text).created) or 0) <= successor.created
end
local written = redis.call('HMGET', KEYS[1], ARGV[1], successor.fingerprint)
if not written[1] or is_no_later(written[1]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
if written[2] and successor.fingerprint ~= ARGV[1] and is_no_later(written[2]) then
  redis.call('HDEL', KEYS[1], successor.fingerprint)
end
local id = redis.call('GET', KEYS[2])
local asked = id and redis.call('HGET', 'PUBLICATION' .. id, 'asked')
if not asked or is_no_later(asked) then redis.call('DEL', KEYS[2]) end
""".replace("PUBLICATION", keys.publication(""))

SETTLE = """
-- KEYS: what leads to a publication   ARGV: its id
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


def end(
    job_id: str, chunks: int, status: wire.JobStatus, error: wire.Problem | None, settings: RedisSettings
) -> dict[str, Any]:
    """The keys and arguments of `END`. A job's error says whose it is. One that was given up, for no fault of the
    request's, is kept for as long as an unfinished one, with its samples, so that it can be tried again."""
    if error is not None:
        error = error.model_copy(update={"instance": f"/jobs/{job_id}"})
    is_given_up = error is not None and error.status >= FAULTY
    texts = keys.chunks(job_id, chunks)
    others = [*keys.remainder(job_id), *keys.all_gradients(job_id, chunks)]
    return {
        "keys": [keys.job(job_id), keys.JOBS_ACTIVE, *others, *texts],
        "args": [
            job_id,
            status,
            error.model_dump_json() if error else "",
            error.status if error else 0,
            settings.job_ttl if is_given_up else settings.result_ttl,
            len(texts) if is_given_up else 0,
            GIVEN_UP_BYTES,
        ],
    }
