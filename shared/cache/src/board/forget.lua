-- Takes the member ARGV[1] off the board, and the rendered best, which may show it, away.
local removed = redis.call('ZREM', live, ARGV[1])
if removed == 1 and field('size') then
  redis.call('HINCRBY', meta, 'size', -1)
end
redis.call('UNLINK', top)
return removed
