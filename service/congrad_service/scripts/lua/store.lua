-- include: prelude
-- KEYS: job, stored   ARGV: id, seconds
-- Notes that files of a job are about to come into the gradient store, before they do: 1 if they may, 0 if the job
-- retains nothing, and -1 if nobody wants it any more.
local job = redis.call('HMGET', KEYS[1], 'status', 'retain')
if not job[1] or (ended(job[1]) and not (job[1] == 'succeeded' and job[2] == '1')) then return -1 end
if job[2] ~= '1' then return 0 end
redis.call('ZADD', KEYS[2], 'GT', now() + ARGV[2], ARGV[1])
return 1
