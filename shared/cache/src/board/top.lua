-- The best. ARGV: how many.
if not described then
  return false
end
-- From 0 to -1 is everybody.
return {described, ARGV[1] == '0' and {} or places(0, ARGV[1] - 1)}
