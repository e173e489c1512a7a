-- Two messages of one tick that differ in nothing but their day are not recognised by their claims: the
-- second waits here for the first, and then finds the tick ended. Not a lock of the row, which whoever
-- holds the schedule's may want to change.
SELECT pg_advisory_xact_lock(hashtextextended(id, 0))
FROM (SELECT id FROM unnest($1::text[]) AS tick (id) ORDER BY id) AS ticks
