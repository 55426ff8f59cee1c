-- include: turns
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
  local job = JOB .. id
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
    redis.call('DEL', KEYS[1] .. TOLD)
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
