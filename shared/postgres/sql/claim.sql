-- Idempotent by (key, enqueued_day). The order makes two batches with the same keys lock them in
-- the same order, so that they queue up instead of deadlocking.
INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
SELECT claim.key, claim.day, claim.body_hash, $4
FROM unnest($1::uuid[], $2::date[], $3::uuid[]) AS claim (key, day, body_hash)
WHERE NOT EXISTS (
        SELECT FROM nightshift.inbox AS twin
        WHERE twin.key = claim.key AND twin.enqueued_day = claim.day - 1)
  AND NOT EXISTS (
        SELECT FROM nightshift.inbox AS twin
        WHERE twin.key = claim.key AND twin.enqueued_day = claim.day + 1)
ORDER BY claim.key
ON CONFLICT DO NOTHING
RETURNING key
