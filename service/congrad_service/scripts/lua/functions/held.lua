-- Sorted sets of what is held for a while: members end with `:BYTES`, and their scores say when that ends.
--
-- How many there are, and what they have together, stands beside such a set. To add up fifty thousand takes Redis a
-- twentieth of a second, in which it does nothing else; it is done where the number of them is another one.
local function bytes_in(member)
  return tonumber(string.match(member, ':(%d+)$'))
end
local function bytes_together(members)
  local all = 0
  for _, one in ipairs(members) do all = all + bytes_in(one) end
  return all
end
local function held(set)
  local count, bytes = string.match(redis.call('GET', HELD .. set) or '', '^(%d+):(%d+)$')
  if tonumber(count) == redis.call('ZCARD', set) then return tonumber(bytes) end
  return bytes_together(redis.call('ZRANGE', set, 0, -1))
end
-- What is held beyond a time.
local function held_after(set, time)
  return held(set) - bytes_together(redis.call('ZRANGEBYSCORE', set, '-inf', '(' .. time))
end
local function note_held(set, bytes)
  local left = redis.call('TTL', set)
  if left <= 0 then
    redis.call('DEL', HELD .. set)
  else
    redis.call('SET', HELD .. set, string.format('%d:%.0f', redis.call('ZCARD', set), bytes), 'EX', left)
  end
end
local function hold(set, time, member, seconds)
  local bytes = held(set)
  if redis.call('ZADD', set, time, member) == 1 then bytes = bytes + bytes_in(member) end
  redis.call('EXPIRE', set, seconds)
  note_held(set, bytes)
end
local function let_go(set, member)
  local bytes = held(set)
  if redis.call('ZREM', set, member) == 1 then note_held(set, bytes - bytes_in(member)) end
end
-- Lets go of what has ended by a time.
local function let_lapse(set, time)
  local bytes, lapsed = held(set), redis.call('ZRANGEBYSCORE', set, '-inf', time)
  if #lapsed == 0 then return end
  redis.call('ZREMRANGEBYSCORE', set, '-inf', time)
  note_held(set, bytes - bytes_together(lapsed))
end
