-- Letters are only counted by what groups them, which is the index's work alone, and of each group one is looked
-- at. What the broker refuses has one fingerprint for all functions; letters of earlier releases have none.
SELECT coalesce(counted.fingerprint, '') AS "fingerprint!", counted.function AS "function!",
    counted.reason AS "reason!", newest.description AS "description!", counted.count AS "count!",
    oldest.dead_at AS "first!", newest.dead_at AS "last!"
FROM (
    SELECT fingerprint, function, reason, count(*) AS count
    FROM nightshift.dead_letter WHERE fingerprint IS NOT NULL
    GROUP BY fingerprint, function, reason) AS counted
CROSS JOIN LATERAL (
    SELECT description, dead_at FROM nightshift.dead_letter AS letter
    WHERE letter.fingerprint = counted.fingerprint AND letter.function = counted.function
      AND letter.reason = counted.reason
    ORDER BY dead_at DESC, key DESC LIMIT 1) AS newest
CROSS JOIN LATERAL (
    SELECT dead_at FROM nightshift.dead_letter AS letter
    WHERE letter.fingerprint = counted.fingerprint AND letter.function = counted.function
      AND letter.reason = counted.reason
    ORDER BY dead_at, key LIMIT 1) AS oldest
UNION ALL
SELECT '', function, reason, (array_agg(description ORDER BY dead_at DESC))[1], count(*), min(dead_at), max(dead_at)
FROM nightshift.dead_letter WHERE fingerprint IS NULL
GROUP BY function, reason
ORDER BY 5 DESC, 1, 2, 3
