-- The numbers of the members in ARGV, nothing for those that are not there: what ZMSCORE answers, which
-- Redis 6.0 does not have.
if not described then
  return false
end
local numbers = {}
for index, member in ipairs(ARGV) do
  numbers[index] = redis.call('ZSCORE', live, member)
end
return {described, numbers}
