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
      table.insert(found[i], redis.call('GET', WORKER .. heard[j]))
    end
  end
end
return found
