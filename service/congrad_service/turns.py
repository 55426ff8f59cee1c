"""Whose turn it is: work that waits in a queue is handed out by need, and not in the order in which it came.

A message in one of Celery's queues says that there is work. Which piece that is, is decided when a worker takes the
message: one of the team that has had the least, and there of the job that has had the least. So a job of one sample
waits for the piece that is being worked on, and not for a job of thousands before it; and two teams get equal shares,
whatever each of them asks for. What one has had is the bytes of its pieces. Whoever comes anew, or has had nothing to
do for a while, begins with as much as those that are served have had, and not with a credit (start-time fair queuing,
Goyal et al. 1996).

The jobs are in a sorted set by what they have had: members `SEQUENCE/TEAM/JOB`, so that among equals the older goes
first. A hash has what each team has had (`team:TEAM`), how far its jobs have got (`job:TEAM`: half way through the
piece that was served last), and what the team had that was served last (`served`).
"""

from congrad_service import keys

TOLD_S = 5
"""For how long a worker may take note of work by itself. Afterwards it is the message's."""

TURNS = """
local function team_of(member)
  return string.match(member, '^[^/]*/([^/]*)/')
end
local function outlive(key, job)
  local left = redis.call('TTL', job)
  if left > redis.call('TTL', key) then redis.call('EXPIRE', key, left) end
end
local function had(turns, field)
  return tonumber(redis.call('HGET', turns, field) or 0)
end
-- Work of a job waits in a queue, from now on if it did not already.
local function offer(ready, turns, job)
  local member = redis.call('HGET', job, 'turn')
  if not member or redis.call('ZSCORE', ready, member) then return end
  local team = team_of(member)
  local idle = true
  for _, other in ipairs(redis.call('ZRANGE', ready, 0, -1)) do
    if team_of(other) == team then idle = false end
  end
  if redis.call('ZCARD', ready) == 0 then -- a worker that has nothing to do is told of it
    redis.call('DEL', ready .. 'TOLD')
    redis.call('LPUSH', ready .. 'TOLD', '1')
    redis.call('EXPIRE', ready .. 'TOLD', TOLD_S)
  end
  if idle then
    redis.call('HSET', turns, 'team:' .. team, math.max(had(turns, 'team:' .. team), had(turns, 'served')))
  end
  redis.call('ZADD', ready, had(turns, 'job:' .. team), member)
  outlive(ready, job)
  outlive(turns, job)
end
""".replace("TOLD_S", str(TOLD_S)).replace("TOLD", keys.TOLD)
"""Functions of Lua. `offer` needs the field ``turn`` in the job's hash."""

TURN = (
    TURNS
    + """
-- KEYS: ready, turns
-- ARGV: whether chunks wait here, as numbers in lists of their jobs; bytes; whether only a job that waits alone
-- The job whose turn it is, and the chunk of it; and whose turn it is then, as long as all chunks together have no more
-- than so many bytes; nothing where there is none. One that was begun before is taken alone: it may have been what its
-- worker died of.
local taken, used, amounts = {}, 0, {}
if ARGV[3] == '1' and redis.call('ZCARD', KEYS[1]) ~= 1 then return taken end
local function its_amount(team)
  if not amounts[team] then amounts[team] = had(KEYS[2], 'team:' .. team) end
  return amounts[team]
end
while true do
  local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  if #members == 0 then
    redis.call('DEL', KEYS[2]) -- nobody is owed anything
    return taken
  end
  local least, member, score, team
  for i = 1, #members, 2 do
    local its = team_of(members[i])
    local amount = its_amount(its)
    if not least or amount < least then
      least, member, score, team = amount, members[i], tonumber(members[i + 1]), its
    end
  end
  local id = string.match(member, '([^/]*)$')
  local job = 'JOB' .. id
  local status, samples = unpack(redis.call('HMGET', job, 'status', 'samples'))
  local piece, cost, left
  if status == 'queued' or status == 'running' then
    if ARGV[1] == '1' then
      piece = redis.call('LINDEX', job .. ':ready', 0)
      cost = piece and redis.call('STRLEN', job .. ':chunk:' .. piece)
      local is_begun = piece and redis.call('HEXISTS', job, 'attempts:gradients:' .. piece) == 1
      if #taken > 0 and piece and (is_begun or used + cost > tonumber(ARGV[2])) then return taken end
      used = used + (is_begun and tonumber(ARGV[2]) or cost or 0)
      redis.call('LPOP', job .. ':ready')
      left = redis.call('LLEN', job .. ':ready') > 0
    else
      piece, cost, left = '', tonumber(samples), false
    end
  end
  if left then
    redis.call('ZADD', KEYS[1], score + cost, member)
  else
    redis.call('ZREM', KEYS[1], member)
    redis.call('DEL', KEYS[1] .. 'TOLD')
  end
  if piece then
    -- It goes on with every piece: who comes later is next, and a stream of small jobs cannot be next for ever.
    local went = math.max(had(KEYS[2], 'job:' .. team), score + cost / 2)
    redis.call('HSET', KEYS[2], 'served', least, 'team:' .. team, least + cost, 'job:' .. team, went)
    amounts[team] = least + cost
    outlive(KEYS[2], job)
    taken[#taken + 1] = id
    taken[#taken + 1] = piece
    if used >= tonumber(ARGV[2]) then return taken end
  end
end
""".replace("JOB", keys.job("")).replace("TOLD", keys.TOLD)
)

OFFER = (
    TURNS
    + """
-- KEYS: ready, turns, job, its ready chunks   ARGV: the number of a chunk that was taken and not done, or ''
-- Work that was handed out waits again, as the next of its job.
if redis.call('EXISTS', KEYS[3]) == 0 then return end
redis.call('HDEL', KEYS[3], '') -- a full Redis refuses the first write alone, and what is under way is to end
if ARGV[1] ~= '' then
  redis.call('LREM', KEYS[4], 0, ARGV[1])
  redis.call('LPUSH', KEYS[4], ARGV[1])
  redis.call('EXPIRE', KEYS[4], redis.call('TTL', KEYS[3]))
end
offer(KEYS[1], KEYS[2], KEYS[3])
"""
)

GIVE_BACK = (
    TURNS
    + """
-- KEYS: ready, turns, job, its ready chunks, doing
-- ARGV: piece of work, worker, number of the chunk or '', whether it was for want of memory
-- A worker has begun and could not go on, for no fault of the work's: that was no attempt.
if redis.call('EXISTS', KEYS[3]) == 0 then return end
redis.call('HDEL', KEYS[3], '') -- a full Redis refuses the first write of a script that needs memory, and no later one
if redis.call('GET', KEYS[5]) ~= ARGV[2] then return end
redis.call('DEL', KEYS[5])
redis.call('HINCRBY', KEYS[3], 'attempts:' .. ARGV[1], -1)
redis.call('HDEL', KEYS[3], 'by:' .. ARGV[1])
if ARGV[4] == '1' then redis.call('HSETNX', KEYS[3], 'refused', redis.call('TIME')[1]) end
if ARGV[3] ~= '' then
  redis.call('LPUSH', KEYS[4], ARGV[3])
  redis.call('EXPIRE', KEYS[4], redis.call('TTL', KEYS[3]))
end
offer(KEYS[1], KEYS[2], KEYS[3])
"""
)
