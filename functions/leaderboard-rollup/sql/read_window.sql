-- A window of a board: the one with this label, or the one that $6 lies in. No row: there is no such board.
SELECT
    b.direction = 'descending' AS "is_descending!", $2 = ANY (b.windows) AS "has_kind!",
    $3 = '' OR $3 = ANY (b.groups) AS "has_group!",
    w.id AS "id?", w.label AS "label?", w.starts_at AS "starts_at?", w.ends_at AS "ends_at?",
    w.closed_at AS "closed_at?"
FROM nightshift.leaderboard AS b
LEFT JOIN nightshift.leaderboard_window AS w
    ON w.board = b.id AND w.kind = $2 AND w.group_name = $3 AND w.group_value = $4
    AND (w.label = $5 OR $5::text IS NULL AND w.starts_at <= $6 AND $6 < w.ends_at)
WHERE b.name = $1 AND b.enabled
ORDER BY w.starts_at DESC NULLS LAST
LIMIT 1
