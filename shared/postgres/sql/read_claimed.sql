-- What became of keys that could not be claimed. A key that is not there was given up by its holder
-- in the meantime.
SELECT claim.key AS "key!", taken.body_hash = claim.body_hash AS "same_body!"
FROM unnest($1::uuid[], $2::date[], $3::uuid[]) AS claim (key, day, body_hash)
CROSS JOIN LATERAL (
    SELECT inbox.body_hash FROM nightshift.inbox
    WHERE inbox.key = claim.key AND inbox.enqueued_day IN (claim.day - 1, claim.day, claim.day + 1)
    ORDER BY inbox.enqueued_day
    LIMIT 1
) AS taken
