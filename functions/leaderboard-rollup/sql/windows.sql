-- The numbers of windows, which are made if they are not there. Closed ones only if $9.
WITH wanted AS (
    SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[])
        AS w (kind, label, group_value, starts_at, ends_at)
), made AS (
    INSERT INTO nightshift.leaderboard_window
        (board, kind, label, group_name, group_value, starts_at, ends_at, changed_run)
    SELECT $1, w.kind, w.label, $2, w.group_value, w.starts_at, w.ends_at, $3
    FROM wanted AS w
    -- Asked for first, since a conflict would use up a number.
    WHERE NOT EXISTS (
        SELECT FROM nightshift.leaderboard_window AS l
        WHERE l.board = $1 AND l.kind = w.kind AND l.label = w.label AND l.group_name = $2
            AND l.group_value = w.group_value
    )
    ON CONFLICT DO NOTHING
    RETURNING id, kind, label, group_value
)
SELECT id AS "id!", kind AS "kind!", label AS "label!", group_value AS "group_value!" FROM made
UNION ALL
SELECT l.id, l.kind, l.label, l.group_value
FROM wanted AS w
JOIN nightshift.leaderboard_window AS l
    ON l.board = $1 AND l.kind = w.kind AND l.label = w.label AND l.group_name = $2
    AND l.group_value = w.group_value AND (l.closed_at IS NULL OR $9)
