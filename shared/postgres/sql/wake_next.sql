-- The first message of each session that is not done is parked no more, now that nothing is before it.
WITH next AS (
    SELECT head.key
    FROM unnest($2::text[]) AS session
    CROSS JOIN LATERAL (
        SELECT key, reason, sequence_number FROM nightshift.open_message
        WHERE function = $1 AND session_id = session
        ORDER BY sequence_number
        LIMIT 1) AS head
    WHERE head.reason = 'parked'
      AND NOT EXISTS (
        SELECT FROM nightshift.dead_letter AS held
        WHERE held.function = $1 AND held.session_id = session AND held.holds_session
          AND held.sequence_number < head.sequence_number))
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
