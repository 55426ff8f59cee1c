-- include: prelude, start
-- KEYS: and gradients, samples
-- How often the chunk has been started, whether its gradients are there (and then it is not), the request that the job
-- was made by, its place in a trace, and the samples.
local origin = redis.call('HMGET', KEYS[1], 'request', 'trace')
local is_there = redis.call('EXISTS', KEYS[4])
local attempts = is_there == 1 and 0 or start()
return {attempts, is_there, origin[1], origin[2], attempts > 0 and redis.call('GET', KEYS[5])}
