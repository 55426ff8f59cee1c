-- Whether a worker is the one that writes a direction. No more than a hint: what counts is the version at the commit.
local function writes(writer, worker, seconds)
  local other = redis.call('GET', writer)
  if other and other ~= worker then return 0 end
  redis.call('SET', writer, worker, 'EX', seconds)
  return 1
end
