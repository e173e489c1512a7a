-- What reading scripts have in common: the board's description, or nothing if it is not whole.
local described = is_whole() and redis.call('HGETALL', meta)
local is_highest_first = redis.call('HGET', meta, 'order') == 'highest'

-- From and to count from 0, the best first.
local function places(from, to)
  local range = is_highest_first and 'ZREVRANGE' or 'ZRANGE'
  return redis.call(range, live, from, to, 'WITHSCORES')
end

-- How many have a better score than the member with this number has. Dividing by a power of two and
-- rounding down is exact for doubles that are whole.
local function better_than(number)
  local unit = 2 ^ field('bits')
  local lowest = math.floor(tonumber(number) / unit) * unit
  if is_highest_first then
    return redis.call('ZCOUNT', live, string.format('(%.0f', lowest + (unit - 1)), '+inf')
  end
  return redis.call('ZCOUNT', live, '-inf', string.format('(%.0f', lowest))
end
