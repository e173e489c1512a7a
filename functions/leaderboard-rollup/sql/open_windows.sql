-- The open windows of a source's boards, the current ones first. Those that only wait to be closed are shown no
-- more.
SELECT
    w.id, b.name AS board, b.direction = 'descending' AS "is_descending!", b.top, w.kind AS "kind: Kind", w.label,
    w.group_name, w.group_value, w.starts_at, w.ends_at, w.changed_run, w.published_run
FROM nightshift.leaderboard_window AS w
JOIN nightshift.leaderboard AS b ON b.id = w.board
WHERE b.source = $1 AND b.enabled AND w.closed_at IS NULL AND w.ends_at > $2::timestamptz - b.grace
ORDER BY w.is_current DESC, w.id
