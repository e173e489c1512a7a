-- What waits because of the pause gets copies by the next sweeps: the first now, and each later one $2
-- seconds after the one before: those that have a place of a concurrency key first, because others wait for
-- that. The first of these copies is no rescue.
WITH control AS (DELETE FROM nightshift.control WHERE function = $1),
waiting AS (
    SELECT key, row_number() OVER (ORDER BY concurrency_key IS NULL, sequence_number, key) - 1 AS turn
    FROM nightshift.open_message
    WHERE function = $1 AND reason = 'paused')
UPDATE nightshift.open_message AS open
SET gen = gen + 1,
    reason = 'turn',
    due_at = clock_timestamp() + make_interval(secs => $2::float8 * waiting.turn),
    rescue_at = clock_timestamp() + make_interval(secs => $2::float8 * waiting.turn),
    rescues = -1,
    changed_at = clock_timestamp()
FROM waiting
WHERE open.key = waiting.key
