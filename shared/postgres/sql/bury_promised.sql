-- A message that the broker refuses for what it is becomes a dead letter, as what it was a copy of, if
-- that still waits for it. What is parked behind that in its session is next, and gets a copy by the
-- next sweep.
WITH refused AS (DELETE FROM nightshift.outbox WHERE id = $1 RETURNING *),
woken AS (
    DELETE FROM nightshift.open_message AS open USING refused
    WHERE open.key = refused.wakes
      AND open.reason <> 'calling'
      AND split_part(refused.message_id, ':', 3) = open.gen::text
    RETURNING open.*),
next AS (
    SELECT parked.key
    FROM woken
    CROSS JOIN LATERAL (
        SELECT key, reason FROM nightshift.open_message AS open
        WHERE open.function = woken.function AND open.session_id = woken.session_id
          AND open.key <> woken.key
        ORDER BY sequence_number
        LIMIT 1) AS parked
    WHERE parked.reason = 'parked'),
turned AS (
    UPDATE nightshift.open_message AS open
    SET gen = gen + 1, reason = 'turn', due_at = clock_timestamp(), rescue_at = clock_timestamp(),
        rescues = -1, changed_at = clock_timestamp()
    FROM next
    WHERE open.key = next.key)
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, session_id, sequence_number,
     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, fingerprint, call_id)
SELECT coalesce(woken.key, refused.id), coalesce(woken.function, ''), refused.queue, $2, $3,
    coalesce(woken.message_id, refused.message_id), refused.session_id,
    coalesce(woken.sequence_number, 0), 0, coalesce(woken.enqueued_at, refused.written_at),
    coalesce(woken.properties, refused.properties), coalesce(woken.body, refused.body),
    coalesce(woken.body_hash, refused.id), coalesce(woken.attempt, 0), coalesce(woken.gen, 0), $4,
    woken.call_id
FROM refused LEFT JOIN woken ON true
WHERE refused.wakes IS NULL OR woken.key IS NOT NULL
ON CONFLICT (key) DO NOTHING
RETURNING key, message_id, properties::text AS "properties!"
