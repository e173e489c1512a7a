-- What full publications and changes have in common. ARGV: run, the run before or what was written, how
-- long the board and its best live in ms, whether there are the best rendered, those, whether there are
-- buckets, those, and seven pairs of what the board says about itself; then what is only in one of them.
local run = tonumber(ARGV[1])
local ttl, top_ttl = ARGV[3], ARGV[4]
local REST = 9 + 14

local function keep(key, is_there, value, for_ms)
  if is_there == '1' then
    redis.call('SET', key, value, 'PX', for_ms)
  else
    redis.call('UNLINK', key)
  end
end

-- The first that a publication writes: where there is no memory, or no right to write, it fails here,
-- and nothing has changed.
local function describe()
  redis.call('HSET', meta, unpack(ARGV, 9, REST - 1))
  keep(top, ARGV[5], ARGV[6], top_ttl)
  keep(buckets, ARGV[7], ARGV[8], ttl)
end

-- The last: what was renamed has brought the lifetime of its old name along.
local function finish()
  local size = redis.call('ZCARD', live)
  redis.call('HSET', meta, 'size', size)
  redis.call('PEXPIRE', meta, ttl)
  redis.call('PEXPIRE', live, ttl)
  return {'published', size}
end
