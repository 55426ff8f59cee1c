-- KEYS: direction, pairs
-- ARGV: expected epoch, expected version/commit that made it, language, numbers of buckets, ...
-- What is in the buckets of each language, one after the other: hundreds of small answers take a client longer to read
-- than all else takes. Nothing where the direction is not what it was.
local current = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'by')
if current[1] ~= ARGV[1] or (current[2] or '0') .. '/' .. (current[3] or '') ~= ARGV[2] then return nil end
local found = {}
for i = 3, #ARGV, 2 do
  local parts = {}
  for number in string.gmatch(ARGV[i + 1], '%d+') do
    parts[#parts + 1] = redis.call('HGET', KEYS[2], ARGV[i] .. ':' .. number) or ''
  end
  found[#found + 1] = table.concat(parts)
end
return found
