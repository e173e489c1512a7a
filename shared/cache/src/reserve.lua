-- Gives out slots of a rate limit (GCRA). KEYS[1] holds when the slot after the last one that was
-- given out would be, if there were no bursts: microseconds of the server's clock. It is away once that
-- is over: then every slot is free.
--
-- ARGV: the microseconds between two slots, those that a burst may be ahead, those for which slots may
-- be given out ahead of their time, how many slots are wanted, and, if that depends on how many are
-- free now, how many are wanted with 0 free, with 1, and so on.
-- Returns in how many microseconds the first slot is (over already: negative), and how many there are.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst, ahead, wanted =
    tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local from = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local first = from - burst - now
local free = math.min(wanted, math.max(0, math.floor(-first / interval) + 1))
local taken = tonumber(ARGV[5 + free] or wanted)
taken = math.min(taken, math.max(0, math.floor((ahead - first) / interval) + 1))
if taken > 0 then
    local up_to = from + taken * interval
    redis.call('SET', KEYS[1], string.format('%.0f', up_to), 'PX', math.ceil((up_to - now) / 1000))
end
return {first, taken}
