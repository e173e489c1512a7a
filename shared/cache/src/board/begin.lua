-- Before a full publication. KEYS: the board's, and the temporary one. ARGV: run.
-- Returns the newer run that is there, or nothing; then what an older attempt has left is gone.
local current = field('run')
if current and current > tonumber(ARGV[1]) then
  return redis.call('HGET', meta, 'run')
end
redis.call('UNLINK', KEYS[5])
return false
