-- Letters are only counted by what groups them, which is the index's work alone: it is gone through from group
-- to group, and of each its part is counted, which takes half the time of grouping all letters. Of each group one
-- is looked at. What the broker refuses has one fingerprint for all functions; letters of earlier releases have
-- none.
WITH RECURSIVE dead AS (
    (SELECT fingerprint, function, reason FROM nightshift.dead_letter WHERE fingerprint IS NOT NULL
     ORDER BY fingerprint, function, reason LIMIT 1)
    UNION ALL
    SELECT next.fingerprint, next.function, next.reason
    FROM dead
    CROSS JOIN LATERAL (
        SELECT fingerprint, function, reason FROM nightshift.dead_letter AS letter
        WHERE (letter.fingerprint, letter.function, letter.reason) > (dead.fingerprint, dead.function, dead.reason)
        ORDER BY fingerprint, function, reason LIMIT 1) AS next)
SELECT coalesce(dead.fingerprint, '') AS "fingerprint!", dead.function AS "function!",
    dead.reason AS "reason!", newest.description AS "description!", counted.count AS "count!",
    oldest.dead_at AS "first!", newest.dead_at AS "last!"
FROM dead
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM nightshift.dead_letter AS letter
    WHERE letter.fingerprint = dead.fingerprint AND letter.function = dead.function
      AND letter.reason = dead.reason) AS counted
CROSS JOIN LATERAL (
    SELECT description, dead_at FROM nightshift.dead_letter AS letter
    WHERE letter.fingerprint = dead.fingerprint AND letter.function = dead.function
      AND letter.reason = dead.reason
    ORDER BY dead_at DESC, key DESC LIMIT 1) AS newest
CROSS JOIN LATERAL (
    SELECT dead_at FROM nightshift.dead_letter AS letter
    WHERE letter.fingerprint = dead.fingerprint AND letter.function = dead.function
      AND letter.reason = dead.reason
    ORDER BY dead_at, key LIMIT 1) AS oldest
UNION ALL
SELECT '', function, reason, (array_agg(description ORDER BY dead_at DESC))[1], count(*), min(dead_at), max(dead_at)
FROM nightshift.dead_letter WHERE fingerprint IS NULL
GROUP BY function, reason
ORDER BY 5 DESC, 1, 2, 3
