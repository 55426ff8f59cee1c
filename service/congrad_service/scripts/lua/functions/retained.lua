-- An earlier release did not tell the bytes that a job retains from those that Redis has of them.
local function bytes_of(keeps, awaited)
  return keeps or awaited
end
local function no_longer_retained(job, id)
  local found = redis.call('HMGET', job, 'retained', 'keeps', 'awaited')
  if found[1] then let_go(found[1], id .. ':' .. bytes_of(found[2], found[3])) end
  stored_until(id, now())
end
