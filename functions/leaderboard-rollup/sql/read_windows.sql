-- The windows of a board, the latest first.
SELECT
    w.kind AS "kind: Kind", w.label, w.starts_at, w.ends_at, w.closed_at
FROM nightshift.leaderboard_window AS w
JOIN nightshift.leaderboard AS b ON b.id = w.board
WHERE b.name = $1 AND ($2::text IS NULL OR w.kind = $2) AND w.group_name = $3 AND w.group_value = $4
    AND w.starts_at < coalesce($5, 'infinity'::timestamptz)
ORDER BY w.starts_at DESC, w.kind
LIMIT $6
