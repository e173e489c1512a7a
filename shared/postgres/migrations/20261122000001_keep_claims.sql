-- A claim stays, whatever becomes of its message: a redelivery that waited for the claiming
-- transaction must find it. A key is finished if it is in the inbox and neither waits
-- (open_message) nor is dead (dead_letter). Dead letters of earlier releases have no claim.
SELECT nightshift.ensure_inbox_partitions(day)
FROM (
    SELECT DISTINCT (enqueued_at AT TIME ZONE 'UTC')::date AS day
    FROM nightshift.dead_letter WHERE reason <> 'out-of-retention') AS days;

INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
SELECT key, (enqueued_at AT TIME ZONE 'UTC')::date, body_hash, function
FROM nightshift.dead_letter WHERE reason <> 'out-of-retention'
ON CONFLICT DO NOTHING;

ALTER TABLE nightshift.dead_letter
    ADD COLUMN attempt integer NOT NULL DEFAULT 0, -- failed tries
    ADD COLUMN gen     integer NOT NULL DEFAULT 0; -- the number of its last copy
