-- What became of keys that could not be claimed. A key that is in neither table was given up by
-- its holder in the meantime.
SELECT claim.key AS "key!", finished.body_hash = claim.body_hash AS "same_body!"
FROM unnest($1::uuid[], $2::date[], $3::uuid[]) AS claim (key, day, body_hash)
CROSS JOIN LATERAL (
    SELECT done.body_hash FROM nightshift.inbox AS done
    WHERE done.key = claim.key AND done.enqueued_day IN (claim.day, claim.day - 1)
    UNION ALL
    SELECT dead.body_hash FROM nightshift.dead_letter AS dead WHERE dead.key = claim.key
    LIMIT 1
) AS finished
