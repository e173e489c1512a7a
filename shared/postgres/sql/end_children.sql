-- Counts children that have ended. The order makes two transactions with children of the same parents
-- queue up instead of deadlocking. Whoever ends the last one gets the finish message.
WITH locked AS (
    SELECT id FROM nightshift.fan_out WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE),
counted AS (
    UPDATE nightshift.fan_out AS parent
    SET open = greatest(0, parent.open - ended.ended), failed = parent.failed + ended.failed
    FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS ended (id, ended, failed), locked
    WHERE parent.id = ended.id AND locked.id = parent.id
    RETURNING parent.*)
SELECT id, failed, queue, message_id, session_id, properties::text AS "properties!", body
FROM counted WHERE open = 0
