-- What all the scripts of boards know: the keys' names, and what the companion says.
local live, meta, top, buckets = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- The number in a field of the companion, or nil.
local function field(name)
  return tonumber(redis.call('HGET', meta, name))
end

-- Whether the board is as it was published: an empty one has no key.
local function is_whole()
  return field('size') == redis.call('ZCARD', live)
end
