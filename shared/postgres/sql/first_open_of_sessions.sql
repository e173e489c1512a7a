-- The first message of each session that is not done, dead ones that hold their session included.
SELECT session AS "session_id!", least(waiting.first, dead.first) AS "first!"
FROM unnest($2::text[]) AS session
CROSS JOIN LATERAL (
    SELECT min(sequence_number) AS first FROM nightshift.open_message
    WHERE function = $1 AND session_id = session) AS waiting
CROSS JOIN LATERAL (
    SELECT min(sequence_number) AS first FROM nightshift.dead_letter
    WHERE function = $1 AND session_id = session AND holds_session) AS dead
WHERE least(waiting.first, dead.first) IS NOT NULL
