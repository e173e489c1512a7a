-- As many of those that wait for a place as there are places now, the first ones first. They hold them
-- from now on. There are $2 places, or as many as an operator says of the function $3.
WITH next AS (
    SELECT key FROM nightshift.open_message
    WHERE concurrency_key = $1 AND reason = 'queued'
    ORDER BY sequence_number, key
    LIMIT greatest(0, coalesce(
        (SELECT places FROM nightshift.places_override WHERE places_override.function = $3), $2) - (
        SELECT count(*) FROM nightshift.open_message
        WHERE concurrency_key = $1 AND reason <> 'queued')))
UPDATE nightshift.open_message AS open
SET gen = gen + 1,
    reason = 'turn',
    due_at = clock_timestamp(),
    rescue_at = clock_timestamp() + interval '2 minutes',
    rescues = 0,
    changed_at = clock_timestamp()
FROM next
WHERE open.key = next.key
RETURNING open.key, function, queue, gen, attempt, rescues, session_id, enqueued_at,
    properties::text AS "properties!", body
