-- What is dead or waits was claimed.
INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
SELECT key, (enqueued_at AT TIME ZONE 'UTC')::date, body_hash, function FROM nightshift.dead_letter
UNION ALL
SELECT key, (enqueued_at AT TIME ZONE 'UTC')::date, body_hash, function FROM nightshift.open_message
ON CONFLICT DO NOTHING
