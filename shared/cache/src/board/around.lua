-- A member and its neighbours. ARGV: member, how many above, how many below.
-- Returns how many are before the first of them, how many have a better score than it, and all of them.
if not described then
  return false
end
local index = redis.call(is_highest_first and 'ZREVRANK' or 'ZRANK', live, ARGV[1])
if not index then
  return {described, 0, 0, {}}
end
local from = math.max(index - ARGV[2], 0)
local found = places(from, index + ARGV[3])
return {described, from, better_than(found[2]), found}
