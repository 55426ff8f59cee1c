-- Bytes of unfinished jobs, with the gradients that they wait for, and bytes of the latter that are not there yet.
local function sizes(ids)
  local all, awaited = 0, 0
  for _, id in ipairs(ids) do
    local job = redis.call('HMGET', JOB .. id, 'bytes', 'awaited', 'chunks')
    if job[2] and tonumber(job[3]) > 0 then
      all = all + job[1] + job[2]
      awaited = awaited + job[2] * redis.call('SCARD', JOB .. id .. ':pending') / job[3]
    end
  end
  return all, awaited
end
-- What Redis may use and what is left of it; nothing where that has no bound, or is not this user's to know.
local function memory()
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then return nil end
  local most = tonumber(string.match(told, 'maxmemory:(%d+)') or 0)
  if most == 0 then return nil end
  return most, most - tonumber(string.match(told, 'used_memory:(%d+)'))
end
