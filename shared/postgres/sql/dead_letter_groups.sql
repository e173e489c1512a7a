-- A fingerprint says function and reason, too, so that letters are only counted by it, which is the index's
-- work alone, and of each group one is looked at. Letters of earlier releases have none; their reason groups
-- them.
SELECT counted.fingerprint AS "fingerprint!", newest.function AS "function!", newest.reason AS "reason!",
    newest.description AS "description!", counted.count AS "count!", oldest.dead_at AS "first!",
    newest.dead_at AS "last!"
FROM (
    SELECT fingerprint, count(*) AS count
    FROM nightshift.dead_letter WHERE fingerprint IS NOT NULL GROUP BY fingerprint) AS counted
CROSS JOIN LATERAL (
    SELECT function, reason, description, dead_at FROM nightshift.dead_letter
    WHERE fingerprint = counted.fingerprint ORDER BY dead_at DESC, key DESC LIMIT 1) AS newest
CROSS JOIN LATERAL (
    SELECT dead_at FROM nightshift.dead_letter
    WHERE fingerprint = counted.fingerprint ORDER BY dead_at, key LIMIT 1) AS oldest
UNION ALL
SELECT '', function, reason, (array_agg(description ORDER BY dead_at DESC))[1], count(*), min(dead_at), max(dead_at)
FROM nightshift.dead_letter WHERE fingerprint IS NULL
GROUP BY function, reason
ORDER BY 5 DESC, 1, 2, 3
