-- Renews how long a board lives. ARGV: run, how long the board and its best live in ms.
local current = field('run')
if not current then
  return {'missing', 0}
end
if current ~= tonumber(ARGV[1]) then
  return {'other', current}
end
if not is_whole() then
  return {'missing', 0}
end
redis.call('PEXPIRE', meta, ARGV[2])
redis.call('PEXPIRE', live, ARGV[2])
redis.call('PEXPIRE', buckets, ARGV[2])
redis.call('PEXPIRE', top, ARGV[3])
return {'renewed', current}
