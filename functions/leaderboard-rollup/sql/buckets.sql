-- The scores of an open window at equal distances, the best first, and how many members are before each.
SELECT score, position - 1 AS "before!"
FROM (
    SELECT score, row_number() OVER (ORDER BY CASE WHEN $2::boolean THEN -score ELSE score END) AS position
    FROM nightshift.leaderboard_score WHERE board_window = $1
) AS s
WHERE (position - 1) % $3::bigint = 0
ORDER BY position
