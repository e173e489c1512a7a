-- A message that the broker refuses for what it is becomes a dead letter, as what it was a copy of.
WITH refused AS (DELETE FROM nightshift.outbox WHERE id = $1 RETURNING *),
woken AS (
    DELETE FROM nightshift.open_message WHERE key = (SELECT wakes FROM refused) RETURNING *)
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, session_id, sequence_number,
     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, fingerprint)
SELECT coalesce(woken.key, refused.id), coalesce(woken.function, ''), refused.queue, $2, $3,
    coalesce(woken.message_id, refused.message_id), refused.session_id,
    coalesce(woken.sequence_number, 0), 0, coalesce(woken.enqueued_at, refused.written_at),
    coalesce(woken.properties, refused.properties), coalesce(woken.body, refused.body),
    coalesce(woken.body_hash, refused.id), coalesce(woken.attempt, 0), coalesce(woken.gen, 0), $4
FROM refused LEFT JOIN woken ON true
ON CONFLICT (key) DO NOTHING
