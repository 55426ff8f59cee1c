-- The chunks of a job that are missing, for those who bring up workers.
local function unfinished(job)
  return WORK .. (redis.call('HGET', job, 'fingerprint') or '')
end
