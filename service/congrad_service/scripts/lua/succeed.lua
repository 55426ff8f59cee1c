-- KEYS: published, what leads to a publication in the successor's place   ARGV: origin, successor (JSON)
-- A worker may be late: what was asked for after what it has to say stays as it is. All at once, because half of it
-- would send whoever is started next back and forth.
local successor = cjson.decode(ARGV[2])
local function is_no_later(text) -- an earlier release did not write down when
  return (tonumber(cjson.decode(text).created) or 0) <= successor.created
end
local written = redis.call('HMGET', KEYS[1], ARGV[1], successor.fingerprint)
if not written[1] or is_no_later(written[1]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
if written[2] and successor.fingerprint ~= ARGV[1] and is_no_later(written[2]) then
  redis.call('HDEL', KEYS[1], successor.fingerprint)
end
local id = redis.call('GET', KEYS[2])
local asked = id and redis.call('HGET', PUBLICATION .. id, 'asked')
if not asked or is_no_later(asked) then redis.call('DEL', KEYS[2]) end
