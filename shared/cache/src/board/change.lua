-- Changes what the run before has published. ARGV from REST on: how many are kept (0 for all), whether
-- the highest is the first, how many numbers and members follow, those, and the members that go.
local current = field('run')
if current and current > run then
  return {'stale', current}
end
if current == run then
  return {'published', redis.call('ZCARD', live)}
end
if current ~= tonumber(ARGV[2]) or not is_whole() then
  return {'mismatch', current or -1}
end
describe()

-- Lua's stack has room for some thousands of values.
local PIECE = 1000
local function in_pieces(command, first, last)
  for from = first, last, PIECE do
    redis.call(command, live, unpack(ARGV, from, math.min(from + PIECE - 1, last)))
  end
end

local kept = tonumber(ARGV[REST])
local first_set = REST + 3
local last_set = first_set + tonumber(ARGV[REST + 2]) - 1
in_pieces('ZREM', last_set + 1, #ARGV)
in_pieces('ZADD', first_set, last_set)
if kept > 0 then
  if ARGV[REST + 1] == '1' then
    redis.call('ZREMRANGEBYRANK', live, 0, -(kept + 1))
  else
    redis.call('ZREMRANGEBYRANK', live, kept, -1)
  end
end
return finish()
