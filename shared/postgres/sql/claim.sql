-- Idempotent by (key, enqueued_day). The order makes two batches with the same keys lock them in
-- the same order, so that they queue up instead of deadlocking. That the day is a parameter lets the
-- server leave the other days' partitions alone.
INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
SELECT claim.key, $2::date, claim.body_hash, $4
FROM unnest($1::uuid[], $3::uuid[]) AS claim (key, body_hash)
WHERE NOT EXISTS (
        SELECT FROM nightshift.inbox AS twin
        WHERE twin.key = claim.key AND twin.enqueued_day = $2 - 1)
  AND NOT EXISTS (
        SELECT FROM nightshift.inbox AS twin
        WHERE twin.key = claim.key AND twin.enqueued_day = $2 + 1)
ORDER BY claim.key
ON CONFLICT DO NOTHING
RETURNING key
