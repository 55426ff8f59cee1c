"""The state changes of a job, each one atomic: Lua that Redis runs as a whole.

They move references and small strings; arithmetic on vectors stays in NumPy, because a script blocks the server.
All times are the Redis server's, so that hosts with different clocks agree on durations.
"""

from typing import Any

from congrad import wire

from congrad_service import keys

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
""".replace("EVENTS", keys.EVENTS)

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
  local retry = not status[1] or (status[1] == 'failed' and tonumber(status[2] or 0) >= 500)
  return {retry and 'new' or 'existing', made[1]}
end
"""

KNOWN = (
    _KNOWN
    + """
-- KEYS: idempotency   ARGV: digest
return known(KEYS[1], ARGV[1])
"""
)

CREATE = (
    _PRELUDE
    + _KNOWN
    + """
-- KEYS: job, pending, active, idempotency, chunks...
-- ARGV: id, has key, digest, max_queue, job_ttl, field, value, ..., chunks...
local id, keyed, digest = ARGV[1], ARGV[2] == '1', ARGV[3]
if keyed then
  local found = known(KEYS[4], digest)
  if found[1] ~= 'new' then return found end
end
local chunks = #KEYS - 4
local fields = #ARGV - chunks -- where the fields end and the chunks begin
local t = now()
if redis.call('ZCOUNT', KEYS[3], '(' .. (t - ARGV[5]), '+inf') >= tonumber(ARGV[4]) then return {'full', ''} end
-- The first write is one that a full Redis refuses: nothing is half-written.
redis.call('HSET', KEYS[1], 'status', 'queued', 'created', t, 'chunks', chunks, unpack(ARGV, 6, fields))
redis.call('EXPIRE', KEYS[1], ARGV[5])
for i = 1, chunks do
  redis.call('SET', KEYS[4 + i], ARGV[fields + i], 'EX', ARGV[5])
  redis.call('SADD', KEYS[2], i - 1)
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', t - ARGV[5])
redis.call('ZADD', KEYS[3], t, id)
if keyed then
  redis.call('HSET', KEYS[1], 'idempotency', KEYS[4])
  redis.call('HSET', KEYS[4], 'job', id, 'digest', digest, 'key', KEYS[1])
  redis.call('EXPIRE', KEYS[4], ARGV[5])
end
return {'created', id}
"""
)

MARK_ENQUEUED = """
-- KEYS: job. A job that has expired must not come back as a hash of one field.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'enqueued', '1') end
"""

START = (
    _PRELUDE
    + """
-- KEYS: job, doing   ARGV: id, piece of work, worker, seconds until a silent worker is gone
-- The job's status, and how often this piece of work has been started; 0 where it has not been now, because the job has
-- ended or another worker is at it.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'', 0} end
if ended(status) then return {status, 0} end
even_if_full(KEYS[1])
if status == 'queued' then
  redis.call('HSET', KEYS[1], 'status', 'running', 'started', now())
  publish(ARGV[1], 'running')
end
local worker = redis.call('GET', KEYS[2])
if worker and worker ~= ARGV[3] then return {'running', 0} end
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
return {'running', redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[2], 1)}
"""
)

COMPLETE = (
    _PRELUDE
    + """
-- KEYS: job, pending   ARGV: id, chunk
-- How many chunks are missing; -1 when the job has ended and nobody wants the gradients.
local job = redis.call('HMGET', KEYS[1], 'status', 'retain')
if job[1] == 'succeeded' and job[2] == '1' then return 0 end
if not job[1] or ended(job[1]) then return -1 end
local removed = redis.call('SREM', KEYS[2], ARGV[2])
local missing = redis.call('SCARD', KEYS[2])
if removed == 1 then
  if missing == 0 then redis.call('HSET', KEYS[1], 'gradients_done', now()) end
  publish(ARGV[1], 'running')
end
return missing
"""
)

COMMIT = (
    _PRELUDE
    + """
-- KEYS: job, active, direction, directions, source (or none), retained..., dropped...
-- ARGV: id, result, ttl of job and retained, direction name, update, expected epoch, expected version, standing,
--       number of retained, then field, value, ...
-- 'committed'; 'ended' when the job has its answer already; 'lost' when another job committed in between.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or ended(status) then return 'ended' end
if ARGV[5] == '1' then
  local current = redis.call('HMGET', KEYS[3], 'epoch', 'version')
  if (current[1] or '') ~= ARGV[6] or (current[2] or '0') ~= ARGV[7] then return 'lost' end
end
even_if_full(KEYS[1])
if ARGV[5] == '1' then
  for i = 10, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  redis.call('SADD', KEYS[4], ARGV[4])
end
redis.call('HSET', KEYS[1], 'status', 'succeeded', 'result', ARGV[2])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'standing', ARGV[8]) end
-- Both passes are repeated together: the answer to the second is known for as long as that to the first.
keep(KEYS[1], math.max(ARGV[3] * 1000, redis.call('PTTL', KEYS[5])), true)
redis.call('ZREM', KEYS[2], ARGV[1])
local retained = 5 + ARGV[9]
for i = 6, retained do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
for i = retained + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
if redis.call('EXISTS', KEYS[5]) == 1 and redis.call('HGET', KEYS[1], 'retain') ~= '1' then
  redis.call('HSET', KEYS[5], 'retain', 'dropped')
end
publish(ARGV[1], 'succeeded')
return 'committed'
"""
)

END = (
    _PRELUDE
    + """
-- KEYS: job, active, payloads (the pending set first)...   ARGV: id, status, error, error's HTTP status, result_ttl
-- Ends a job without an answer, unless it has ended; the status it has now.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return '' end
if ended(status) then return status end
even_if_full(KEYS[1])
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'error', ARGV[3], 'error_status', ARGV[4],
  'missing', redis.call('SCARD', KEYS[3]))
keep(KEYS[1], ARGV[5] * 1000, false)
redis.call('ZREM', KEYS[2], ARGV[1])
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
publish(ARGV[1], ARGV[2])
return ARGV[2]
"""
)

RESET = """
-- KEYS: direction, directions   ARGV: name. No transaction: a full Redis takes none, whatever is in it.
redis.call('SREM', KEYS[2], ARGV[1])
return redis.call('UNLINK', KEYS[1])
"""


def end(job_id: str, chunks: int, status: wire.JobStatus, error: wire.Problem | None, ttl: int) -> dict[str, Any]:
    """The keys and arguments of `END`. A job's error says whose it is."""
    if error is not None:
        error = error.model_copy(update={"instance": f"/jobs/{job_id}"})
    return {
        "keys": [
            keys.job(job_id),
            keys.JOBS_ACTIVE,
            *keys.work(job_id, chunks),
            *keys.all_gradients(job_id, chunks),
        ],
        "args": [job_id, status, error.model_dump_json() if error else "", error.status if error else 0, ttl],
    }
