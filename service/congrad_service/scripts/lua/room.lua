-- include: prelude, held, sizes
-- KEYS: active, retained
-- Bytes of the gradients that jobs retain, and what is left of Redis beside what unfinished jobs wait for; no second
-- number where that has no bound.
local most, free = memory()
local _, awaited = sizes(redis.call('ZRANGE', KEYS[1], 0, -1))
local found = {tostring(held_after(KEYS[2], now()))}
if most then found[2] = tostring(free - awaited) end
return found
