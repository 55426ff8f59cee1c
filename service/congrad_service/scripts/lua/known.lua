-- include: known
-- KEYS: idempotency   ARGV: digest
return known(KEYS[1], ARGV[1])
