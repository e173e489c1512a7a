-- Letters of earlier releases have no fingerprint; their reason groups them.
SELECT coalesce(fingerprint, '') AS "fingerprint!", function, reason,
    (array_agg(description ORDER BY dead_at DESC))[1] AS "description!", count(*) AS "count!",
    min(dead_at) AS "first!", max(dead_at) AS "last!"
FROM nightshift.dead_letter
GROUP BY 1, 2, 3
ORDER BY count(*) DESC, 1, 2, 3
