-- The version is of all that an edit can change.
SELECT body, properties::text AS "properties!",
    encode(substr(sha256(body || convert_to(properties::text, 'UTF8')), 1, 16), 'hex') AS "version!"
FROM nightshift.dead_letter
WHERE key = $1
