SELECT function, coalesce(fingerprint, '') AS "fingerprint!", reason, body
FROM nightshift.dead_letter
WHERE key = ANY($1::uuid[])
