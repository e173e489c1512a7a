-- Concurrency keys of which messages wait although a place is free, so that nobody may wake them: whoever
-- had it did not know of places, or there are more of them now. A function has as many as an operator
-- says, or as the process knows ($1, $2), or one. From key to key, and of each no more rows than there are
-- places: thousands may wait for one.
WITH RECURSIVE queued AS (
    (SELECT concurrency_key AS key FROM nightshift.open_message
     WHERE concurrency_key IS NOT NULL AND reason = 'queued' ORDER BY concurrency_key LIMIT 1)
    UNION ALL
    SELECT (SELECT concurrency_key FROM nightshift.open_message
            WHERE concurrency_key > queued.key AND reason = 'queued' ORDER BY concurrency_key LIMIT 1)
    FROM queued WHERE queued.key IS NOT NULL)
SELECT queued.key AS "key!", first.function AS "function!"
FROM queued
CROSS JOIN LATERAL (
    SELECT function FROM nightshift.open_message
    WHERE concurrency_key = queued.key AND reason = 'queued' ORDER BY sequence_number LIMIT 1) AS first
LEFT JOIN unnest($1::text[], $2::bigint[]) AS known (function, places) ON known.function = first.function
LEFT JOIN nightshift.places_override AS said ON said.function = first.function
CROSS JOIN LATERAL (SELECT coalesce(said.places, known.places, 1) AS places) AS counted
WHERE queued.key IS NOT NULL AND counted.places > (SELECT count(*) FROM (
    (SELECT FROM nightshift.open_message AS holder
     WHERE holder.concurrency_key = queued.key AND holder.reason < 'queued' LIMIT counted.places)
    UNION ALL
    (SELECT FROM nightshift.open_message AS holder
     WHERE holder.concurrency_key = queued.key AND holder.reason > 'queued' LIMIT counted.places)) AS holders)
LIMIT $3
