-- Whose turn it is: work that waits in a queue is handed out by need, and not in the order in which it came.
--
-- A message in one of Celery's queues says that there is work. Which piece that is, is decided when a worker takes the
-- message: one of the team that has had the least, and there of the job that has had the least. So a job of one sample
-- waits for the piece that is being worked on, and not for a job of thousands before it; and two teams get equal shares,
-- whatever each of them asks for. What one has had is the bytes of its pieces. Whoever comes anew, or has had nothing to
-- do for a while, begins with as much as those that are served have had, and not with a credit (start-time fair queuing,
-- Goyal et al. 1996).
--
-- The jobs are in a sorted set by what they have had: members `SEQUENCE/TEAM/JOB`, so that among equals the older goes
-- first. A hash has what each team has had (`team:TEAM`), how far its jobs have got (`job:TEAM`: half way through the
-- piece that was served last), and what the team had that was served last (`served`).
--
-- `offer` needs the field `turn` in the job's hash.
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
    redis.call('DEL', ready .. TOLD)
    redis.call('LPUSH', ready .. TOLD, '1')
    redis.call('EXPIRE', ready .. TOLD, TOLD_S)
  end
  if idle then
    redis.call('HSET', turns, 'team:' .. team, math.max(had(turns, 'team:' .. team), had(turns, 'served')))
  end
  redis.call('ZADD', ready, had(turns, 'job:' .. team), member)
  outlive(ready, job)
  outlive(turns, job)
end
-- A job that has ended waits for nothing. Were it left to its turn, whoever posts and cancels would make each turn
-- longer for all: nothing bounds jobs that have ended.
local function leave(job)
  local its = redis.call('HMGET', job, 'turn', 'fingerprint')
  if not its[1] then return end
  redis.call('ZREM', READY .. GRADIENTS .. (its[2] or ''), its[1])
  redis.call('ZREM', READY .. DECISIONS, its[1])
end
