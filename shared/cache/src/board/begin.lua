-- Before a full publication. ARGV: run. Returns the newer run that is there, or nothing.
local current = field('run')
if current and current > tonumber(ARGV[1]) then
  return redis.call('HGET', meta, 'run')
end
return false
