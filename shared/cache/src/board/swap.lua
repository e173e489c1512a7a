-- Shows what was written to the temporary key, KEYS[5], unless a newer run is there.
local new = KEYS[5]
local current = field('run')
if current and current > run then
  redis.call('UNLINK', new)
  return {'stale', current}
end
local found = redis.call('ZCARD', new)
if found ~= tonumber(ARGV[2]) then
  redis.call('UNLINK', new)
  return {'disturbed', found}
end
describe()
-- Renaming onto a large key would free it while everybody waits.
redis.call('UNLINK', live)
if found > 0 then
  redis.call('RENAME', new, live)
end
return finish()
