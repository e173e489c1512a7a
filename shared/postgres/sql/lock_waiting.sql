-- The messages that wait for copies which have come, whatever their number. Whoever comes while a
-- transaction runs one waits here for it, and then finds another number or nothing. The order is
-- claim.sql's.
SELECT open.key, open.gen, open.attempt, open.reason, open.call_id, open.message_id,
    open.concurrency_key, open.sequence_number, open.due_at,
    open.due_at > clock_timestamp() AS "is_early!"
FROM nightshift.open_message AS open
WHERE open.key = ANY($1::uuid[])
ORDER BY open.key
FOR UPDATE OF open
