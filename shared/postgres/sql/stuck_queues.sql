-- Concurrency keys of which messages wait although a place is free, so that nobody may wake them: whoever
-- had it did not know of places, or there are more of them now. A function has as many as an operator
-- says, or as the process knows ($1, $2), or one.
SELECT queued.concurrency_key AS "key!", queued.function AS "function!"
FROM (SELECT DISTINCT concurrency_key, function FROM nightshift.open_message
      WHERE reason = 'queued' AND concurrency_key IS NOT NULL) AS queued
LEFT JOIN unnest($1::text[], $2::bigint[]) AS known (function, places) USING (function)
LEFT JOIN nightshift.places_override AS said USING (function)
CROSS JOIN LATERAL (SELECT coalesce(said.places, known.places, 1) AS places) AS counted
WHERE (SELECT count(*) FROM (
        SELECT FROM nightshift.open_message AS holder
        WHERE holder.concurrency_key = queued.concurrency_key AND holder.reason <> 'queued'
        LIMIT counted.places) AS holders) < counted.places
LIMIT $3
